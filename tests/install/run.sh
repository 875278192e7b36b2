#!/usr/bin/env bash
# Installs a build into a temporary prefix and builds and runs the consumer project against it with find_package.
# tests/install/run.sh [BUILD_DIR], default build/release.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build/release}
[ -f "$build/CMakeCache.txt" ] || { echo "$build is no build folder; run: cmake --preset release && cmake --build --preset release" >&2; exit 1; }
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix/install" >/dev/null
cmake -S tests/install/consumer -B "$prefix/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix/install" >/dev/null
cmake --build "$prefix/build"
"$prefix/build/consumer"
[ -x "$prefix/install/bin/shardwise" ]
# Every header that is installed compiles with what is installed.
(cd "$prefix/install/include" && find shardwise -name '*.h' -printf '#include <%p>\n' | sort) >"$prefix/headers.cc"
${CXX:-g++} -std=c++20 -fsyntax-only -I"$prefix/install/include" -I"$prefix/install/include/shardwise" "$prefix/headers.cc"
echo "install test passed"
