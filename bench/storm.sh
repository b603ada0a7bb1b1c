#!/usr/bin/env bash
# A thousand clients ask the same new question at once, over 100 connections, of a provider that takes 2 s: one call, a thousand answers,
# nobody waits longer than 2.1 s (99th percentile). Then again, and the connection of the first one is cut half-way: still one call. Exit
# code 1 when one of that is not so. Leaves nothing running.
#
#   bench/storm.sh
#   QUESTIONS=10000 CONNECTIONS=1000 bench/storm.sh
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in "") ;; *) sed -n '2,7p' "$0"; exit $([ "$1" = --help ] || [ "$1" = -h ]; echo $((2 * $?))) ;; esac
. bench/lab.sh
questions=${QUESTIONS:-1000} connections=${CONNECTIONS:-100} latency_ms=${LATENCY_MS:-2000}
failed=0

lab_provider --latency "${latency_ms}ms" --answer-bytes 1024
lab_daemon --set store.kind=none

check() { # WHAT FOUND WANTED OPERATOR
	if awk "BEGIN { exit !($2 $4 $3) }"; then
		echo "   ok: $1: $2"
	else
		echo "   NOT OK: $1: $2, wanted $4 $3"
		failed=1
	fi
}

storm() { # NAME ADDRESS ANSWERS OPTION...: at least so many answers
	local name=$1 address=$2 answers=$3 before after
	shift 3
	printf '\n== %s\n' "$name"
	before=$(lab_provider_calls)
	"$build/bench/promptcache-bench" --server "$address" --connections "$connections" --storm "$questions" --request-bytes 400 "$@" |
		tee "$work/report" || failed=1
	after=$(lab_provider_calls)
	check "calls of the provider" $((after - before)) 1 ==
	check "answers" "$(sed -n 's/^\([0-9]*\) answers.*/\1/p' "$work/report")" "$answers" '=='
	check "99 % waited at most, in ms" "$(sed -n 's/.*p99 \([0-9.]*\) ms.*/\1/p' "$work/report")" $((latency_ms + 100)) '<='
}

# Its questions are every connections-th one, the first of them included.
of_first=$(((questions + connections - 1) / connections))
for address in "$unix" "$tcp"; do
	storm "${address%%:*}: all at once" "$address" "$questions"
	storm "${address%%:*}: the same, streamed" "$address" "$questions" --stream
	storm "${address%%:*}: the first one's connection is cut half-way" "$address" $((questions - of_first)) --cut-after $((latency_ms / 2))
done
exit $failed
