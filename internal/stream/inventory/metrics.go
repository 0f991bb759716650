package inventory

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Register adds the metrics of the inventory to those of the process.
func (i *Inventory) Register(reg prometheus.Registerer) error {
	return errors.Join(
		reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "jetpost_storage_losses", Help: "Streams that have lost what they had, and whose loss was not accepted yet.",
		}, func() float64 { return float64(len(i.open())) })),
		reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "jetpost_storage_unowned_queues", Help: "Queues that have no subscription.",
		}, func() float64 { return float64(len(i.UnownedQueues())) })),
	)
}
