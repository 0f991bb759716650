package stream

// Headers that jetpost adds to what it puts on a stream. Those of the event, its
// ce-… attributes, travel beside them.
const (
	// On deliveries, retry timers and dead letters.
	HeaderOrigin       = "jetpost-origin"        // <event log>:<sequence>@<stored, Unix nanoseconds>:<subscription>, the id of the first publish
	HeaderAccepted     = "jetpost-accepted"      // when the event log stored the event, Unix nanoseconds
	HeaderAttempt      = "jetpost-attempt"       // the number of the next attempt; absent: 1
	HeaderFirstAttempt = "jetpost-first-attempt" // when the first attempt began, Unix nanoseconds
	HeaderAgain        = "jetpost-again"         // "1": it may have been on its queue before, see Made in package delivery

	// On retry timers.
	HeaderTimer = "jetpost-timer" // <when due, Unix nanoseconds> <by what setting of the clock>: see Mark

	// On deliveries that are made again on request.
	HeaderRedrive = "jetpost-redrive" // <sequence of the dead letter> <attempts before> <when, Unix nanoseconds>
	HeaderManual  = "jetpost-manual"  // names one attempt beside those of the schedule

	// On dead letters.
	HeaderDeadLetter = "jetpost-dead-letter" // JSON: why, after how many attempts, the last answer

	// Of the NATS server.
	HeaderMessageID      = "Nats-Msg-Id"
	HeaderExpectedStream = "Nats-Expected-Stream"
	HeaderSchedule       = "Nats-Schedule"
	HeaderScheduleTarget = "Nats-Schedule-Target"
	headerLastOfSubject  = "Nats-Expected-Last-Subject-Sequence"
)
