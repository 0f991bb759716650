package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// HexHMAC is HMAC-SHA256 over body in lower-case hex, as many ecosystems sign. The
// key is the text of the secret as it stands.
func HexHMAC(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
