#!/usr/bin/env bash
# the head of two nodes
HEAD=10.0.0.1
vllm serve deepseek-ai/DeepSeek-R1 \
  --data-parallel-size 16 --data-parallel-size-local 8 \
  --data-parallel-start-rank 0 \
  --data-parallel-address $HEAD --data-parallel-rpc-port 13345 \
  --enable-expert-parallel
