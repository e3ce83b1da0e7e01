#!/usr/bin/env bash
# What the two services hold in memory while they have nothing to do, and at the most in a storm of logins: benches/memory.sh
#
# Each runs in a process of its own, on a free port, with databases and a secret in a folder that is removed at the end.
# The figures are the kernel's: VmRSS counts the program's pages in the page cache too, RssAnon only what is the
# process's own. They are taken when both are ready, and after each of two logins and the time in which the hashing
# threads give their memory back: twice, because an allocator may treat the second block of a size otherwise. In a storm
# as many log in at once as is said, each on a connection of its own; VmHWM is the most that there ever was until then.
set -euo pipefail
cd "$(dirname "$0")/.."

user=cosmo password=space-corgi
# A hashing thread gives its memory back after two seconds.
idle=5

cargo build --release --quiet -p auth-service -p resource-service
programs=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
started=()

clean_up() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT

give_up() {
    cat "$folder"/*.log >&2 2>/dev/null || true
    echo "memory: $1" >&2
    exit 1
}

# Runs a command until it succeeds, for ten seconds at the most.
until_it_works() {
    for _ in $(seq 200); do
        if "$@"; then return; fi
        sleep 0.05
    done
    give_up "waited in vain for: $*"
}

# The address that a service says it listens on; port 0 lets the kernel choose.
address() { sed -n '/ listens"/s/.*"address":"\([^"]*\)".*/\1/p' "$folder/$1.log" | grep .; }
ready() { curl --silent --fail --output "$folder/ready" "http://$1/health/ready"; }

start() {
    "$programs/$1" 2>"$folder/$1.log" &
    started+=($!)
    until_it_works address "$1" >"$folder/$1.address"
    until_it_works ready "$(cat "$folder/$1.address")"
}

log_in_and_look() {
    local pair token
    pair=$(curl --silent --fail "http://$auth/login" -H 'Content-Type: application/json' \
        -d "{\"username\": \"$user\", \"password\": \"$password\"}") || give_up "the login failed"
    token=$(sed 's/.*"access_token":"\([^"]*\)".*/\1/' <<<"$pair")
    curl --silent --fail --output "$folder/profile" "http://$resource/profile" -H "Authorization: Bearer $token" ||
        give_up "the profile was refused"
}

in_kib() { sed -n "s/^$2:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$1/status"; }

# One line for each service and one for both, in MiB.
report() {
    local name pid rss anon rss_sum=0 anon_sum=0
    line() { awk -v n="$1" -v r="$2" -v a="$3" 'BEGIN { printf "  %-18s %8.1f %8.1f\n", n, r / 1024, a / 1024 }'; }
    printf '%-20s %8s %8s\n' "$1" VmRSS RssAnon
    for name in auth-service resource-service; do
        pid=${started[$([ $name = auth-service ] && echo 0 || echo 1)]}
        rss=$(in_kib "$pid" VmRSS) anon=$(in_kib "$pid" RssAnon)
        line $name "$rss" "$anon"
        rss_sum=$((rss_sum + rss)) anon_sum=$((anon_sum + anon))
    done
    line both $rss_sum $anon_sum
}

"$programs/auth-service" secret generate >"$folder/secret"
unset JWT_SECRET_KEY
export JWT_SECRET_KEY_FILE=$folder/secret LOG_FORMAT=json RUST_LOG=info
# They are all one user here, of whose logins no more than a hundred are looked at at the same time.
export AUTH_LOGIN_RATE_PER_USER=off
export AUTH_LISTEN=127.0.0.1:0 AUTH_DATABASE_URL=sqlite://$folder/auth.db
export RESOURCE_LISTEN=127.0.0.1:0 RESOURCE_DATABASE_URL=sqlite://$folder/resource.db
echo "$password" | "$programs/auth-service" user add "$user" >"$folder/user" 2>&1 || give_up "$(cat "$folder/user")"
start auth-service
start resource-service
auth=$(cat "$folder/auth-service.address") resource=$(cat "$folder/resource-service.address")

echo "MiB; $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1); benches/memory.sh"
report "ready"
log_in_and_look
sleep "$idle"
report "${idle} s after a login"
log_in_and_look
sleep "$idle"
report "${idle} s after another"

# So many at once. One curl opens no more than 300 connections.
storm() {
    local left=$1 some curls=()
    while [ "$left" -gt 0 ]; do
        some=$((left < 256 ? left : 256)) left=$((left - 256))
        curl --silent --parallel --parallel-immediate --parallel-max 256 --output "$folder/pairs-$left" \
            --write-out '%{http_code}\n' "http://$auth/login?[1-$some]" -H 'Content-Type: application/json' \
            -d "{\"username\": \"$user\", \"password\": \"$password\"}" >"$folder/codes-$left" 2>"$folder/meter" &
        curls+=($!)
    done
    wait "${curls[@]}"
    printf '%-20s %8.1f          %s\n' "$1 log in at once" "$(awk "BEGIN { print $(in_kib "${started[0]}" VmHWM) / 1024 }")" \
        "$(sort "$folder"/codes-* | uniq -c | awk '{ printf "%s%s: %s", sep, $2, $1; sep = ", " }')"
    rm "$folder"/codes-*
}

printf '\n%-20s %8s          %s\n' "auth-service" VmHWM answers
storm 64
storm 512
