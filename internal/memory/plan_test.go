package memory

import "testing"

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"auto": 0, "AUTO": 0, "512MiB": 512 << 20, "2GiB": 2 << 30, "1 GiB": 1 << 30, "268435456": 256 << 20, "262144KiB": 256 << 20, "1TiB": 1 << 40,
	} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "off", "512", "512MB", "-1GiB", "1.5GiB", "127MiB", "99999999999TiB", "GiB"} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

// What is divided is no more than there is.
func TestDivide(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{leastMemory, 512 << 20, 1 << 30, 64 << 30} {
		p := divide(fromFlag, limit)
		sum := p.Deliveries.Size() + p.Events.Size() + p.Ingest.Size() + 3*p.Publishing().Size() + p.Streams + p.Inbound
		if sum > limit*3/4 {
			t.Errorf("of %d bytes %d are given away, and nothing is left for the rest", limit, sum)
		}
		if p.Deliveries.Size() < 16<<20 {
			t.Errorf("of %d bytes %d are for deliveries: not enough for a few of the largest", limit, p.Deliveries.Size())
		}
	}
}
