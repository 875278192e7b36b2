#!/usr/bin/env bash
# Wall time of whole cold commands, median of 9. Usage: cold.sh BINARY
set -euo pipefail
for args in "Llama-3.1-8B --gpus 8xH100" "Qwen3-235B-A22B --gpus 8xH200" "DeepSeek-V3 --gpus 128x8xH100"; do
  times=()
  for _ in 1 2 3 4 5 6 7 8 9; do
    start=$(date +%s%N)
    # shellcheck disable=SC2086
    "$1" plan $args >/dev/null 2>&1
    times+=($((($(date +%s%N) - start) / 1000)))
  done
  median=$(printf '%s\n' "${times[@]}" | sort -n | sed -n 5p)
  printf 'cold  plan %-34s %8.1f ms\n' "$args" "$(awk "BEGIN{print $median/1000}")"
done
