package main

import (
	"math/rand/v2"
	"testing"
)

// A queue whose description is damaged is not created again where its subscription is lost too.
// Its files stay, and once both losses are accepted the process is ready.
func TestQueueAndSubscriptionsAreLost(t *testing.T) {
	t.Parallel()
	o := newStorageOracle(t, rand.New(rand.NewPCG(1, 2000)))
	o.suffer(t, []storageFault{{"empty meta.inf", "DELIVERIES_waiting", emptied("meta.inf")}, {"removal", "KV_subscriptions", remove}})
	o.report(t, 1, 0)
}
