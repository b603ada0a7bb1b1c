#!/usr/bin/env bash
# What an exact hit costs the daemon: CPU time of a request with a prompt of 4 KB and an answer of 1 KB, 50 connections with 16 requests in
# flight, beside a libuv echo of the same bytes that computes one SHA-256 of the prompt, in the same run and in turn, over a Unix socket and
# over TCP. The target is 1.5 times that floor; exit code 1 when it is missed. Leaves nothing running.
#
#   bench/exact_hit.sh                                  without a durable store
#   STORE=lmdb ROUNDS=20 SECONDS_EACH=2 bench/exact_hit.sh
#   KEYS=1 bench/exact_hit.sh                           always the same question (1,000 different ones otherwise)
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in "") ;; *) sed -n '2,8p' "$0"; exit $([ "$1" = --help ] || [ "$1" = -h ]; echo $((2 * $?))) ;; esac
. bench/lab.sh
target=1.5
missed=0

lab_provider --answer-bytes 1024
lab_daemon --set "store.kind=${STORE:-none}" --set "store.path=$work/store"

measure() { # NAME ADDRESS FLOOR
	printf '\n== %s, store %s\n' "$1" "${STORE:-none}"
	"$build/bench/promptcache-bench" --server "$2" --floor "$3" --server-pid "$daemon" --connections 50 --depth 16 --request-bytes 4096 \
		--answer-bytes 1024 --keys "${KEYS:-1000}" --prime query --warmup 0.5 --rounds "${ROUNDS:-10}" --seconds "${SECONDS_EACH:-0.5}" |
		tee "$work/report"
	ratio=$(sed -n 's/^server \/ (echo + SHA-256 in it).*: *\([0-9.]*\).*/\1/p' "$work/report")
	if awk "BEGIN { exit !($ratio > 0 && $ratio <= $target) }"; then
		echo "target: at most $target times the floor: met with $ratio"
	else
		echo "target: at most $target times the floor: MISSED with $ratio"
		missed=1
	fi
}

measure "Unix socket" "$unix" unix
measure "TCP" "$tcp" tcp
exit $missed
