#include "memory/all2all_buffers.h"

#include <algorithm>

#include "base/units.h"

namespace shardwise {
namespace {

constexpr std::int64_t kBuffer = std::int64_t{1024} << 20;  ///< VLLM_DEEPEP_BUFFER_SIZE_MB

const MoeFfn* first_experts(const Model& model) {
  for (const auto& layer : model.layers)
    if (const auto* moe = std::get_if<MoeFfn>(&layer.ffn)) return moe;
  return nullptr;
}

std::int64_t low_latency_bytes(std::int64_t tokens, std::int64_t hidden, std::int64_t experts) {
  constexpr std::int64_t kHeader = 16, kGroup = 128, kScale = 4, kElement = 2;
  const std::int64_t dispatch = kHeader + std::max(hidden * kElement, hidden + hidden / kGroup * kScale),
                     combine = hidden / kGroup * kScale + hidden * kElement;
  const auto send = std::max(tokens * dispatch, experts * tokens * combine);
  const auto receive = experts * tokens * std::max(dispatch, combine);
  return 2 * (send + receive);
}

/// NVSHMEM's heap and queue pairs, as deep_ep/buffer.py sets them up: the heap grows in steps of 512 MiB and keeps 256
/// MiB for itself; a queue pair holds 1,024 requests and their completions, 64 bytes each, in GPU memory.
std::int64_t nvshmem_bytes(std::int64_t buffer, std::int64_t queue_pairs) {
  constexpr std::int64_t kStep = std::int64_t{512} << 20, kOwn = std::int64_t{256} << 20, kDepth = 1024, kEntry = 64;
  return round_up(buffer + kOwn, kStep) + queue_pairs * kDepth * 2 * kEntry;
}

}  // namespace

Bytes all2all_buffers(const Model& model, const EngineConfig& engine, int scale_up_domain) {
  const auto& p = engine.parallel;
  const MoeFfn* moe = first_experts(model);
  if (!moe || !p.enable_expert_parallel || p.data_parallel_size <= 1) return Bytes(0);
  const std::int64_t ranks = p.expert_parallel_size();
  if (p.all2all_backend == "deepep_high_throughput") {
    constexpr std::int64_t kQueuePairs = 10;  // half of the 20 SMs
    const auto nodes = ceil_div(ranks, std::int64_t{std::max(scale_up_domain, 1)});
    return Bytes(nodes > 1 ? kBuffer + nvshmem_bytes(kBuffer, kQueuePairs * nodes) : kBuffer);
  }
  if (p.all2all_backend != "deepep_low_latency") return Bytes(0);
  // Before 0.20 every rank worked in chunks of VLLM_MOE_DP_CHUNK_SIZE.
  const std::int64_t tokens = engine.vllm_version < VllmVersion{0, 20, 0} ? 256 : engine.max_num_batched_tokens;
  const std::int64_t experts = moe->num_experts + p.num_redundant_experts;
  return Bytes(kBuffer + nvshmem_bytes(low_latency_bytes(tokens, moe->latent_size.value_or(model.hidden_size), experts),
                                       ceil_div(experts, ranks) * ranks));
}

}  // namespace shardwise
