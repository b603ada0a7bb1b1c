#!/usr/bin/env bash
# All tests: installs what is missing, builds twice (gcc optimised, clang with AddressSanitizer and UndefinedBehaviorSanitizer), runs unit
# tests, scenarios in virtual time, integration over the real daemon, lint, and each fuzz target for a few seconds. Leaves nothing running.
#
#   tests/run.sh                    everything
#   tests/run.sh quick              gcc only, without lint and fuzzing
#   FUZZ_SECONDS=600 tests/run.sh   longer fuzzing
set -uo pipefail
cd "$(dirname "$0")/.."
mode=${1:-all}
case "$mode" in all | quick) ;; -h | --help) sed -n '2,8p' "$0"; exit 0 ;; *) echo "run.sh: unknown mode $mode; see --help" >&2; exit 2 ;; esac
FUZZ_SECONDS=${FUZZ_SECONDS:-8}
BUILD_ROOT=${BUILD_ROOT:-$PWD/build}
jobs=$(nproc)
passed=0 failed=0
started=$SECONDS

step() { # step NAME COMMAND...: runs it, says how long it took, counts it
	local name=$1 from=$SECONDS log rc
	shift
	log=$(mktemp)
	printf '== %s\n' "$name"
	"$@" >"$log" 2>&1
	rc=$?
	if [ $rc = 0 ]; then
		passed=$((passed + 1))
		grep ' tests passed' "$log" || tail -n 1 "$log" # ctest ends with other lines
	else
		failed=$((failed + 1))
		tail -n 80 "$log"
		printf '** %s FAILED (exit %d)\n' "$name" $rc
	fi
	printf '   %s: %d s\n' "$name" $((SECONDS - from))
	rm -f "$log"
	return $rc
}

finish() {
	printf 'all steps took %d s\n' $((SECONDS - started))
	printf '%d passed, %d failed\n' $passed $failed
	[ $failed = 0 ]
	exit $?
}

compile() { # compile DIR CMAKE-ARGUMENTS...
	local dir=$1
	shift
	cmake -S . -B "$dir" -G Ninja -DPROMPTCACHE_WERROR=ON "$@" && cmake --build "$dir" -j "$jobs"
}

fuzz() { # fuzz TARGET: a few seconds from the committed corpus; what it finds is kept for a look
	local noun=${1##*/fuzz_} work rc
	work=$(mktemp -d)
	"$1" -max_total_time="$FUZZ_SECONDS" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -artifact_prefix="$BUILD_ROOT/" \
		"$work" "tests/fuzz/corpus/$noun"
	rc=$?
	rm -rf "$work"
	return $rc
}

lint() {
	git ls-files 'proto/*.c' 'server/*.c' 'client/*.c' 'bench/*.c' | xargs -P "$jobs" -n4 clang-tidy -p "$BUILD_ROOT/sanitized" --quiet 2>&1 |
		sed '/^[0-9]* warnings\{0,1\} generated\.$/d' # of system headers, and never shown
}

step packages tests/packages.sh test || finish
step layers /usr/bin/python3 tests/layers.py
step "format" bash -c 'git ls-files "*.c" "*.h" | xargs clang-format --dry-run -Werror'

if step "build gcc" compile "$BUILD_ROOT/gcc"; then
	step "tests gcc" ctest --test-dir "$BUILD_ROOT/gcc" --output-on-failure -j "$jobs"
fi
[ "$mode" = all ] || finish
export CC=clang
if step "build sanitized" compile "$BUILD_ROOT/sanitized" -DPROMPTCACHE_SANITIZE=ON -DPROMPTCACHE_FUZZ=ON -DCMAKE_BUILD_TYPE=Debug; then
	export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
	step "lint" lint
	step "tests sanitized" ctest --test-dir "$BUILD_ROOT/sanitized" --output-on-failure -j "$jobs" -LE unsanitized
	for target in "$BUILD_ROOT"/sanitized/tests/fuzz_*; do
		[ -x "$target" ] && [ -f "$target" ] && step "fuzz ${target##*/fuzz_}" fuzz "$target"
	done
fi
finish
