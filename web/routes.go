package web

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// door is what stands before a route.
type door = func(http.Handler) http.Handler

// routes is the plan of the house, the same behind both doors: outside is what
// stands before whatever changes something, known before whatever needs
// somebody to be known.
func (s *Server) routes(r chi.Router, outside, known door) {
	r.Use(middleware.GetHead)

	// Without a session: health, signing in, and what the sign-in page needs.
	r.Get("/healthz", s.healthz)
	r.Get("/readyz", s.readyz)
	r.Get("/static/{name}", s.static)
	r.Get("/signin", s.signInPage)
	r.With(outside).Post("/signin", s.signIn)

	r.Group(func(r chi.Router) {
		r.Use(known, outside)
		r.Method(http.MethodGet, "/metrics", s.metrics)
		r.Route("/api/v1", s.apiRoutes)
		s.pageRoutes(r)
	})
	r.NotFound(known(http.HandlerFunc(s.nothingHere)).ServeHTTP)
	r.MethodNotAllowed(known(http.HandlerFunc(s.wrongMethod)).ServeHTTP)
}

// apiRoutes are described in openapi.yaml; a test holds the two together.
func (s *Server) apiRoutes(r chi.Router) {
	r.Get("/status", s.apiStatus)
	r.Get("/openapi.yaml", s.apiDescription)
	r.Get("/events", s.apiEvents)

	r.Get("/servers", s.apiServers)
	r.Get("/servers/{ref}", s.apiServer)
	r.Get("/flows", s.apiFlows)
	r.Get("/flows/{id}", s.apiFlow)
	r.Get("/destinations", s.apiDestinations)
	r.Get("/baselines", s.apiBaselines)
	r.Get("/baselines/{ref}", s.apiBaseline)
	r.Get("/alerts", s.apiAlerts)
	r.Get("/alerts/{id}", s.apiAlert)
	r.Get("/audit", s.apiAudit)
	r.Get("/tokens", s.apiTokens)

	r.Group(func(r chi.Router) {
		r.Use(jsonOnly)
		r.Post("/servers", s.apiAddServer)
		r.Post("/enrol", s.apiEnrol)
		r.Post("/servers/{ref}/mode", s.apiSetMode)
		r.Post("/servers/{ref}/rotate", s.apiRotate)
		r.Post("/servers/{ref}/revoke", s.apiRevoke)
		r.Post("/servers/{ref}/rename", s.apiRename)
		r.Post("/servers/{ref}/listener", s.apiListener)
		r.Delete("/servers/{ref}", s.apiRemoveServer)
		r.Post("/baselines/{ref}/approve", s.apiApprove)
		r.Post("/baselines/{ref}/reject", s.apiReject)
		r.Post("/alerts/{id}/ack", s.apiAck)
		r.Post("/alerts/{id}/resolve", s.apiResolve)
		r.Post("/alerts/{id}/approve", s.apiAlertApprove)
		r.Post("/alerts/{id}/reject", s.apiAlertReject)
		r.Post("/signin-links", s.apiSignInLink)
		r.Post("/tokens", s.apiAddToken)
		r.Delete("/tokens/{id}", s.apiRemoveToken)
	})
}

// pageRoutes are for people.
func (s *Server) pageRoutes(r chi.Router) {
	r.Get("/", s.serversPage)
	r.Post("/servers", s.addServer)
	r.Get("/servers/{ref}", s.serverPage)
	r.Post("/servers/{ref}/mode", s.setMode)
	r.Post("/servers/{ref}/baseline", s.decide)
	r.Post("/servers/{ref}/rotate", s.rotate)
	r.Post("/servers/{ref}/revoke", s.revoke)
	r.Post("/servers/{ref}/rename", s.rename)
	r.Post("/servers/{ref}/remove", s.remove)
	r.Post("/servers/{ref}/listener", s.openListener)
	r.Get("/flows", s.flowsPage)
	r.Get("/flows/{id}", s.flowPage)
	r.Get("/alerts", s.alertsPage)
	r.Get("/alerts/{id}", s.alertPage)
	r.Post("/alerts/{id}", s.settleAlert)
	r.Get("/audit", s.auditPage)
	r.Get("/sessions", s.sessionsPage)
	r.Post("/sessions/{id}/end", s.endSession)
	r.Post("/sessions/tokens", s.addToken)
	r.Post("/signout", s.signOut)
}

func (s *Server) nothingHere(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, notFound("There is nothing at this address."))
}

func (s *Server) wrongMethod(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
		Detail: "This address does not take " + r.Method + " requests."})
}
