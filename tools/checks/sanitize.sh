#!/usr/bin/env bash
# All unit and golden tests under address + undefined-behaviour sanitizers, the threaded ones under the thread sanitizer.
set -euo pipefail
cd "$(dirname "$0")/../.."
jobs=$(nproc)
cmake --preset asan >/dev/null
cmake --build --preset asan -j"$jobs"
(cd build/asan && ctest --output-on-failure -j"$jobs" -E '^compile')
cmake --preset tsan >/dev/null
cmake --build --preset tsan -j"$jobs" --target base_test search_test
(cd build/tsan && ctest --output-on-failure -R '^(base|search)$')
