package sql

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/antlr/antlr4/runtime/Go/antlr"
	"github.com/cloudevents/sdk-go/sql/v2/gen"
	"github.com/cloudevents/sdk-go/sql/v2/parser"
)

// parse reads an expression that check has let through.
func parse(expression string) (root expr, err error) {
	// The generated parser panics on some of what it cannot read.
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("cannot be read: %v", r)
		}
	}()
	problems := &listener{DefaultErrorListener: antlr.NewDefaultErrorListener()}
	lexer := gen.NewCESQLParserLexer(parser.NewCaseChangingStream(antlr.NewInputStream(expression), true))
	lexer.RemoveErrorListeners() // the default one writes to standard error
	lexer.AddErrorListener(problems)
	p := gen.NewCESQLParserParser(antlr.NewCommonTokenStream(lexer, antlr.TokenDefaultChannel))
	p.RemoveErrorListeners()
	p.AddErrorListener(problems)
	tree := p.Cesql()
	if problems.first != nil {
		return nil, problems.first
	}
	var b builder
	root = b.expression(tree.(*gen.CesqlContext).Expression())
	return root, b.err
}

// A listener keeps the first error.
type listener struct {
	*antlr.DefaultErrorListener
	first error
}

// SyntaxError is called by lexer and parser.
func (l *listener) SyntaxError(_ antlr.Recognizer, _ any, line, column int, message string, _ antlr.RecognitionException) {
	if l.first == nil {
		l.first = fmt.Errorf("is not a CloudEvents SQL expression: line %d, column %d: %s", line, column+1, message)
	}
}

// A builder makes expressions of a parse tree and keeps the first error.
type builder struct {
	err error
}

func (b *builder) fail(err error) expr {
	if b.err == nil {
		b.err = err
	}
	return literal{}
}

func (b *builder) all(trees []gen.IExpressionContext) []expr {
	exprs := make([]expr, len(trees))
	for i, tree := range trees {
		exprs[i] = b.expression(tree)
	}
	return exprs
}

func (b *builder) expression(tree gen.IExpressionContext) expr {
	switch t := tree.(type) {
	case *gen.SubExpressionContext:
		return b.expression(t.Expression())
	case *gen.AtomExpressionContext:
		return b.atom(t.Atom())
	case *gen.UnaryLogicExpressionContext:
		return not{b.expression(t.Expression())}
	case *gen.UnaryNumericExpressionContext:
		return negate{b.expression(t.Expression())}
	case *gen.LikeExpressionContext:
		l := like{of: b.expression(t.Expression()), pattern: newPattern(unquote(t.StringLiteral().GetText()))}
		return negated(l, t.NOT() != nil)
	case *gen.ExistsExpressionContext:
		return exists{b.attribute(t.Identifier().GetText()).name}
	case *gen.InExpressionContext:
		i := in{of: b.expression(t.Expression()), set: b.all(t.SetExpression().(*gen.SetExpressionContext).AllExpression())}
		return negated(i, t.NOT() != nil)
	case *gen.BinaryMultiplicativeExpressionContext:
		return arithmetic{b.binary(t.AllExpression()), operator(t)}
	case *gen.BinaryAdditiveExpressionContext:
		return arithmetic{b.binary(t.AllExpression()), operator(t)}
	case *gen.BinaryComparisonExpressionContext:
		switch op := operator(t); op {
		case "=", "!=", "<>":
			return equal{b.binary(t.AllExpression()), op != "="}
		default:
			return order{b.binary(t.AllExpression()), op}
		}
	case *gen.BinaryLogicExpressionContext:
		return logic{b.binary(t.AllExpression()), strings.ToUpper(operator(t))}
	case *gen.FunctionInvocationExpressionContext:
		return b.call(t)
	default:
		return b.fail(fmt.Errorf("has something that is not known: %s", tree.GetText()))
	}
}

// operator is the text between the two operands.
func operator(tree antlr.ParserRuleContext) string {
	return tree.GetChild(1).(antlr.ParseTree).GetText()
}

func (b *builder) binary(trees []gen.IExpressionContext) binary {
	return binary{b.expression(trees[0]), b.expression(trees[1])}
}

func negated(e expr, yes bool) expr {
	if yes {
		return not{e}
	}
	return e
}

func (b *builder) atom(tree gen.IAtomContext) expr {
	switch t := tree.(type) {
	case *gen.BooleanAtomContext:
		return literal{truth(strings.EqualFold(t.GetText(), "true"))}
	case *gen.IntegerAtomContext:
		n, err := strconv.ParseInt(t.GetText(), 10, 32)
		if err != nil {
			return b.fail(fmt.Errorf("has the number %s, which is not an Integer of 32 bits", t.GetText()))
		}
		return literal{number(int32(n))}
	case *gen.StringAtomContext:
		return literal{str(unquote(t.GetText()))}
	default:
		return b.attribute(tree.GetText())
	}
}

func (b *builder) attribute(name string) attribute {
	name = strings.ToLower(name)
	switch {
	case name == "data":
		b.fail(errors.New("cannot see the data of an event: use the other dialects for data.<path>"))
	case len(name) > maxName:
		b.fail(fmt.Errorf("has an attribute name of more than %d bytes", maxName))
	}
	return attribute{name}
}

func (b *builder) call(t *gen.FunctionInvocationExpressionContext) expr {
	name := strings.ToUpper(t.FunctionIdentifier().GetText())
	args := b.all(t.FunctionParameterList().(*gen.FunctionParameterListContext).AllExpression())
	all := functions()
	if i := slices.IndexFunc(all, func(f function) bool { return f.name == name && f.takes(len(args)) }); i >= 0 {
		return call{all[i], args}
	}
	return b.fail(fmt.Errorf("calls %s with %d arguments: there is no such function", name, len(args)))
}

// unquote returns the text of a string literal. A backslash before anything else
// but the quote stands for itself.
func unquote(quoted string) string {
	quote, text := quoted[:1], quoted[1:len(quoted)-1]
	return strings.ReplaceAll(text, `\`+quote, quote)
}
