// Command junit turns the events of `go test -json` on stdin into a JUnit report on stdout, and shows
// on stderr what a reader of the job's log wants to see.
package main

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

type testSuite struct {
	XMLName  xml.Name   `xml:"testsuite"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Skipped  int        `xml:"skipped,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Class   string    `xml:"classname,attr"`
	Name    string    `xml:"name,attr"`
	Time    string    `xml:"time,attr"`
	Failure *failure  `xml:"failure,omitempty"`
	Skipped *struct{} `xml:"skipped,omitempty"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func main() {
	log.SetFlags(0)
	suite := testSuite{Name: "gateway"}
	output := map[string]string{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			log.Fatalf("junit: not an event of `go test -json`: %v", err)
		}
		output[e.Test] += e.Output
		if e.Action == "output" {
			fmt.Fprint(os.Stderr, e.Output)
		}
		if e.Test == "" {
			continue
		}
		tested := testCase{Class: e.Package, Name: e.Test, Time: fmt.Sprintf("%.3f", e.Elapsed)}
		switch e.Action {
		case "pass":
		case "skip":
			suite.Skipped++
			tested.Skipped = &struct{}{}
		case "fail":
			suite.Failures++
			tested.Failure = &failure{Message: firstLine(output[e.Test]), Text: output[e.Test]}
		default:
			continue
		}
		suite.Tests++
		suite.Cases = append(suite.Cases, tested)
	}
	if err := lines.Err(); err != nil {
		log.Fatalf("junit: %v", err)
	}
	document, err := xml.MarshalIndent(suite, "", "  ")
	if err != nil {
		log.Fatalf("junit: %v", err)
	}
	fmt.Printf("%s%s\n", xml.Header, document)
	if suite.Tests == 0 {
		log.Fatal("junit: no test ran")
	}
}

// firstLine returns the first line that says something of its own.
func firstLine(text string) string {
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			return line
		}
	}
	return "failed"
}
