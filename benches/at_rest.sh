#!/usr/bin/env bash
# Counts what policies cost at rest: benches/at_rest.sh [POLICIES [RESYNCS]], by default 200 and 10.
# PROFILE=dev takes the unoptimised build, which is there after the tests: the counts are the same, the memory is not.
set -euo pipefail
cd "$(dirname "$0")/.."
make --silent control-plane
exec cargo bench --quiet --locked --profile "${PROFILE:-release}" --bench at_rest -- "$@"
