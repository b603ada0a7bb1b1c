#!/usr/bin/env bash
# A first look at promptcached: installs what is missing, builds, starts a simulated LLM provider and the daemon, asks a hundred support-desk
# questions (repeats, the same one by twenty clients at once, a streamed one, kill -9 and a restart in the middle), and prints what came from
# where. Leaves nothing running and nothing outside the build folder. With OPENAI_API_KEY or OPENAI_BASE_URL set it asks the real provider.
#
#   bench/demo.sh             the demo
#   KEEP=1 bench/demo.sh      leaves the work folder for a look
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in "") ;; *) sed -n '2,7p' "$0"; exit $([ "$1" = --help ] || [ "$1" = -h ]; echo $((2 * $?))) ;; esac

build=build/demo
work=$(mktemp -d)
daemon=
provider=
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
finish() {
	local rc=$?
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	[ -z "$provider" ] || kill "$provider" 2>/dev/null || true
	wait 2>/dev/null || true
	if [ $rc != 0 ] && [ $rc != 130 ] && [ -s "$work/daemon.log" ]; then
		echo "demo: the daemon's last words:" >&2
		tail -5 "$work/daemon.log" >&2
	fi
	if [ "${KEEP:-0}" = 1 ]; then echo "demo: kept $work"; else rm -rf "$work"; fi
	exit $rc
}
trap finish EXIT
trap 'exit 130' INT TERM

say "1. Packages and build"
tests/packages.sh build
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DPROMPTCACHE_TESTS=OFF >"$work/build.log" 2>&1 &&
	cmake --build $build >>"$work/build.log" 2>&1 || { tail -20 "$work/build.log" >&2; exit 1; }
echo "built $build/server/promptcached, $build/client/cli/promptcache"
promptcached=$build/server/promptcached
export PROMPTCACHE_SERVER=unix:$work/sock XDG_STATE_HOME=$work/state
promptcache() { "$build/client/cli/promptcache" "$@"; }

wait_for() { # wait_for FILE PATTERN
	for _ in $(seq 100); do
		grep -q "$2" "$1" 2>/dev/null && return 0
		sleep 0.05
	done
	echo "demo: no \"$2\" in $1 after 5 s" >&2
	return 1
}

start_daemon() {
	: >"$work/ready.log"
	$promptcached --set listen="$PROMPTCACHE_SERVER" 2>"$work/ready.log" &
	daemon=$!
	wait_for "$work/ready.log" server.ready
	cat "$work/ready.log" >>"$work/daemon.log"
}

questions=100
if [ -n "${OPENAI_API_KEY:-}${OPENAI_BASE_URL:-}" ]; then
	say "2. The provider is the real one at ${OPENAI_BASE_URL:-https://api.openai.com/v1}"
	questions=40
else
	say "2. A simulated provider: first byte after about 400 ms, then a piece every 10 ms"
	"$build/bench/promptcache-mockai" --listen 127.0.0.1:0 --latency lognormal:median=400ms,sigma=0.4 --pace 10ms --seed 7 \
		>"$work/provider.out" 2>"$work/provider.log" &
	provider=$!
	wait_for "$work/provider.out" "listening on"
	OPENAI_BASE_URL=$(sed -n 's/^listening on //p' "$work/provider.out")
	export OPENAI_BASE_URL OPENAI_API_KEY=demo
	echo "$OPENAI_BASE_URL"
fi
start_daemon
echo "promptcached runs on $PROMPTCACHE_SERVER"

field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p"; }
ask() { # ask PHASE QUESTION: one line in the table: phase, source, ms, tokens saved, dollars saved
	local json
	json=$(promptcache query --json --system "You are the support desk of a project management tool. Answer briefly." "$2") || return 1
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$(field source <<<"$json")" "$(field latency_ms <<<"$json")" \
		"$(field saved <<<"$json")" "$(field cost_saved_usd <<<"$json")" "$2" >>"$work/answers.tsv"
}

say "3. $questions questions, one after the other, as a support desk sees them"
awk -F'\t' 'BEGIN { srand(7) } { for (i = 0; i < $1; i++) printf "%f\t%s\n", rand(), $2 }' bench/demo_questions.tsv | sort -n | cut -f2 |
	head -n $questions >"$work/stream"
asked=0
while IFS= read -r question; do
	ask "one by one" "$question"
	asked=$((asked + 1))
	[ $((asked % 20)) != 0 ] || echo "   $asked asked, $(cut -f2 "$work/answers.tsv" | grep -c exact || true) of them answered from the cache"
done <"$work/stream"

say "4. The same new question from 20 clients at once"
pids=()
for _ in $(seq 20); do
	ask "20 at once" "How do I archive a finished project?" &
	pids+=($!)
done
wait "${pids[@]}"
awk -F'\t' '$1 == "20 at once" { n[$2]++ } END { for (s in n) printf "   %s: %d\n", s, n[s] }' "$work/answers.tsv"

say "5. A streamed answer, as it comes"
promptcache query --stream "Write me a friendly welcome message of two sentences for a new team member."

say "6. kill -9, restart, and the ten most frequent questions again"
sleep 0.2 # one commit interval: what was answered before it is on disk
{ kill -9 "$daemon" && wait "$daemon"; } 2>/dev/null || true # in braces: bash's own "Killed" is not for the reader
start_daemon
while IFS= read -r question; do
	ask "after kill -9" "$question"
done < <(cut -f2 bench/demo_questions.tsv | head -10 | grep -Fx -f - "$work/stream" | sort -u)

say "What came from where"
awk -F'\t' '
	{ key = $1 "\t" $2; if (!(key in n)) order[++kinds] = key; n[key]++; ms[key] += $3; if ($3 > max[key]) max[key] = $3; tokens[key] += $4; usd[key] += $5; all++; if ($2 != "llm") free++
	  all_tokens += $4; all_usd += $5 }
	END {
		printf "%-14s %-8s %8s %12s %12s %14s %12s\n", "when", "source", "answers", "mean ms", "slowest ms", "tokens saved", "USD saved"
		for (i = 1; i <= kinds; i++) {
			key = order[i]; split(key, part, "\t")
			printf "%-14s %-8s %8d %12.2f %12.2f %14d %12.6f\n", part[1], part[2], n[key], ms[key] / n[key], max[key], tokens[key], usd[key]
		}
		printf "%-14s %-8s %8d %12s %12s %14d %12.6f\n", "all", "", all, "", "", all_tokens, all_usd
		printf "\n%d of %d answers (%.0f %%) cost no LLM call of their own.\n", free, all, 100 * free / all
	}' "$work/answers.tsv"

kill "$daemon"
wait "$daemon" 2>/dev/null || { echo "demo: the daemon did not shut down cleanly" >&2; exit 1; }
daemon=
say "Next"
cat <<EOF
   OPENAI_API_KEY=sk-... $promptcached &
        the daemon, on your default socket and 127.0.0.1:7411
   $build/client/cli/promptcache query "What is a TTL?"
        ask it; twice
   $build/client/cli/promptcache stats
        what it counted
   README.md
        the C client in ten lines, configuration, operations
EOF
