package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const answerAtMost = 1 << 20

// ErrUnknown says that the other component has nothing of this name.
var ErrUnknown = errors.New("unknown")

// Component is another component's API, at its base URL.
type Component struct {
	Name string
	url  string
	http http.Client
}

func NewComponent(name, url string) *Component {
	return &Component{Name: name, url: strings.TrimRight(url, "/"), http: http.Client{Timeout: 5 * time.Second}}
}

// get decodes the answer into answer, whose fields are those that contracts/expectations.json names.
func (c *Component) get(ctx context.Context, path string, answer interface{ missing() string }) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s gives no answer: %w", c.Name, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return fmt.Errorf("%s: %w", c.Name, ErrUnknown)
	default:
		return fmt.Errorf("%s answers %d", c.Name, response.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, answerAtMost)).Decode(answer); err != nil {
		return fmt.Errorf("%s gives no usable answer: %w", c.Name, err)
	}
	if field := answer.missing(); field != "" {
		return fmt.Errorf("%s's answer has no field %s", c.Name, field)
	}
	return nil
}

// Invoice is what a statement needs of billing's.
type Invoice struct {
	Customer string `json:"customer"`
	Currency string `json:"currency"`
	Gross    string `json:"gross"`
}

func (i *Invoice) missing() string {
	return firstEmpty("customer", i.Customer, "currency", i.Currency, "gross", i.Gross)
}

// Account is what a statement needs of the ledger's.
type Account struct {
	Paid string `json:"paid"`
	Open string `json:"open"`
}

func (a *Account) missing() string {
	return firstEmpty("paid", a.Paid, "open", a.Open)
}

func firstEmpty(namesAndValues ...string) string {
	for i := 0; i < len(namesAndValues); i += 2 {
		if namesAndValues[i+1] == "" {
			return namesAndValues[i]
		}
	}
	return ""
}
