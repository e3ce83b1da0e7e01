#!/usr/bin/env bash
# Takes every figure of docs/evidence.md anew, one after the other, in some twenty minutes: benches/evidence.sh
#
# Each of these is a command of its own, and can be run alone. Nothing leaves the machine, and everything ends by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
    printf '\n== %s\n' "$*"
    "$@"
}
for what in route login refresh storm scale revocation; do
    run cargo run --release --quiet -p bench -- "$what"
done
run cargo bench --quiet -p shared-claims
run benches/memory.sh
run benches/kill.sh
