package admin

import (
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/story"
	"github.com/jetpost/jetpost/admin/subscriptions"
)

// routes registers the operations of the whole API.
func (a *Admin) routes(api *httpapi.API) {
	subscriptions.Register(api, a.keep, a.tester, a.handshakes, a.letters)
	a.senderRoutes(api)
	a.recordRoutes(api)
	a.dead.Register(api)
	a.redrives.Register(api)
	story.Register(api, a.logs, a.stories)
	(&eraser{js: a.js, layout: a.layout, logs: a.logs, keep: a.keep, attempts: a.attempts, letters: a.letters, trail: a.trail, log: a.log}).register(api)
	a.typeRoutes(api)
	a.domainRoutes(api)
	a.repositoryRoutes(api)
	a.auditRoutes(api)
	a.tokenRoutes(api)
	a.cfg.Storage.Register(api)
	a.reconciler.Register(api)
}
