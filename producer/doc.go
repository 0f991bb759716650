// Package producer puts events on their domain's event log.
//
// It takes events as Go values (Publish, PublishAsync, PublishEvent) and over
// HTTP as CloudEvents in binary, structured and batch mode (Handler), checks them
// against the rules of CloudEvents and the catalogue, and writes them with their
// data bytes unchanged.
//
// It promises that an event for which it returned a receipt is stored, and
// replicated as far as the event log is; that nothing of an event it refused is
// stored; and that publishing an event again, after an error that left the outcome
// open, stores it once: two events with the same source and id within
// Dedupe are one.
//
// It does not create event logs: "jetpost serve" does, for every domain that it knows.
package producer
