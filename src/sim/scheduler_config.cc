#include "sim/scheduler_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/input_error.h"

namespace shardwise {

int SchedulerConfig::max_concurrent_batches() const {
  if (async_scheduling) {
    if (use_v2_model_runner) return pipeline_parallel_size + 1;
    if (pipeline_parallel_size <= 1) return 2;
  }
  return pipeline_parallel_size;
}

int SchedulerConfig::scheduler_block_size() const {
  int size = 1;
  for (const KvGroup& group : kv_groups) size = std::lcm(size, tokens_per_block(group));
  return size;
}

int SchedulerConfig::hash_block_size() const {
  const auto state_only = [](const KvGroup& g) { return g.kind == KvGroup::Kind::mamba && !g.mamba_align; };
  if (kv_groups.size() <= 1 || !enable_prefix_caching || std::any_of(kv_groups.begin(), kv_groups.end(), state_only))
    return scheduler_block_size();
  if (prefix_match_unit) return *prefix_match_unit;
  int size = 0;
  for (const KvGroup& group : kv_groups) size = std::gcd(size, tokens_per_block(group));
  return size;
}

void check_scheduler_config(const SchedulerConfig& c) {
  const auto at_least = [](const char* name, long long value, long long least) {
    if (value < least)
      throw InputError("", 0, name, fmt::format("{} is too small", value), fmt::format("at least {}", least));
  };
  at_least("num_blocks", c.num_blocks, 2);
  at_least("max_model_len", c.max_model_len, 2);
  at_least("max_num_seqs", c.max_num_seqs, 1);
  at_least("max_num_batched_tokens", c.max_num_batched_tokens, 1);
  at_least("max_num_scheduled_tokens", c.max_num_scheduled_tokens.value_or(1), 1);
  at_least("max_num_active_seqs", c.max_num_active_seqs.value_or(1), 1);
  at_least("prefill_schedule_interval", c.prefill_schedule_interval, 1);
  at_least("pipeline_parallel_size", c.pipeline_parallel_size, 1);
  at_least("decode_context_parallel_size", c.decode_context_parallel_size, 1);
  at_least("num_speculative_tokens", c.num_speculative_tokens,
           c.speculation == SchedulerConfig::Speculation::none ? 0 : 1);
  if (!(c.watermark >= 0 && c.watermark < 1)) throw InputError("", 0, "watermark", "must be in [0, 1)");
  if (c.kv_groups.empty()) throw InputError("", 0, "kv_groups", "no KV cache group");
  for (const auto& group : c.kv_groups) at_least("kv_groups.block_size", group.block_size, 1);
  for (const auto& group : c.kv_groups) {
    using Kind = SchedulerConfig::KvGroup::Kind;
    if (group.kind == Kind::sliding_window) at_least("kv_groups.sliding_window", group.sliding_window, 1);
    if (group.kind == Kind::chunked_local) at_least("kv_groups.attention_chunk_size", group.attention_chunk_size, 1);
    if (c.enable_prefix_caching && c.tokens_per_block(group) % c.hash_block_size() != 0)
      throw InputError("", 0, "prefix_match_unit",
                       fmt::format("{} does not divide a group's block of {} tokens", c.hash_block_size(),
                                   c.tokens_per_block(group)));
  }
}

}  // namespace shardwise
