package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
)

// AllDomains stands, alone in the domains of a publisher, for all domains but that
// of jetpost itself.
const AllDomains = "*"

// Limits of a token.
const (
	maxName    = 100 // characters
	maxDomains = 100
	maxRate    = 100_000 // requests per second
	minRate    = 0.01
)

// A Token lets its holder use the API. Its text is known to the holder alone.
type Token struct {
	// ID names the token, and is part of its text. It is no secret.
	ID string
	// Name is what people call it.
	Name string
	Role Role
	// Domains are those of a publisher, or AllDomains. No other role has any.
	Domains []string
	// Rate is how many requests per second each process answers to it. 0: as many as
	// the process allows to any token, and events without bound.
	Rate float64
	// CreatedAt is when it was made.
	CreatedAt time.Time
	// CreatedBy is the id of the token that it was made with.
	CreatedBy string
	// ExpiresAt is when it stops working. Zero: never.
	ExpiresAt time.Time
	// LastUsed is when it was last used, give or take a minute. Zero: not yet. It is
	// known to Store.LastUsed only, and in no record.
	LastUsed time.Time

	hash     [sha256.Size]byte // of its text
	revision uint64            // of its record
}

// Expired reports whether it has stopped working.
func (t *Token) Expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }

// principal is who uses the token.
func (t *Token) principal() Principal {
	p := Principal{ID: t.ID, Name: t.Name, Role: t.Role}
	if t.Role == Publisher && !slices.Equal(t.Domains, []string{AllDomains}) {
		p.Domains = slices.Clone(t.Domains)
	}
	return p
}

// The text of a token:
//
//	jp_ abcdefghijkl _ AbCd…                 (43 characters of base64url: 32 random bytes)
//	    └─ id ─────┘   └─ secret ─┘
const (
	textPrefix  = "jp_"
	idLength    = 12 // 60 random bits: never made twice
	secretBytes = 32
)

var (
	secretLength = base64.RawURLEncoding.EncodedLen(secretBytes)
	idPattern    = regexp.MustCompile(`^[a-z2-7]{12}$`)
)

// newText makes a token's id and text.
func newText() (id, text string) {
	id = strings.ToLower(rand.Text()[:idLength])
	return id, textPrefix + id + "_" + newSecret()
}

func newSecret() string {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(secret)
}

// idOf takes the id from the text of a token; false when that is not one.
func idOf(text string) (string, bool) {
	if len(text) != len(textPrefix)+idLength+1+secretLength || !strings.HasPrefix(text, textPrefix) {
		return "", false
	}
	id := text[len(textPrefix) : len(textPrefix)+idLength]
	return id, text[len(textPrefix)+idLength] == '_' && validID(id)
}

// IDOf takes the id from what may be the text of a token; otherwise it returns what it
// is given.
func IDOf(text string) string {
	if id, ok := idOf(text); ok {
		return id
	}
	return text
}

func validID(id string) bool { return idPattern.MatchString(id) }

// hashOf is what is kept of the text of a token. The secret is random and long, so
// that a slow hash would make it no safer.
func hashOf(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// A FieldError is one thing that is wrong with a token that is to be made or
// changed.
type FieldError struct {
	Field   string
	Message string
}

// Error says where and what.
func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// validate returns the first thing that is wrong.
func (t *Token) validate() error {
	if err := validateName(t.Name); err != nil {
		return err
	}
	if !slices.Contains(Roles(), t.Role) {
		return &FieldError{"role", "is not a role: use admin, operator, auditor or publisher"}
	}
	if t.Rate != 0 && !(t.Rate >= minRate && t.Rate <= maxRate) { // a NaN neither
		return &FieldError{"rate", fmt.Sprintf("is out of range: use %v to %d requests per second, or 0", minRate, maxRate)}
	}
	if y := t.ExpiresAt.Year(); !t.ExpiresAt.IsZero() && (y < 1970 || y > 9999) {
		return &FieldError{"expires_at", "is out of range: use a time from 1970 to 9999"}
	}
	return t.validateDomains()
}

func validateName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return &FieldError{"name", "is required: say who will use the token, and for what"}
	case utf8.RuneCountInString(name) > maxName:
		return &FieldError{"name", fmt.Sprintf("is too long: use up to %d characters", maxName)}
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return &FieldError{"name", "has characters that cannot be printed"}
	}
	return nil
}

func (t *Token) validateDomains() error {
	switch {
	case t.Role != Publisher && len(t.Domains) > 0:
		return &FieldError{"domains", "are for the role publisher: the others are not limited to domains"}
	case t.Role != Publisher || slices.Equal(t.Domains, []string{AllDomains}):
		return nil
	case len(t.Domains) == 0:
		return &FieldError{"domains", `are required for the role publisher: name those that it may publish to, or give ["*"] for all`}
	case len(t.Domains) > maxDomains:
		return &FieldError{"domains", fmt.Sprintf("are too many: use up to %d, or [\"*\"] for all", maxDomains)}
	}
	for i, domain := range t.Domains {
		field := fmt.Sprintf("domains[%d]", i)
		switch {
		case domain == AllDomains:
			return &FieldError{field, "stands for all domains, and must be alone"}
		case !stream.ValidDomain(domain):
			return &FieldError{field, "is not the name of a domain: use lower-case letters, digits, dashes and underscores, a letter first"}
		case domain == stream.OperationalDomain:
			return &FieldError{field, "is jetpost's own: only jetpost publishes to it"}
		case slices.Contains(t.Domains[:i], domain):
			return &FieldError{field, "is there twice"}
		}
	}
	return nil
}

// record is a token as the bucket has it, under its id.
type record struct {
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Domains   []string  `json:"domains,omitempty"`
	Rate      float64   `json:"rate,omitempty"`
	Hash      string    `json:"sha256"` // of the text, in hex
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

func (t *Token) encode() ([]byte, error) {
	return json.Marshal(record{t.Name, t.Role, t.Domains, t.Rate, hex.EncodeToString(t.hash[:]), t.CreatedAt, t.CreatedBy, t.ExpiresAt})
}

// decode reads a record. What cannot be read in full, or could not have been
// written, is invalid.
func decode(id string, e follow.Entry) (*Token, error) {
	var r record
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return nil, fmt.Errorf("read token %s: %w", id, err)
	}
	t := &Token{
		ID: id, Name: r.Name, Role: r.Role, Domains: r.Domains, Rate: r.Rate,
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, ExpiresAt: r.ExpiresAt, revision: e.Revision,
	}
	hash, err := hex.DecodeString(r.Hash)
	if err == nil && len(hash) != sha256.Size {
		err = errors.New("its hash has another length")
	}
	if err == nil {
		copy(t.hash[:], hash)
		err = t.validate()
	}
	if err == nil && !validID(id) {
		err = errors.New("its id is not one")
	}
	if err != nil {
		return nil, fmt.Errorf("read token %s: %w", id, err)
	}
	return t, nil
}

// Revision changes with every change of a token, and not with its use.
func (t *Token) Revision() uint64 { return t.revision }
