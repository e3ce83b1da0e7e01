#!/usr/bin/env bash
# Kills the stack (SIGKILL) again and again while users register, log in, refresh and log out, starts it on the same files, and at the
# end asks for everything that was ever answered: benches/kill.sh [rounds], 200 unless told.
#
# It is the end-to-end test of the same, which CI runs with 5 rounds: nothing lost, or it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
export TOKENPAIR_KILL_ROUNDS=${1:-200}
cargo test --release --quiet -p local-stack --test e2e -- --nocapture --exact crash::kill_at_any_moment_loses_nothing_that_was_answered
