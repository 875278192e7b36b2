#!/usr/bin/env bash
# Fuzzes every reader for SECONDS each (default 30) with the `fuzz` preset: tests/fuzz/run.sh [SECONDS [NAME...]].
# A crash leaves its input in build/fuzz/crashes; put a reduced copy into tests/fuzz/corpus/NAME once it is fixed.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-30}
shift || true
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for source in tests/fuzz/*_fuzz.cc; do names+=("$(basename "$source" _fuzz.cc)"); done
fi
[ -f build/fuzz/build.ninja ] || cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target shardwise "${names[@]/%/_fuzz}"  # shardwise: clang reads every line, warnings are errors
mkdir -p build/fuzz/crashes
for name in "${names[@]}"; do
  mkdir -p "build/fuzz/found/$name"
  echo "$name: $seconds s"
  "build/fuzz/tests/fuzz/${name}_fuzz" "build/fuzz/found/$name" "tests/fuzz/corpus/$name" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 -verbosity=0 -artifact_prefix=build/fuzz/crashes/"$name"- ${FUZZ_DICT:+-dict="$FUZZ_DICT"}
done
