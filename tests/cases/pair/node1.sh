#!/usr/bin/env bash
HEAD=10.0.0.1
vllm serve deepseek-ai/DeepSeek-R1 --headless \
  --data-parallel-size 16 --data-parallel-size-local 8 \
  --data-parallel-start-rank 8 \
  --data-parallel-address $HEAD --data-parallel-rpc-port 13346 \
  --enable-expert-parallel
