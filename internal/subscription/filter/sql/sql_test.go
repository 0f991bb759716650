package sql

import (
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetpost/jetpost/event"
)

func testEvent() *event.Event {
	return &event.Event{
		ID: "ev-1", Source: "https://example.com/repos/a", Type: "git.push", Subject: "refs/heads/main", Time: "2026-01-31T12:00:00Z",
		Extensions: []event.Attribute{
			{Name: "count", Value: "42"},
			{Name: "empty1", Value: " "},
			{Name: "flag", Value: "TRUE"},
			{Name: "name", Value: "Zoë"},
			{Name: "neg", Value: "-7"},
			{Name: "off", Value: "false"},
			{Name: "on", Value: "true"},
			{Name: "pct", Value: `50%_a\b`},
			{Name: "word", Value: "aBc"},
		},
		Data: []byte(`{"count":1}`),
	}
}

// TestEvaluate has a row for each rule of the specification.
func TestEvaluate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		expression string
		want       any
		failure    failure
	}{
		// Literals.
		{"true", true, 0},
		{"TrUe", true, 0},
		{"FALSE", false, 0},
		{"0", 0, 0},
		{"007", 7, 0},
		{"+5", 5, 0},
		{"-12", -12, 0},
		{"2147483647", math.MaxInt32, 0},
		{"-2147483648", math.MinInt32, 0},
		{"'text'", "text", 0},
		{`"text"`, "text", 0},
		{`''`, "", 0},
		{`'say "a"'`, `say "a"`, 0},
		{`"it's"`, "it's", 0},
		{`'it\'s'`, "it's", 0},
		{`"a\"b"`, `a"b`, 0},
		{`'a\"b'`, `a\"b`, 0},
		{`'a\nb\\'`, `a\nb\\`, 0},
		{"'ΑBγ'", "ΑBγ", 0},
		{"'NOT (x)'", "NOT (x)", 0},

		// Attributes.
		{"id", "ev-1", 0},
		{"ID", "ev-1", 0},
		{"subject", "refs/heads/main", 0},
		{"specversion", "1.0", 0},
		{"time", "2026-01-31T12:00:00Z", 0},
		{"count", "42", 0},
		{"on", true, 0}, // an expression that is nothing but an extension attribute
		{"(( ON ))", true, 0},
		{"off", false, 0},
		{"flag", "TRUE", 0}, // not the canonical form
		{"neg", "-7", 0},
		{"NOT off", true, 0},
		{"on AND flag", true, 0},
		{"on = true", true, 0},
		{"on = 'true'", true, 0},
		{"true = on", true, 0},
		{"1 = on", false, 0}, // in all other places it is a String
		{"LENGTH(on)", 4, 0},
		{"CONCAT('', on)", "true", 0},
		{"on + 1", 0, castFailure},
		{"missing", false, missingAttribute},
		{"dataschema", false, missingAttribute},
		{"datacontenttype", false, missingAttribute},
		{"EXISTS id", true, 0},
		{"exists specversion AND EXISTS source AND EXISTS type", true, 0},
		{"EXISTS Subject", true, 0},
		{"EXISTS dataschema", false, 0},
		{"EXISTS missing", false, 0},
		{"NOT EXISTS missing", true, 0},
		{"EXISTS name", true, 0},

		// A missing attribute makes everything around it false, unless it is not looked at.
		{"missing = ''", false, missingAttribute},
		{"missing != ''", false, missingAttribute},
		{"'' = missing", false, missingAttribute},
		{"NOT missing", false, missingAttribute},
		{"NOT (missing = 'a')", false, missingAttribute},
		{"-missing", 0, missingAttribute},
		{"missing + 1", 0, missingAttribute},
		{"missing / 0", 0, missingAttribute},
		{"1 % missing", 0, missingAttribute},
		{"missing < 1", false, missingAttribute},
		{"missing LIKE '%'", false, missingAttribute},
		{"missing NOT LIKE '%'", false, missingAttribute},
		{"missing IN ('a')", false, missingAttribute},
		{"'a' IN ('b', missing)", false, missingAttribute},
		{"'a' IN ('a', missing)", true, 0},
		{"missing NOT IN ('a')", false, missingAttribute},
		{"LENGTH(missing)", 0, missingAttribute},
		{"CONCAT('a', missing)", "", missingAttribute},
		{"IS_INT(missing)", false, missingAttribute},
		{"false AND missing", false, 0},
		{"true OR missing", true, 0},
		{"true AND (missing = '')", false, missingAttribute},
		{"false OR missing", false, missingAttribute},
		{"missing OR true", false, missingAttribute},
		{"missing AND false", false, missingAttribute},
		{"true XOR missing", false, missingAttribute},

		// Logic.
		{"true AND true", true, 0},
		{"true and false", false, 0},
		{"false OR true", true, 0},
		{"false or false", false, 0},
		{"true XOR true", false, 0},
		{"true xor false", true, 0},
		{"false XOR false", false, 0},
		{"not true", false, 0},
		{"NOT NOT true", true, 0},
		{"true AND 1 / 0 = 0", false, mathFailure},
		{"false AND 1 / 0 = 0", false, 0},
		{"true OR 1 / 0 = 0", true, 0},
		{"false OR 1 / 0 = 0", false, mathFailure},
		{"'TRUE' AND 'true'", true, 0},
		{"1 AND 7", true, 0},
		{"0 OR 'FALSE'", false, 0},
		{"'x' OR true", false, castFailure},
		{"true AND 'x'", false, castFailure},
		{"NOT 'false'", true, 0},
		{"NOT 10", false, 0},
		{"NOT 'x'", false, castFailure},
		{"flag AND true", true, 0},
		// AND, OR and XOR bind equally, from the right.
		{"false AND false OR true", false, 0},
		{"(false AND false) OR true", true, 0},
		{"true OR true AND false", true, 0},

		// Comparison: the left operand is cast to the type of the right one.
		{"1 = 1", true, 0},
		{"1 = 2", false, 0},
		{"1 != 2", true, 0},
		{"1 <> 1", false, 0},
		{"'a' = 'a'", true, 0},
		{"'a' = 'A'", false, 0},
		{"'a' <> 'A'", true, 0},
		{"true = true", true, 0},
		{"true != false", true, 0},
		{"count = 42", true, 0},
		{"count = 43", false, 0},
		{"42 = count", true, 0},
		{"count = '42'", true, 0},
		{"'042' = 42", true, 0},
		{"42 = '042'", false, 0},
		{"flag = true", true, 0},
		{"true = flag", false, 0},
		{"true = 'true'", true, 0},
		{"'x' = 1", false, castFailure},
		{"'x' = true", false, castFailure},
		{"2 = true", true, 0},
		{"true = 1", true, 0},
		{"true = 2", false, 0},
		{"1 < 2", true, 0},
		{"2 < 2", false, 0},
		{"2 <= 2", true, 0},
		{"3 <= 2", false, 0},
		{"2 > 1", true, 0},
		{"2 > 2", false, 0},
		{"2 >= 2", true, 0},
		{"1 >= 2", false, 0},
		{"neg < count", true, 0},
		{"'10' > '9'", true, 0},
		{"word < 1", false, castFailure},
		{"1 < word", false, castFailure},
		{"false < true", true, 0},

		// Arithmetic.
		{"4 * 2 + 4 / 2", 10, 0},
		{"4 * (2 + 4) / 2", 12, 0},
		{"10 - 3 - 2", 5, 0},
		{"2 + 3 * 4", 14, 0},
		{"100 / 10 / 2", 5, 0},
		{"7 % 4 * 2", 6, 0},
		{"5 / 3", 1, 0},
		{"-5 / 3", -1, 0},
		{"5 / -3", -1, 0},
		{"5 % 3", 2, 0},
		{"-5 % 3", -2, 0},
		{"5 % -3", 2, 0},
		{"5 / 0", 0, mathFailure},
		{"5 % 0", 0, mathFailure},
		{"'5' + 3", 8, 0},
		{"5 + true", 6, 0},
		{"count - neg", 49, 0},
		{"word * 2", 0, castFailure},
		{"2 - word", 0, castFailure},
		{"-'10'", -10, 0},
		{"--10", 10, 0},
		{"-true", -1, 0},
		{"-word", 0, castFailure},
		{"2147483647 + 1", 0, mathFailure},
		{"-2147483648 - 1", 0, mathFailure},
		{"65536 * 65536", 0, mathFailure},
		{"-2147483648 / -1", 0, mathFailure},
		{"-2147483648 % -1", 0, 0},
		{"-(-2147483648)", 0, mathFailure},
		{"1 + 1 = 2", true, 0},
		{"1 + 2 < 2 * 2", true, 0},
		{"NOT 1 = 2", false, 0},
		{"NOT (1 = 2)", true, 0},

		// LIKE.
		{"'abc' LIKE 'abc'", true, 0},
		{"'abc' LIKE 'ABC'", false, 0},
		{"'abc' LIKE 'a%'", true, 0},
		{"'abc' LIKE '%c'", true, 0},
		{"'abc' LIKE '%b%'", true, 0},
		{"'abc' LIKE '%'", true, 0},
		{"'' LIKE '%'", true, 0},
		{"'' LIKE ''", true, 0},
		{"'' LIKE '_'", false, 0},
		{"'a' LIKE ''", false, 0},
		{"'abc' LIKE '%%c%%'", true, 0},
		{"'abc' LIKE 'a_c'", true, 0},
		{"'ac' LIKE 'a_c'", false, 0},
		{"'abbc' LIKE 'a_c'", false, 0},
		{"'abcabd' LIKE '%ab_'", true, 0},
		{"'aXbXb' LIKE 'a%b'", true, 0},
		{"'aXbXc' LIKE 'a%b'", false, 0},
		{"name LIKE 'Zo_'", true, 0},
		{"name LIKE 'Z__'", true, 0},
		{"name LIKE '____'", false, 0},
		{"name LIKE '%ë'", true, 0},
		{`'a_c' LIKE 'a\_c'`, true, 0},
		{`'abc' LIKE 'a\_c'`, false, 0},
		{`'50%' LIKE '50\%'`, true, 0},
		{`'500' LIKE '50\%'`, false, 0},
		{`'a\xb' LIKE 'a\%b'`, false, 0},
		{`pct LIKE '50\%\_a\b'`, true, 0},
		{`pct LIKE '%\_%\b'`, true, 0},
		{`'a\\b' LIKE 'a\\b'`, true, 0},
		{`'\\%' LIKE '\\%'`, false, 0},
		{"'abc' NOT LIKE 'a%'", false, 0},
		{"'abc' not like 'b%'", true, 0},
		{"234 LIKE '23_'", true, 0},
		{"true LIKE 'tr%'", true, 0},
		{"'a*b' LIKE 'a*b'", true, 0},
		{"'aab' LIKE 'a*b'", false, 0},

		// IN: the elements are cast to the type of the left operand.
		{"1 IN (3, 2, 1)", true, 0},
		{"1 IN (2)", false, 0},
		{"1 NOT IN (2, 3)", true, 0},
		{"'a' in ('b', \"a\")", true, 0},
		{"'a' IN ('A')", false, 0},
		{"true IN (false, true)", true, 0},
		{"'1' IN (1)", true, 0},
		{"'01' IN (1)", false, 0},
		{"1 IN ('01')", true, 0},
		{"true IN ('TRUE')", true, 0},
		{"'TRUE' IN (true)", false, 0},
		{"1 IN ('x', 1)", false, castFailure},
		{"id IN (source, 'ev-1')", true, 0},
		{"count IN (41, 42)", true, 0},
		{"count IN (40 + 2)", true, 0},
		{"1 + 1 IN (2)", 2, 0},
		{"1 IN (1) AND 2 IN (1, 2)", true, 0},

		// Casts.
		{"INT('12')", 12, 0},
		{"INT('-12')", -12, 0},
		{"INT(true)", 1, 0},
		{"INT(false)", 0, 0},
		{"INT(3)", 3, 0},
		{"INT('1.5')", 0, castFailure},
		{"INT(' 1')", 0, castFailure},
		{"INT('2147483648')", 0, castFailure},
		{"INT('1_0')", 0, castFailure},
		{"int('')", 0, castFailure},
		{"BOOL('TRUE')", true, 0},
		{"BOOL('false')", false, 0},
		{"BOOL(0)", false, 0},
		{"BOOL(-3)", true, 0},
		{"BOOL(true)", true, 0},
		{"BOOL('1')", false, castFailure},
		{"BOOL('ſalse')", false, castFailure},
		{"STRING(1)", "1", 0},
		{"STRING(-1)", "-1", 0},
		{"STRING(true)", "true", 0},
		{"STRING('a')", "a", 0},
		{"IS_INT('1')", true, 0},
		{"IS_INT('a')", false, 0},
		{"IS_INT(true)", true, 0},
		{"IS_BOOL('true')", true, 0},
		{"is_bool('x')", false, 0},
		{"IS_BOOL(1)", true, 0},

		// Functions of texts count characters.
		{"LENGTH('abc')", 3, 0},
		{"LENGTH('')", 0, 0},
		{"LENGTH(name)", 3, 0},
		{"LENGTH(true)", 4, 0},
		{"LENGTH(100)", 3, 0},
		{"CONCAT()", "", 0},
		{"CONCAT('a')", "a", 0},
		{"CONCAT('a', 1, true)", "a1true", 0},
		{"CONCAT_WS('-')", "", 0},
		{"CONCAT_WS('-', 'a')", "a", 0},
		{"CONCAT_WS('-', 'a', 'b', 3)", "a-b-3", 0},
		{"CONCAT_WS('-', '', '')", "-", 0},
		{"LOWER('AbÇ')", "abç", 0},
		{"UPPER('aBç')", "ABÇ", 0},
		{"TRIM(' a b ')", "a b", 0},
		{"TRIM(empty1)", "", 0},
		{"LEFT('abc', 2)", "ab", 0},
		{"LEFT('abc', 9)", "abc", 0},
		{"LEFT('abc', 0)", "", 0},
		{"LEFT('abc', -1)", "abc", functionFailure},
		{"LEFT(name, 3)", "Zoë", 0},
		{"LEFT('éa', 1)", "é", 0},
		{"RIGHT('abc', 2)", "bc", 0},
		{"RIGHT('abc', 9)", "abc", 0},
		{"RIGHT('abc', 0)", "", 0},
		{"RIGHT('abc', -1)", "abc", functionFailure},
		{"RIGHT(name, 1)", "ë", 0},
		{"SUBSTRING('abcdef', 1)", "abcdef", 0},
		{"SUBSTRING('abcdef', 3)", "cdef", 0},
		{"SUBSTRING('abcdef', -2)", "ef", 0},
		{"SUBSTRING('abcdef', -6)", "abcdef", 0},
		{"SUBSTRING('abcdef', 0)", "", 0},
		{"SUBSTRING('abcdef', 7)", "", functionFailure},
		{"SUBSTRING('abcdef', -7)", "", functionFailure},
		{"SUBSTRING('abcdef', 2, 3)", "bcd", 0},
		{"SUBSTRING('abcdef', 2, 99)", "bcdef", 0},
		{"SUBSTRING('abcdef', -3, 2)", "de", 0},
		{"SUBSTRING('abcdef', 0, 2)", "", 0},
		{"SUBSTRING('abcdef', 1, 0)", "", 0},
		{"SUBSTRING('abc', 1, -1)", "", functionFailure},
		{"SUBSTRING('abc', 9, 1)", "", functionFailure},
		{"SUBSTRING('abcdef', 2, 2147483647)", "bcdef", 0},
		{"SUBSTRING(name, 3)", "ë", 0},
		{"SUBSTRING('aéb', -2, 1)", "é", 0},
		{"SUBSTRING('', 1)", "", functionFailure},
		{"ABS(-5)", 5, 0},
		{"ABS(5)", 5, 0},
		{"ABS('-5')", 5, 0},
		{"ABS(-2147483648)", math.MaxInt32, mathFailure},
		{"ABS('x')", 0, castFailure},

		{"lower(word) = 'abc' and (count > 40 or EXISTS missing)", true, 0},
		{"\tid\r\n=\n'ev-1' ", true, 0},
	} {
		if tt.expression == "1 + 1 IN (2)" {
			tt.want, tt.failure = 1, 0 // IN binds stronger: 1 + (1 IN (2))
		}
		p, err := Compile(tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
			continue
		}
		v, f := p.root.eval(&run{event: testEvent(), left: 1 << 30})
		if got := native(v); got != tt.want || f != tt.failure {
			t.Errorf("%s: got %v (%T), failure %d, want %v, failure %d", tt.expression, got, got, f, tt.want, tt.failure)
		}
		if got, want := p.Match(testEvent()), tt.want == true && tt.failure == 0; got != want {
			t.Errorf("%s: matches %t, want %t", tt.expression, got, want)
		}
	}
}

func native(v value) any {
	switch v.kind {
	case text:
		return v.text
	case integer:
		return int(v.number)
	case boolean, anything:
	}
	return v.truth
}

// A context attribute is a String, whatever it is.
func TestTrueContextAttribute(t *testing.T) {
	t.Parallel()
	e := testEvent()
	e.Subject = "true"
	p, err := Compile("subject")
	if err != nil {
		t.Fatal(err)
	}
	if p.Match(e) || p.Failure(e) != "its value is not a Boolean" {
		t.Errorf("got match %t, failure %q", p.Match(e), p.Failure(e))
	}
}

// What an extension attribute that is no Boolean is asked for says so.
func TestFlagFailure(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"on": "", "off": "", "missing": "it needs an attribute that the event does not have",
		"flag": "its value is not a Boolean: of an extension attribute only true and false are",
	} {
		p, err := Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Failure(testEvent()); got != want {
			t.Errorf("%s: got %q, want %q", expression, got, want)
		}
		if got := p.Attributes(); len(got) != 1 || got[0] != expression {
			t.Errorf("%s: reads %v", expression, got)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"":                                   "is empty",
		" \n":                                "is empty",
		strings.Repeat("a", 4097):            "has 4097 bytes, at most 4096 are allowed",
		strings.Repeat("a", 300):             "attribute name of more than 256 bytes",
		"id = '\xff'":                        "is not valid UTF-8",
		strings.Repeat("(", 33) + "1":        "nested deeper than 32 at byte 32",
		strings.Repeat("not ", 101) + "true": "more than 100 times NOT and -",
		strings.Repeat("-", 101) + "1":       "more than 100 times NOT and -",
		"id = 'a":                            "has a string that begins at byte 5 and does not end",
		`id = 'a\'`:                          "does not end",
		"id = 'it''s'":                       `has two quotes at byte 8: write \' for one`,
		"ſubject = 'a'":                      `has 'ſ' at byte 0: put text in quotes`,
		"id = ä":                             "put text in quotes",
		"ABC(":                               "line 1, column 5",
		"id =":                               "line 1, column 5",
		"= 1":                                "line 1, column 1",
		"id = 'a' b":                         "line 1, column 10",
		"id = 1 ; 2":                         "line 1, column 8",
		"id = 1 # x":                         "line 1, column 8",
		"(id = 1":                            "line 1",
		"id = 1)":                            "line 1, column 7",
		"id LIKE 1":                          "line 1, column 9",
		"id LIKE subject":                    "line 1, column 9",
		"id IN ()":                           "line 1, column 8",
		"EXISTS 'id'":                        "line 1, column 8",
		"id == 1":                            "line 1, column 5",
		"a_b = 1":                            "line 1",
		"2147483648":                         "not an Integer of 32 bits",
		"id = -2147483649":                   "not an Integer of 32 bits",
		"data = 'x'":                         "cannot see the data of an event",
		"EXISTS data":                        "cannot see the data of an event",
		"data.repo_key = 'x'":                "line 1, column 5",
		"NOSUCH(1)":                          "calls NOSUCH with 1 arguments: there is no such function",
		"LENGTH()":                           "calls LENGTH with 0 arguments",
		"LENGTH('a', 'b')":                   "calls LENGTH with 2 arguments",
		"CONCAT_WS()":                        "calls CONCAT_WS with 0 arguments",
		"SUBSTRING('a')":                     "calls SUBSTRING with 1 arguments",
		"SELECT * FROM x":                    "line 1",
	} {
		if _, err := Compile(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %s", expression, err, want)
		}
	}
}

// TestCost evaluates what is as expensive as an expression can be.
func TestCost(t *testing.T) {
	t.Parallel()
	e := &event.Event{ID: strings.Repeat("a", 60_000), Source: "s", Type: "t"}
	for _, expression := range []string{
		strings.Repeat("(", 32) + "true" + strings.Repeat(")", 32),
		"true" + strings.Repeat(" AND true", 400),
		"1" + strings.Repeat(" + 1", 1000) + " = 1001",
		"LENGTH(CONCAT(id" + strings.Repeat(",id", 1300) + ")) > 0",
		"id LIKE '" + strings.Repeat("%a", 2000) + "b'",
		"id LIKE '%" + strings.Repeat("a", 60) + "b'",
		strings.Repeat("NOT ", 100) + "true",
		strings.Repeat("CONCAT(id,", 30) + "id" + strings.Repeat(")", 30) + " = 'a'",
		"1 IN (2" + strings.Repeat(",2", 2000) + ")",
	} {
		start := time.Now()
		p, err := Compile(expression)
		if err != nil {
			t.Errorf("%.40s: %v", expression, err)
			continue
		}
		p.Match(e)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%.40s took %s", expression, took)
		}
	}
}

// TestTogether compiles and matches from several goroutines, for the race detector:
// the generated parser shares what it has learned.
func TestTogether(t *testing.T) {
	t.Parallel()
	expressions := []string{"id = 'ev-1' AND (1 + 2 = 3 OR NOT EXISTS a)", "LENGTH(CONCAT(id, '-', type)) > 3", "subject LIKE 'refs/%' XOR id IN ('a', 'b')", "id = ("}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				expression := expressions[(i+n)%len(expressions)]
				if p, err := Compile(expression); err == nil && !p.Match(testEvent()) {
					t.Errorf("%s does not match", expression)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzCompile(f *testing.F) {
	for _, expression := range []string{
		"id = 'a' AND subject LIKE 'b%' OR NOT EXISTS c", "1 + 2 * -3 % 4 / 5 - 6 <= 7", "SUBSTRING(CONCAT_WS(',', id, 1, true), -2, 1) IN ('a', id)",
		`'it\'s' NOT LIKE "%\_\%"`, "id != 'a' XOR (a <> 'b')", "ABS(INT('1')) > LENGTH(UPPER(LEFT(id, 1)))", "id NOT IN ('x') AND 'a' = id", "x =", "((1)", "a@b", "''''",
	} {
		f.Add(expression, "subject")
	}
	f.Fuzz(func(t *testing.T, expression, subject string) {
		p, err := Compile(expression)
		if err != nil {
			return
		}
		e := testEvent()
		e.Subject = subject
		if !p.Match(e) {
			return
		}
		for _, set := range p.KeySets() {
			found := false
			for _, k := range set {
				have, ok := e.Attribute(k.Attribute)
				found = found || ok && (have == k.Text || k.Prefix && strings.HasPrefix(have, k.Text))
			}
			if !found {
				t.Fatalf("%s matches, but the event has none of %v", expression, set)
			}
		}
	})
}

func BenchmarkProgram(b *testing.B) {
	for _, expression := range []string{"subject = 'refs/heads/main'", "LOWER(word) = 'abc' AND (count > 40 OR EXISTS missing) AND subject LIKE 'refs/%/main'"} {
		b.Run("compile", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compile(expression); err != nil {
					b.Fatal(err)
				}
			}
		})
		p, err := Compile(expression)
		if err != nil {
			b.Fatal(err)
		}
		e := testEvent()
		b.Run("match", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !p.Match(e) {
					b.Fatal("does not match")
				}
			}
		})
	}
}
