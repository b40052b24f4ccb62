#!/usr/bin/env bash
# What a Kubernetes API server takes as a `format: date-time` of a custom resource, and what its CEL rules can read of that.
#
# k8s.io/kube-openapi v0.0.0-20260317180543-43fb72c5454a, package pkg/validation/strfmt: what kube-apiserver 1.36.3 uses. The schema is
# held by `Validates`; a CEL rule's value comes from `ParseDateTime` (k8s.io/apiserver pkg/cel/common/valuesunstructured.go).
#
# The two do not agree, and neither is RFC 3339 or Go's time.RFC3339:
# - a comma is taken as the separator of a fraction, with any number of digits, of which milliseconds are shown;
# - offsets are read up to +24:60, which comes back as +25:00; beyond that a text is still valid, and not read any more;
# - a small `t` or `z` is valid, as in RFC 3339, and cannot be read.
# So, by that source, the same text can be stored by a kind without CEL rules and is an error, not a violation, of one that has a rule on the field; a rule
# that is added later makes such stored objects fail; and a client that reads RFC 3339 meets texts that it cannot parse.
#
# Prints a line for each text, and fails where one differs. Needs Go 1.25 or later.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
cat >go.mod <<'MOD'
module finding

go 1.25

require k8s.io/kube-openapi v0.0.0-20260317180543-43fb72c5454a
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"k8s.io/kube-openapi/pkg/validation/strfmt"
)

func main() {
	wrong := 0
	for _, row := range []struct {
		text  string
		valid bool
		read  string
	}{
		{"2026-11-01T00:00:00Z", true, "2026-11-01T00:00:00.000Z"},
		{"2026-11-01T00:00:00.5+08:00", true, "2026-11-01T00:00:00.500+08:00"},
		{"2026-11-01T00:00:00,5Z", true, "2026-11-01T00:00:00.500Z"},
		{"2026-11-01T00:00:00.123456789012345678Z", true, "2026-11-01T00:00:00.123Z"},
		{"2026-11-01T00:00:00+24:60", true, "2026-11-01T00:00:00.000+25:00"},
		{"2026-11-01T00:00:00+24:61", true, ""},
		{"2026-11-01t00:00:00Z", true, ""},
		{"2026-11-01T00:00:00z", true, ""},
		{"2026-12-31T23:59:60Z", false, ""},
	} {
		valid, read := strfmt.Default.Validates("date-time", row.text), ""
		if at, err := strfmt.ParseDateTime(row.text); err == nil {
			read = at.String()
		}
		fmt.Printf("%-40s valid: %-5t read: %s\n", row.text, valid, read)
		if valid != row.valid || read != row.read {
			wrong++
		}
	}
	if wrong > 0 {
		fmt.Printf("%d differ from what was seen\n", wrong)
		os.Exit(1)
	}
}
GO
go mod tidy >/dev/null 2>&1
go run .
