package stream

import "slices"

// A Role is what a connection to NATS is for. Every role that a process has gets
// a connection of its own, so that it can have an inbox of its own.
type Role string

// The roles of connections.
const (
	RoleProducer Role = "producer" // publishes events
	RoleRouter   Role = "router"   // turns events into deliveries
	RoleSender   Role = "sender"   // takes deliveries, and settles them
	// RoleView follows the subscriptions, the registered domains and the tokens, and
	// changes nothing but its probe (see Health) and when a token was last used. Every
	// process needs it, also to say whether it is ready.
	RoleView Role = "view"
	// RoleControl makes and deletes streams, changes subscriptions and tokens, registers
	// domains and reads history. It can do what RoleView can: a process that has it needs no view.
	RoleControl Role = "control"
)

// Roles are all roles of connections, in the order in which an event meets them.
func Roles() []Role {
	return []Role{RoleProducer, RoleRouter, RoleSender, RoleView, RoleControl}
}

// Permissions are the NATS subjects that a user may publish and subscribe to, with
// wildcards. Everything else is to be denied.
type Permissions struct {
	Publish   []string
	Subscribe []string
}

// Permissions are the least that connections of a role can work with; nothing for
// a role that does not exist. A process whose connections share one NATS user
// needs the union of what its roles need.
//
// Queues come and go, but a wildcard stands for a whole token and streams are
// named in one. So the name of the consumer says which service takes messages, which
// is fixed (RouterConsumer, SenderConsumer), whatever the stream: the permissions
// of a role stay the same while subscriptions come and go. In an account that
// several installations share, the prefix keeps their events, deliveries and
// subscriptions apart. It does not keep apart their routers, senders and admins,
// who may take from, or delete, what has a name that they could have made: give
// installations that do not trust each other accounts of their own.
//
// Who may create a consumer (RoleView and RoleSender on buckets, RoleControl anywhere) can have
// what it reads delivered to any subject of the account.
func (l Layout) Permissions(role Role) Permissions {
	p := Permissions{Subscribe: []string{InboxPrefix(string(role)) + ".>"}}
	switch role {
	case RoleProducer:
		p.Publish = []string{l.subject("events", ">")}
	case RoleRouter:
		p.Publish = append(take(RouterConsumer), l.subject("deliveries", "*"), l.DeadLetterSubject("*"),
			// How far the events are settled, and which are there no more: what is delivered
			// in order has to wait for it. No DIRECT.GET: it would read whole streams.
			apiPrefix+"CONSUMER.INFO.*."+RouterConsumer,
			apiPrefix+"STREAM.INFO.*",
			l.EventSubject(OperationalDomain, ">"),
		)
	case RoleSender:
		p.Publish = append(take(SenderConsumer),
			l.subject("deliveries", "*"), // the pump puts what was retried back
			l.RetryAt("*", "*", "*"),     // not RetryDue: only the server lets timers fire
			l.AttemptSubject("*"),
			l.DeadLetterSubject("*"),
			l.EventSubject(OperationalDomain, ">"),
			// What it changes is on the audit trail first, behind the last record there is.
			l.AuditSubject(">"),
			apiPrefix+"STREAM.MSG.GET."+l.Audit(),
			apiPrefix+"STREAM.INFO.*", // how long the first delivery of a queue has waited
			// A record may be there already: see Log.Record in package delivery.
			apiPrefix+"DIRECT.GET."+l.Attempts(),
			// After a crash of NATS the log tells what was delivered: see Made in package delivery.
			apiPrefix+"CONSUMER.CREATE."+l.Attempts()+".*."+l.AttemptSubject("*"),
			apiPrefix+"CONSUMER.INFO."+l.Attempts()+".*",
			apiPrefix+"CONSUMER.MSG.NEXT."+l.Attempts()+".*",
			apiPrefix+"CONSUMER.DELETE."+l.Attempts()+".*",
			// The subscription whose receiver answers 410 is disabled, and what a receiver has
			// answered to the handshake is written down.
			apiPrefix+"DIRECT.GET."+l.SubscriptionsStream()+"."+l.SubscriptionKey("*"),
			l.SubscriptionKey("*"),
			// What senders agree on. The state of the bucket says what time it is there.
			apiPrefix+"DIRECT.GET."+l.StateStream()+"."+l.stateKey("*.*"),
			l.stateKey("*.*"),
			// They say that they are alive, see who else is, and make the bucket for it anew
			// when a NATS server has forgotten it.
			l.MemberKey("*"),
			apiPrefix+"INFO",
			apiPrefix+"STREAM.CREATE."+l.MembersStream(),
			apiPrefix+"DIRECT.GET."+l.MembersStream()+"."+l.MemberKey("*"),
		)
		p.Publish = append(p.Publish, watch(l.MembersStream(), l.MemberKey(">"))...)
		// They watch the breakers, and what was made by hand.
		p.Publish = append(p.Publish, watch(l.StateStream(), l.StateBreakerSubject("*"))...)
		p.Publish = append(p.Publish, apiPrefix+"CONSUMER.CREATE."+l.StateStream()+".*."+l.StateMadeSubject("*"))
		for _, shard := range l.RetryShards() { // a timer is cancelled when its delivery has been made
			p.Publish = append(p.Publish, apiPrefix+"STREAM.PURGE."+l.RetryStream(shard))
		}
		// When the store is full, room for settling is given back.
		p.Publish = append(p.Publish, apiPrefix+"STREAM.PURGE."+l.ReserveStream())
		// When the clock of the NATS server was set, timers are moved, and ack waits renewed.
		for _, shard := range l.RetryShards() {
			p.Publish = append(p.Publish, apiPrefix+"STREAM.MSG.GET."+l.RetryStream(shard))
		}
		p.Publish = append(p.Publish, apiPrefix+"CONSUMER.INFO.*."+SenderConsumer)
	case RoleView:
		p.Publish = slices.Concat([]string{
			apiPrefix + "INFO",            // is JetStream there?
			l.StateUsedSubject("*"),       // who has an API notes that a token was used
			l.StateProbeSubject(RoleView), // does NATS store what it is given?
			// Is something lost without which nothing may be routed?
			apiPrefix + "STREAM.MSG.GET." + l.InventoryStreams()[0],
		},
			follow(l.SubscriptionsStream(), l.SubscriptionKey(">")),
			follow(l.CatalogStream(), l.CatalogKey(">")),
			follow(l.TokensStream(), l.TokenKey(">")),
			follow(l.RepositoriesStream(), l.repositoryKey(">")),
		)
	case RoleControl:
		p.Publish = []string{
			apiPrefix + "INFO",
			apiPrefix + "STREAM.CREATE.*",
			apiPrefix + "STREAM.INFO.*",
			apiPrefix + "STREAM.PURGE.*", // the timers and the state of a subscription that is deleted
			apiPrefix + "STREAM.DELETE.*",
			apiPrefix + "CONSUMER.CREATE.>", // a filter, with as many tokens as it has, is the end
			apiPrefix + "CONSUMER.INFO.*.*",
			apiPrefix + "CONSUMER.MSG.NEXT.*.*", // who reads history gets a consumer for it
			apiPrefix + "CONSUMER.DELETE.*.*",
			apiPrefix + "CONSUMER.RESET.*.*", // one that is ahead of its stream is set back
			apiPrefix + "DIRECT.GET." + l.SubscriptionsStream() + "." + l.SubscriptionKey("*"),
			l.SubscriptionKey("*"),
			l.CatalogKey("*"),
			l.TokenKey("*"),
			l.StateUsedSubject("*"),
			apiPrefix + "DIRECT.GET." + l.MembersStream() + "." + l.MemberKey("*"), // the senders are shown
			l.subject("deliveries", "*"), // test events, and what is made again
			// An event or a dead letter is read. Both are deleted, the latter also when it is on
			// its queue again, and an event with all that carries it: in queues, among retry
			// timers and attempts. The audit trail allows no deletion, to anyone. The jobs that do so for many are kept where all admins see them.
			apiPrefix + "DIRECT.GET.*",
			apiPrefix + "STREAM.MSG.DELETE.*",
			l.AttemptSubject("*"),    // without the answers, when an event is erased
			l.RetryAt("*", "*", "*"), // what fills a block, and the timers of a shard that is made anew
			// Where a delivery waits is looked up: queues and retry timers have no direct reads.
			apiPrefix + "STREAM.MSG.GET.*",
			apiPrefix + "DIRECT.GET." + l.StateStream() + "." + l.StateRedriveSubject("*"),
			l.StateRedriveSubject("*"),
			l.StateRoutedSubject("*"),
			// A breaker is shown, and closed by hand.
			apiPrefix + "DIRECT.GET." + l.StateStream() + "." + l.StateBreakerSubject("*"),
			l.StateBreakerSubject("*"),
			// The answer to a request that is repeated is that to the first.
			apiPrefix + "DIRECT.GET." + l.IdempotencyStream() + "." + l.IdempotencyKey("*"),
			l.IdempotencyKey("*"),
			l.StateProbeSubject(RoleControl),
			l.AuditSubject(">"),
			l.EventSubject(OperationalDomain, ">"),
			l.repositoryKey(">"),
			// The list of all streams, which is compared with those that there are.
			l.reserveSubject("*"),
			apiPrefix + "STREAM.NAMES",
			inventoryKey(l.InventoryBuckets()[0], "*"),
			inventoryKey(l.InventoryBuckets()[1], "*"),
		}
		for _, bucket := range []string{l.SubscriptionsStream(), l.CatalogStream(), l.TokensStream(), l.RepositoriesStream()} {
			p.Publish = append(p.Publish, flowControl(bucket)...) // the rest of follow is above, for all streams
		}
	default:
		return Permissions{}
	}
	return p
}

const apiPrefix = "$JS.API."

// take is to pull from a consumer of that name and to settle what came. The server
// chooses the subject of an ack. One with the feature flag js_ack_fc_v2 puts the
// domain and the account of JetStream before the stream.
func take(consumer string) []string {
	return []string{
		apiPrefix + "CONSUMER.MSG.NEXT.*." + consumer,
		"$JS.ACK.*." + consumer + ".>",
		"$JS.ACK.*.*.*." + consumer + ".>",
	}
}

// follow is to keep a live copy of a bucket, given the stream under it and the subject
// of all its keys: see Follower.
func follow(bucket, keys string) []string {
	return append(watch(bucket, keys), apiPrefix+"STREAM.INFO."+bucket, apiPrefix+"STREAM.MSG.GET."+bucket)
}

// watch is to be notified of keys of a bucket. The client library makes a name up for each
// watch; the filter is the end of the subject.
func watch(bucket, keys string) []string {
	return append(flowControl(bucket), apiPrefix+"CONSUMER.CREATE."+bucket+".*."+keys, apiPrefix+"CONSUMER.DELETE."+bucket+".*")
}

// flowControl is to tell the server that what a watch of a bucket has sent was
// taken, in the same two forms as acks.
func flowControl(bucket string) []string {
	return []string{"$JS.FC." + bucket + ".>", "$JS.FC.*.*." + bucket + ".>"}
}

// SubscriptionKey is the subject of a key of the subscriptions bucket. Ids are single
// tokens.
func (l Layout) SubscriptionKey(id string) string {
	return "$KV." + l.SubscriptionsBucket() + "." + id
}
