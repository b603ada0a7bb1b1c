# Sourced by the measurements of this folder: a simulated provider and a daemon of their own in a temporary folder, ended and removed with
# the script. PROMPTCACHE_BUILD names the build folder (build/demo, as bench/demo.sh makes it).
build=${PROMPTCACHE_BUILD:-build/demo}
work=$(mktemp -d)
daemon=
provider=
provider_address=
export XDG_STATE_HOME=$work/state

for program in bench/promptcache-bench bench/promptcache-mockai server/promptcached; do
	[ -x "$build/$program" ] && continue
	echo "$0: $build/$program is missing. Build it: cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release && cmake --build $build" >&2
	rm -rf "$work"
	exit 2
done

lab_end() {
	local rc=$?
	if [ -n "$daemon" ] && ! kill "$daemon" 2>/dev/null; then
		echo "$0: the daemon has ended by itself; its last words:" >&2
		tail -5 "$work/daemon.log" >&2
		rc=1
	fi
	[ -z "$provider" ] || kill "$provider" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$work"
	exit $rc
}
trap lab_end EXIT
trap 'exit 130' INT TERM

lab_wait_for() { # FILE PATTERN
	for _ in $(seq 200); do
		grep -q "$2" "$1" 2>/dev/null && return 0
		sleep 0.05
	done
	echo "$0: no \"$2\" in $1 after 10 s" >&2
	return 1
}

lab_provider() { # OPTION...: of promptcache-mockai
	"$build/bench/promptcache-mockai" --listen 127.0.0.1:0 "$@" >"$work/provider.out" 2>"$work/provider.log" &
	provider=$!
	lab_wait_for "$work/provider.out" "listening on"
	OPENAI_BASE_URL=$(sed -n 's/^listening on //p' "$work/provider.out")
	export OPENAI_BASE_URL OPENAI_API_KEY=bench
	provider_address=${OPENAI_BASE_URL#http://}
	provider_address=${provider_address%/v1}
}

lab_daemon() { # OPTION...: of promptcached; $unix and $tcp are its addresses
	unix=unix:$work/sock
	"$build/server/promptcached" --set "listen=$unix,tcp://127.0.0.1:0" "$@" 2>"$work/daemon.log" &
	daemon=$!
	lab_wait_for "$work/daemon.log" "server.ready listen=tcp"
	tcp=$(sed -n 's/.*server\.ready listen=\(tcp:[^ ]*\).*/\1/p' "$work/daemon.log")
}

lab_provider_calls() { # how many chat completions the provider was asked for
	exec 3<>"/dev/tcp/${provider_address%:*}/${provider_address##*:}"
	printf 'GET /stats?brief=1 HTTP/1.0\r\n\r\n' >&3
	sed -n 's/.*"chat": *\([0-9]*\).*/\1/p' <&3
	exec 3<&-
}
