#!/usr/bin/env bash
# All unit and golden tests under address + undefined-behaviour sanitizers, built by clang with warnings as errors: the
# build that `make fuzz` uses too. The threaded ones under the thread sanitizer.
set -euo pipefail
cd "$(dirname "$0")/../.."
jobs=$(nproc)
cmake --preset sanitize >/dev/null
cmake --build --preset sanitize -j"$jobs"
(cd build/sanitize && ctest --output-on-failure -j"$jobs" -E '^compile')
cmake --preset tsan >/dev/null
cmake --build --preset tsan -j"$jobs" --target base_test search_test
(cd build/tsan && ctest --output-on-failure -R '^(base|search)$')
