package subscription

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
)

// A record is a subscription in the store: its JSON, in which every secret is the
// placeholder, and the sealed secrets by field. A field that this version does not
// know is ignored when it is read, so that versions can be mixed while they are
// replaced; a filter that it does not know makes the record unreadable.
type record struct {
	*Subscription
	Sealed map[string][]byte `json:"sealed,omitempty"`
}

// secretFields calls each with every secret of s and the field it is sealed
// under, and puts back what each returns.
func (s *Subscription) secretFields(each func(field string, secret keyring.Secret) (keyring.Secret, error)) error {
	visit := func(field string, secret keyring.Secret) (keyring.Secret, error) {
		if secret.IsZero() {
			return secret, nil
		}
		return each(field, secret)
	}
	var err error
	if s.Endpoint.Query, err = visit("endpoint.query", s.Endpoint.Query); err != nil {
		return err
	}
	if s.Managed.Document, err = visit("managed.document", s.Managed.Document); err != nil {
		return err
	}
	for name, value := range s.Endpoint.SecretHeaders {
		if s.Endpoint.SecretHeaders[name], err = visit("endpoint.secret_headers."+name, value); err != nil {
			return err
		}
	}
	for name, value := range s.Template.Secrets {
		if s.Template.Secrets[name], err = visit("template.secrets."+name, value); err != nil {
			return err
		}
	}
	for i := range s.Secrets {
		if s.Secrets[i].Secret, err = visit("secrets."+s.Secrets[i].ID, s.Secrets[i].Secret); err != nil {
			return err
		}
	}
	return nil
}

// encodeRecord returns what is stored of s.
func encodeRecord(s *Subscription, k *keyring.Keyring) ([]byte, error) {
	stored := s.Clone()
	stored.Revision = 0 // it is that of the record itself
	sealed := make(map[string][]byte)
	err := stored.secretFields(func(field string, secret keyring.Secret) (keyring.Secret, error) {
		b, err := k.SealSecret(s.ID, field, secret)
		sealed[field] = b
		return secret, err
	})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(record{stored, sealed})
	if err != nil {
		return nil, fmt.Errorf("encode subscription %s: %w", s.ID, err)
	}
	return b, nil
}

// decodeRecord reads what is stored under id. Without a keyring every secret is a
// placeholder, and reveals nothing.
func decodeRecord(id string, revision uint64, b []byte, k *keyring.Keyring) (*Subscription, error) {
	r := record{Subscription: new(Subscription)}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("decode subscription %s: %w", id, err)
	}
	s := r.Subscription
	if s.ID != id || !ValidID(id) {
		return nil, fmt.Errorf("decode subscription %s: the record is of %q", id, plain.Clip(s.ID))
	}
	s.Revision = revision
	if s.Endpoint.URL == "" || s.Queue.Stream == "" || s.Queue.Subject == "" {
		return nil, errors.New("decode subscription " + id + ": it has no endpoint or no queue")
	}
	if k == nil {
		return s, nil
	}
	err := s.secretFields(func(field string, secret keyring.Secret) (keyring.Secret, error) {
		if !secret.IsPlaceholder() {
			return secret, fmt.Errorf("decode subscription %s: %s is not sealed", id, field)
		}
		b, ok := r.Sealed[field]
		if !ok {
			return secret, fmt.Errorf("decode subscription %s: %s is missing", id, field)
		}
		return k.OpenSecret(id, field, b)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}
