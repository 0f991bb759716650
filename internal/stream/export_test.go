package stream

// Age has nothing be seen to change for as long as it takes.
func (w *PendingWatch) Age() { w.since = w.since.Add(-2 * AckWait) }
