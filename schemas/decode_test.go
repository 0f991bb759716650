package schemas

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// FuzzDecode compares decode with encoding/json: it refuses more, but what it
// accepts is the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a":[1,-0.5e+3,true,false,null,"x\n\u00e4\ud83d\ude00"],"b":{"":{}},"c":[]}`))
	f.Add([]byte(" [ 12345678901234567890 , [ ] , { \"a\\\"\" : { } } ] "))
	f.Add([]byte(`{"a":1,"\u0061":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, refused := decode(data)
		want, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if refused != nil {
			if refused.message == "" || refused.offset > len(data) {
				t.Errorf("refused by %+v", refused)
			}
			return
		}
		if err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
