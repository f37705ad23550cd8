package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sort"
	"strings"
	"testing"
)

// component answers as the other side's contract says, for invoice 7 alone.
func component(t *testing.T, name, path, body string) *Component {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return NewComponent(name, server.URL)
}

func gatewayOver(t *testing.T, invoice, account string) *Gateway {
	return &Gateway{
		Version: "1.2.3", Contract: contract, Expectations: expectations,
		Billing: component(t, "billing", "/invoices/7", invoice),
		Ledger:  component(t, "ledger", "/accounts/7", account),
	}
}

const (
	someInvoice = `{"number":7,"customer":"ACME","currency":"EUR","gross":"71.04","net":"59.70"}`
	someAccount = `{"paid":"10.50","open":"60.54","payments":[]}`
)

func call(t *testing.T, gateway *Gateway, method, path string) (int, map[string]any, http.Header) {
	recorder := httptest.NewRecorder()
	gateway.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
	var document map[string]any
	if err := json.Unmarshal(recorder.Body.Bytes(), &document); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return recorder.Code, document, recorder.Header()
}

func expect(t *testing.T, gateway *Gateway, path string, status int, reason string) {
	t.Helper()
	code, document, _ := call(t, gateway, http.MethodGet, path)
	if code != status || document["error"] != reason {
		t.Errorf("%s: %d %v, expected %d %q", path, code, document, status, reason)
	}
}

func TestComposesAStatement(t *testing.T) {
	code, document, _ := call(t, gatewayOver(t, someInvoice, someAccount), http.MethodGet, "/statements/7")
	expected := map[string]any{
		"number": 7.0, "customer": "ACME", "currency": "EUR", "gross": "71.04", "paid": "10.50", "open": "60.54", "settled": false,
	}
	if code != http.StatusOK || !reflect.DeepEqual(document, expected) {
		t.Errorf("%d %v", code, document)
	}
}

func TestAnInvoiceWithNothingOpenIsSettled(t *testing.T) {
	for open, settled := range map[string]bool{"0.00": true, "0.10": false, "100.00": false} {
		_, document, _ := call(t, gatewayOver(t, someInvoice, `{"paid":"1.00","open":"`+open+`"}`), http.MethodGet, "/statements/7")
		if document["settled"] != settled {
			t.Errorf("open %s: %v", open, document)
		}
	}
}

func TestAnUnknownInvoiceIsNotFound(t *testing.T) {
	expect(t, gatewayOver(t, someInvoice, someAccount), "/statements/8", http.StatusNotFound, "no invoice 8")
}

func TestNamesTheFieldThatAnAnswerLacks(t *testing.T) {
	expect(t, gatewayOver(t, `{"customer":"ACME","currency":"EUR"}`, someAccount), "/statements/7",
		http.StatusBadGateway, "billing's answer has no field gross")
	expect(t, gatewayOver(t, someInvoice, `{"paid":"1.00"}`), "/statements/7",
		http.StatusBadGateway, "ledger's answer has no field open")
}

func TestSaysWhoGivesNoAnswer(t *testing.T) {
	gateway := gatewayOver(t, someInvoice, someAccount)
	gateway.Ledger = NewComponent("ledger", "http://127.0.0.1:1")
	code, document, _ := call(t, gateway, http.MethodGet, "/statements/7")
	if code != http.StatusBadGateway || !strings.HasPrefix(document["error"].(string), "ledger gives no answer: ") {
		t.Errorf("%d %v", code, document)
	}
	expect(t, gatewayOver(t, `no JSON`, someAccount), "/statements/7", http.StatusBadGateway,
		"billing gives no usable answer: invalid character 'o' in literal null (expecting 'u')")
}

func TestKnowsNoOtherPathAndNoOtherMethod(t *testing.T) {
	gateway := gatewayOver(t, someInvoice, someAccount)
	for _, path := range []string{"/", "/statements", "/statements/0", "/statements/x", "/statements/1234567890123456789"} {
		expect(t, gateway, path, http.StatusNotFound, "no such path")
	}
	code, _, header := call(t, gateway, http.MethodPost, "/statements/7")
	if code != http.StatusMethodNotAllowed || header.Get("Allow") != "GET" {
		t.Errorf("%d %v", code, header)
	}
}

func TestSaysThatItIsWellAndWhichVersion(t *testing.T) {
	code, document, _ := call(t, gatewayOver(t, someInvoice, someAccount), http.MethodGet, "/health")
	if code != http.StatusOK || document["status"] != "ok" || document["version"] != "1.2.3" {
		t.Errorf("%d %v", code, document)
	}
}

// The documents that the hub compares say what this code does.

func TestAStatementHasExactlyTheFieldsOfTheDocument(t *testing.T) {
	gateway := gatewayOver(t, someInvoice, someAccount)
	_, statement, _ := call(t, gateway, http.MethodGet, "/statements/7")
	_, document, _ := call(t, gateway, http.MethodGet, "/openapi.json")
	schema := document["components"].(map[string]any)["schemas"].(map[string]any)["Statement"].(map[string]any)
	if found, expected := keys(statement), keys(schema["properties"].(map[string]any)); !reflect.DeepEqual(found, expected) {
		t.Errorf("%v, documented %v", found, expected)
	}
}

func TestNeedsNoMoreThanItsExpectationsName(t *testing.T) {
	_, document, _ := call(t, gatewayOver(t, someInvoice, someAccount), http.MethodGet, "/expectations.json")
	answers := map[string]string{}
	for provider, operations := range document["providers"].(map[string]any) {
		operation := operations.([]any)[0].(map[string]any)
		fields := operation["responses"].(map[string]any)["200"].(map[string]any)
		for name := range fields {
			fields[name] = "1.00"
		}
		body, _ := json.Marshal(fields)
		answers[provider] = string(body)
	}
	if code, statement, _ := call(t, gatewayOver(t, answers["billing"], answers["ledger"]), http.MethodGet, "/statements/7"); code != http.StatusOK {
		t.Errorf("%d %v", code, statement)
	}
}

func keys(document map[string]any) []string {
	var names []string
	for name := range document {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
