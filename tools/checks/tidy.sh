#!/usr/bin/env bash
# clang-tidy with the checks of .clang-tidy, all of them errors: tidy.sh [FILE...], default everything but tests, several
# sources of a layer at a time as they are compiled.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/checks/packages.sh tools/checks/lint-packages.txt
cmake --preset tidy -DSHARDWISE_TESTS=OFF >/dev/null
files=("$@")
[ $# -gt 0 ] || mapfile -t files < <(sed -n 's/^  "file": "\(.*\.\(cc\|cxx\)\)",\?$/\1/p' build/tidy/compile_commands.json | sort -u)
printf '%s\n' "${files[@]}" | xargs -P"$(nproc)" -n1 clang-tidy-14 -p build/tidy --quiet
echo "tidy: clean"
