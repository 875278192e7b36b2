#!/usr/bin/env bash
# The same bytes at 1 and at 8 threads. Usage: determinism.sh BINARY
set -euo pipefail
for args in "Llama-3.1-70B --gpus 8xH100" "DeepSeek-V3 --gpus 2x8xH200 --goal throughput" "Qwen3-235B-A22B --gpus 2x8xH200 --goal cost --ttft 'p99<2s'"; do
  one=$(eval "$1 plan $args --threads 1 --json" | sha256sum)
  eight=$(eval "$1 plan $args --threads 8 --json" | sha256sum)
  [ "$one" = "$eight" ] || { echo "plan $args: 1 and 8 threads print different bytes" >&2; exit 1; }
done
echo "determinism: the same bytes at 1 and 8 threads"
