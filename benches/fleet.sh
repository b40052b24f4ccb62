#!/usr/bin/env bash
# What a fleet of policies costs, on a real control plane and the simulated cloud: benches/fleet.sh --help lists what can be
# chosen. See docs/performance.md. PROFILE=dev takes an unoptimised build: the counts are the same, memory and times are not.
set -euo pipefail
cd "$(dirname "$0")/.."
make --silent control-plane
exec cargo bench --quiet --locked --profile "${PROFILE:-release}" --bench fleet -- "$@"
