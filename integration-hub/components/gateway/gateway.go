package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Gateway composes the answers of the other components.
type Gateway struct {
	Version      string
	Contract     []byte
	Expectations []byte
	Billing      *Component
	Ledger       *Component
}

// Statement is the gateway's own answer; every field is always there.
type Statement struct {
	Number   int64  `json:"number"`
	Customer string `json:"customer"`
	Currency string `json:"currency"`
	Gross    string `json:"gross"`
	Paid     string `json:"paid"`
	Open     string `json:"open"`
	Settled  bool   `json:"settled"`
}

type health struct {
	Status  string `json:"status"`
	Version string `json:"version"`
}

var statementPath = regexp.MustCompile(`^/statements/([1-9][0-9]{0,17})$`)

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found := statementPath.FindStringSubmatch(r.URL.Path)
	switch {
	case found == nil && r.URL.Path != "/health" && r.URL.Path != "/openapi.json" && r.URL.Path != "/expectations.json":
		refuse(w, http.StatusNotFound, "no such path")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, "no such method")
	case found != nil:
		g.statement(w, r, found[1])
	case r.URL.Path == "/health":
		answer(w, http.StatusOK, health{"ok", g.Version})
	case r.URL.Path == "/openapi.json":
		answer(w, http.StatusOK, json.RawMessage(g.Contract))
	default:
		answer(w, http.StatusOK, json.RawMessage(g.Expectations))
	}
}

func (g *Gateway) statement(w http.ResponseWriter, r *http.Request, number string) {
	var invoice Invoice
	var account Account
	err := g.Billing.get(r.Context(), "/invoices/"+number, &invoice)
	if err == nil {
		err = g.Ledger.get(r.Context(), "/accounts/"+number, &account)
	}
	switch {
	case errors.Is(err, ErrUnknown):
		refuse(w, http.StatusNotFound, "no invoice "+number)
	case err != nil:
		refuse(w, http.StatusBadGateway, err.Error())
	default:
		// The pattern of the path leaves no number that does not fit.
		value, _ := strconv.ParseInt(number, 10, 64)
		answer(w, http.StatusOK, Statement{
			Number: value, Customer: invoice.Customer, Currency: invoice.Currency, Gross: invoice.Gross,
			Paid: account.Paid, Open: account.Open, Settled: strings.Trim(account.Open, "0.") == "",
		})
	}
}

func refuse(w http.ResponseWriter, status int, reason string) {
	answer(w, status, map[string]string{"error": reason})
}

func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}
