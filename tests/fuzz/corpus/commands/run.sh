#!/usr/bin/env bash
# Node 1: 8 x H200-SXM. Further arguments are handed to every command.
set -euo pipefail

# engines only; data-parallel ranks 8 to 15
exec vllm serve deepseek-ai/DeepSeek-V3 \
    --tensor-parallel-size 1 \
    --data-parallel-size 16 \
    --enable-expert-parallel \
    --expert-placement-strategy linear \
    --all2all-backend allgather_reducescatter \
    --data-parallel-start-rank 8 \
    --data-parallel-size-local 8 \
    --data-parallel-address "${NODE0_ADDRESS:-node0}" \
    --data-parallel-rpc-port 13345 \
    --headless \
    --max-model-len 163840 \
    --gpu-memory-utilization 0.92 \
    --kv-cache-dtype auto \
    --enable-prefix-caching \
    --max-num-batched-tokens 8192 \
    --max-num-seqs 1024 "$@"
