// Command gateway answers with statements: what an invoice is about, what was paid, what is open.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

//go:embed VERSION
var version string

//go:embed contracts/openapi.json
var contract []byte

//go:embed contracts/expectations.json
var expectations []byte

func main() {
	port := setting("GATEWAY_PORT", "8080")
	var err error
	switch {
	case len(os.Args) == 1:
		err = serve(port)
	case len(os.Args) == 2 && os.Args[1] == "health":
		err = askHealth(port)
	default:
		err = errors.New("usage: gateway [health]")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "gateway: %v\n", err)
		os.Exit(1)
	}
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// serve answers until SIGTERM.
func serve(port string) error {
	gateway := &Gateway{
		Version:      strings.TrimSpace(version),
		Contract:     contract,
		Expectations: expectations,
		Billing:      NewComponent("billing", setting("GATEWAY_BILLING_URL", "http://billing:8080")),
		Ledger:       NewComponent("ledger", setting("GATEWAY_LEDGER_URL", "http://ledger:8080")),
	}
	server := &http.Server{
		Addr:              ":" + port,
		Handler:           gateway,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
	}
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer release()
	go func() {
		<-stop.Done()
		deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(deadline)
	}()
	log.Printf("gateway %s listens on port %s", gateway.Version, port)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// askHealth is the health check of an image that has neither a shell nor curl.
func askHealth(port string) error {
	client := http.Client{Timeout: 3 * time.Second}
	response, err := client.Get("http://127.0.0.1:" + port + "/health")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", response.Status)
	}
	return nil
}
