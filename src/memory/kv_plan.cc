#include "memory/kv_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace shardwise {

namespace {

/// vLLM's format_gib: round(bytes / 2^30, 2) as Python prints it ("46.5", "6.0", "0.06").
std::string format_gib(std::int64_t bytes) {
  std::string text = fmt::format("{:.2f}", static_cast<double>(bytes) / 1073741824.0);
  if (text.back() == '0') text.pop_back();
  return text;
}

std::string with_commas(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

int group_block_size(const KvSpec& spec, int dcp) { return spec.block_size * (spec.dcp_sharded ? dcp : 1); }

/// Consecutive TP ranks that hold the same KV for this layer (_layer_tp_replicas).
int tp_replicas(const KvSpec& spec, int tp, int dcp) {
  if (!spec.is_attention() || !spec.max_tp_shards || (spec.dcp_sharded && dcp > 1)) return 1;
  return std::max(1, tp / *spec.max_tp_shards);
}

constexpr VllmVersion kNullBlockReserved{0, 30, 0};  // admission keeps one block back
constexpr VllmVersion kBlocksPerGroup{0, 27, 1};     // concurrency counts whole blocks of every group
constexpr VllmVersion kTokensFromConcurrency{0, 20, 1};
constexpr VllmVersion kOneLogLine{0, 28, 0};

}  // namespace

std::int64_t KvGrouping::max_bytes(const KvSpec& spec, std::int64_t length) const {
  const auto& v = options_.version;
  switch (spec.type) {
    case KvSpecType::full_attention:
    case KvSpecType::mla: {
      std::int64_t shards = spec.dcp_sharded ? options_.decode_context_parallel_size : 1;
      if (v >= VllmVersion{0, 12, 0} && v < VllmVersion{0, 26, 0}) shards *= options_.prefill_context_parallel_size;
      return ceil_div(ceil_div(length, shards), spec.block_size) * spec.page_size();
    }
    case KvSpecType::sliding_window:
    case KvSpecType::sliding_window_mla: {
      const auto kept =
          std::min(*spec.sliding_window - 1 + spec.extra_retained_tokens + options_.max_in_flight_tokens, length);
      return (ceil_div(kept, spec.block_size) + 1) * spec.page_size();
    }
    case KvSpecType::chunked_local:
      return ceil_div(std::min(*spec.attention_chunk_size + options_.max_in_flight_tokens, length), spec.block_size) *
             spec.page_size();
    case KvSpecType::mamba:
      return spec.page_size() * (spec.mamba_align ? 2 + spec.num_speculative_blocks + spec.num_prefill_checkpoint_blocks
                                                  : 1 + spec.num_speculative_blocks);
    case KvSpecType::circular_buffer:
      return spec.page_size();
    case KvSpecType::cross:
      return ceil_div(options_.max_encoder_tokens, spec.block_size) * spec.page_size();
  }
  return 0;
}

std::int64_t KvGrouping::blocks_per_request(std::int64_t length, int stage) const {
  std::int64_t blocks = 0;
  for (const auto& g : groups_) {
    if (!g.uniform_type) {
      blocks += ceil_div(max_bytes(spec(g.spec), length), spec(g.spec).page_size());
      continue;
    }
    const auto& here = g.per_stage[static_cast<std::size_t>(stage)];
    std::int64_t most = 0;
    int last = -1;
    for (const int l : here.empty() ? g.layers : here) {
      if (layer_spec(l) == last) continue;
      last = layer_spec(l);
      most = std::max(most, ceil_div(max_bytes(spec(last), length), spec(last).page_size()));
    }
    blocks += most;
  }
  return blocks;
}

std::int64_t KvGrouping::longest_request(std::int64_t memory, std::int64_t limit, int stage) const {
  const auto fits = [&](std::int64_t length) {
    return bytes_per_block(stage) * blocks_per_request(length, stage) <= memory;
  };
  if (limit < 1 || !fits(1)) return 0;
  std::int64_t lo = 1, hi = limit;
  while (lo < hi) {
    const auto mid = lo + (hi - lo + 1) / 2;
    if (fits(mid))
      lo = mid;
    else
      hi = mid - 1;
  }
  return lo;
}

KvPlanResult KvGrouping::plan(const std::vector<std::int64_t>& available_memory) const {
  if (failure_) return *failure_;
  const int stages = std::min(stages_, static_cast<int>(available_memory.size()));
  KvPlan plan;
  plan.max_model_len = options_.max_model_len;
  plan.block_size = plan.scheduler_block_size = plan.hash_block_size = options_.block_size;
  plan.stages.resize(static_cast<std::size_t>(stages));
  if (groups_.empty()) {  // attention-free: the pool still has its null block
    plan.num_blocks = 1;
    return plan;
  }
  std::vector<std::int64_t> memory(available_memory.begin(), available_memory.end());
  const auto override_blocks = options_.num_gpu_blocks_override;
  for (int s = 0; s < stages; ++s) {
    auto& bytes = memory[static_cast<std::size_t>(s)];
    if (override_blocks) {
      if (bytes_per_block(s) == 0)
        return KvRefusal{"ZeroDivisionError", "integer division or modulo by zero", std::nullopt, 0, s};
      bytes = *override_blocks * bytes_per_block(s);
    }
  }
  const bool sliding_dcp = options_.decode_context_parallel_size > 1 && [&] {
    for (const auto& g : groups_)
      if (spec(g.spec).is_sliding() && spec(g.spec).dcp_sharded) return true;
    return false;
  }();
  const KvRefusal dcp_refusal{"AssertionError", "DCP not support sliding window.", std::nullopt};
  const auto checked = [&](int s) {
    return memory[static_cast<std::size_t>(s)] - (options_.version >= kNullBlockReserved ? bytes_per_block(s) : 0);
  };
  if (options_.auto_fit_max_model_len) {
    if (sliding_dcp) return dcp_refusal;
    for (int s = 0; s < stages; ++s)
      plan.max_model_len = std::min(plan.max_model_len, longest_request(checked(s), options_.max_model_len, s));
    if (plan.max_model_len <= 0)
      return KvRefusal{"ValueError",
                       "Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token.",
                       std::nullopt};
  }
  for (int s = 0; s < stages; ++s) {
    const auto available = checked(s);
    if (available <= 0) return KvRefusal{"ValueError", "No available memory for the cache blocks.", std::nullopt, 0, s};
    if (sliding_dcp) return dcp_refusal;
    const auto needed = bytes_per_block(s) * blocks_per_request(plan.max_model_len, s);
    if (needed <= available) continue;
    const auto longest = longest_request(available, plan.max_model_len, s);
    std::string message = fmt::format(
        "To serve at least one request with the {} max seq len ({}), ({} GiB KV cache is needed, which is larger than "
        "the "
        "available KV cache memory ({} GiB).",
        options_.version < VllmVersion{0, 24, 0} ? "models's" : "model's", plan.max_model_len, format_gib(needed),
        format_gib(available));
    if (longest > 0)
      message += fmt::format(" Based on the available memory, the estimated maximum model length is {}.", longest);
    return KvRefusal{"ValueError", message, longest > 0 ? std::optional(longest) : std::nullopt, needed, s};
  }

  for (int s = 0; s < stages; ++s) {
    if (bytes_per_block(s) == 0) {
      if (is_block_outermost(options_.layout)) return KvRefusal{"AssertionError", "", std::nullopt, 0, s};
      return KvRefusal{"ZeroDivisionError", "integer division or modulo by zero", std::nullopt, 0, s};
    }
    const auto here = override_blocks.value_or(memory[static_cast<std::size_t>(s)] / bytes_per_block(s));
    plan.num_blocks = s == 0 ? here : std::min(plan.num_blocks, here);
  }

  const int dcp = options_.decode_context_parallel_size;
  for (int s = 0; s < stages; ++s) {
    auto& stage = plan.stages[static_cast<std::size_t>(s)];
    stage.bytes_per_block = bytes_per_block(s);
    int replicas = options_.tensor_parallel_size;
    for (const auto& g : groups_) {
      const auto& here = g.per_stage[static_cast<std::size_t>(s)];
      if (!g.uniform_type) {
        stage.tensors += here.empty() ? 0 : 1;
        replicas = std::gcd(replicas, tp_replicas(spec(g.spec), options_.tensor_parallel_size, dcp));
        continue;
      }
      std::vector<int> kinds;
      for (const int l : here.empty() ? g.layers : here)
        if (std::find(kinds.begin(), kinds.end(), layer_spec(l)) == kinds.end()) kinds.push_back(layer_spec(l));
      for (const int k : kinds) replicas = std::gcd(replicas, tp_replicas(spec(k), options_.tensor_parallel_size, dcp));
      stage.tensors += static_cast<int>(kinds.size());
    }
    stage.kv_tp_replicas = replicas;
    stage.allocated_bytes = stage.tensors > 0 ? stage.bytes_per_block * plan.num_blocks : 0;
  }

  // The scheduler's view: a uniform-type group is represented by its first layer on the first stage.
  std::int64_t blocks = 0, bytes = 0, smallest = 0, smallest_cacheable = 0, scheduler = 1, hash = 0;
  bool unaligned_state = false;
  for (const auto& g : groups_) {
    KvGroup out;
    out.uniform_type = g.uniform_type;
    const auto& first = g.per_stage.front().empty() ? g.layers : g.per_stage.front();
    out.spec = spec(g.uniform_type ? layer_spec(first.front()) : g.spec);
    for (int s = 0; s < stages; ++s)
      out.num_layers.push_back(static_cast<int>(g.per_stage[static_cast<std::size_t>(s)].size()));
    if (g.uniform_type)
      for (const int l : first) out.page_size += spec(layer_spec(l)).page_size();
    else
      out.page_size = out.spec.page_size();
    out.blocks_per_request = ceil_div(max_bytes(out.spec, plan.max_model_len), out.spec.page_size());
    blocks += out.blocks_per_request;
    bytes += out.blocks_per_request * out.page_size;
    const std::int64_t size = out.spec.block_size;
    smallest = smallest == 0 ? size : std::min(smallest, size);
    const auto span = group_block_size(out.spec, dcp);
    scheduler = std::lcm<std::int64_t>(scheduler, span);
    unaligned_state = unaligned_state || (out.spec.type == KvSpecType::mamba && !out.spec.mamba_align);
    if (out.spec.prefix_cacheable) {
      smallest_cacheable = smallest_cacheable == 0 ? size : std::min(smallest_cacheable, size);
      hash = std::gcd<std::int64_t>(hash, span);
    }
    plan.groups.push_back(std::move(out));
  }
  if (options_.version < kBlocksPerGroup) blocks = ceil_div(bytes, plan.groups.front().page_size);
  plan.max_concurrency = static_cast<double>(plan.num_blocks) / static_cast<double>(blocks);
  if (options_.version >= kTokensFromConcurrency) {
    plan.kv_tokens = static_cast<std::int64_t>(plan.max_concurrency * static_cast<double>(plan.max_model_len));
  } else {
    std::int64_t shards = dcp;
    if (options_.version >= VllmVersion{0, 12, 0}) shards *= options_.prefill_context_parallel_size;
    plan.kv_tokens = plan.num_blocks / static_cast<std::int64_t>(plan.groups.size()) * smallest * shards;
  }
  plan.block_size = static_cast<int>(smallest_cacheable > 0 ? smallest_cacheable : smallest);
  if (plan.groups.size() == 1) {
    plan.scheduler_block_size = plan.hash_block_size =
        plan.block_size * (plan.groups.front().spec.dcp_sharded ? dcp : 1);
  } else {
    plan.scheduler_block_size = static_cast<int>(scheduler);
    plan.hash_block_size =
        static_cast<int>(options_.enable_prefix_caching && !unaligned_state && hash > 0 ? hash : scheduler);
  }
  return plan;
}

KvPlanResult plan_kv_cache(const KvLayers& layers, const KvPlanOptions& options,
                           const std::vector<std::int64_t>& available_memory) {
  return KvGrouping(layers, options).plan(available_memory);
}

std::vector<std::string> kv_log_lines(const KvPlan& plan, VllmVersion version) {
  const std::string size = fmt::format("GPU KV cache size: {} tokens", with_commas(plan.kv_tokens));
  const std::string concurrency = fmt::format("Maximum concurrency for {} tokens per request: {:.2f}x",
                                              with_commas(plan.max_model_len), plan.max_concurrency);
  if (version >= kOneLogLine) return {size + ", " + concurrency};
  return {size, concurrency};
}

}  // namespace shardwise
