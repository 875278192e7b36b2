#!/usr/bin/env bash
# Fuzzes every reader for SECONDS each (default 30), one on each core, with the `sanitize` preset:
# tests/fuzz/run.sh [SECONDS [NAME...]].
# A crash leaves its input in build/sanitize/crashes; put a reduced copy into tests/fuzz/corpus/NAME once it is fixed.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-30}
shift || true
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for source in tests/fuzz/*_fuzz.cc; do names+=("$(basename "$source" _fuzz.cc)"); done
fi
[ -f build/sanitize/build.ninja ] || cmake --preset sanitize >/dev/null
cmake --build --preset sanitize --target "${names[@]/%/_fuzz}"
mkdir -p build/sanitize/crashes
fuzz() {  # NAME SECONDS: all its output at its end, so that those that run together do not mix theirs
  mkdir -p "build/sanitize/found/$1"
  local log="build/sanitize/found/$1.log" status=0
  "build/sanitize/tests/fuzz/$1_fuzz" "build/sanitize/found/$1" "tests/fuzz/corpus/$1" -max_total_time="$2" -timeout=10 \
    -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 -verbosity=0 -artifact_prefix=build/sanitize/crashes/"$1"- \
    ${FUZZ_DICT:+-dict="$FUZZ_DICT"} >"$log" 2>&1 || status=$?
  { echo "$1: $2 s"; cat "$log"; }
  return $status
}
export -f fuzz
printf '%s\n' "${names[@]}" | xargs -P"$(nproc)" -I{} bash -c 'fuzz {} '"$seconds"
