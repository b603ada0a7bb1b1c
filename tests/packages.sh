#!/usr/bin/env bash
# Installs what is missing of the packages that building (`build`) or building and testing (`test`) needs. Debian 12 or newer; as root, or
# with sudo. Says what it does; does nothing when all are there.
set -euo pipefail

build="gcc g++ make cmake ninja-build pkg-config ca-certificates libuv1-dev libcurl4-openssl-dev libmsgpack-dev liblmdb-dev libssl-dev
       libjansson-dev libyaml-dev libhttp-parser-dev"
test="$build clang libclang-rt-14-dev clang-format clang-tidy libcmocka-dev python3 python3-msgpack procps"

case "${1:-}" in
build) wanted=$build ;;
test) wanted=$test ;;
*) echo "usage: $0 build|test" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "packages: this is not a Debian system; please install: $wanted" | tr -s ' \n' ' ' >&2
	echo >&2
	exit 0
fi
missing=
for p in $wanted; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "packages: installing$missing"
sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "packages: run as root (or install sudo): apt-get install$missing" >&2; exit 1; }
	sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086
if ! { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -20 "$log" >&2
	echo "packages: the installation failed" >&2
	exit 1
fi
