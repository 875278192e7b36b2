#pragma once
// What one vLLM engine core's scheduler and KV block pool are told. Names and defaults are vLLM's (SchedulerConfig,
// CacheConfig, SpeculativeConfig); plain numbers, so that anything can fill it.
#include <cstdint>
#include <optional>
#include <vector>

#include "base/version.h"

namespace shardwise {

struct SchedulerConfig {
  enum class Policy { fcfs, priority };
  enum class Speculation { none, ngram, draft_model, eagle };  ///< eagle: also eagle3 and MTP (one token ahead)

  /// Layers that share one block table. All groups draw blocks from one pool.
  struct KvGroup {
    enum class Kind { full, sliding_window, chunked_local, mamba } kind = Kind::full;
    int block_size = 16;           ///< tokens of one rank's block; attention groups span dcp times as many
    int sliding_window = 0;        ///< tokens, sliding_window only
    int attention_chunk_size = 0;  ///< tokens, chunked_local only
    bool mamba_align = false;      ///< mamba_cache_mode "align" (prefix caching of states) instead of "none"
    friend bool operator==(const KvGroup&, const KvGroup&) = default;
  };

  VllmVersion version = kDefaultVllmVersion;
  std::vector<KvGroup> kv_groups = {KvGroup{}};
  int num_blocks = 1000;  ///< of the pool; block 0 is vLLM's null block, so one fewer is usable
  int max_model_len = 4096;
  int max_num_seqs = 128;
  int max_num_batched_tokens = 2048;
  std::optional<int> max_num_scheduled_tokens;  ///< nullopt = max_num_batched_tokens
  std::optional<int> max_num_active_seqs;       ///< nullopt = max_num_seqs
  bool enable_chunked_prefill = true;
  int long_prefill_token_threshold = 0;  ///< 0 = off
  bool long_prefill_token_threshold_adaptive = false;
  Policy policy = Policy::fcfs;
  bool enable_prefix_caching = true;
  bool scheduler_reserve_full_isl = true;
  double watermark = 0;  ///< share of num_blocks kept free when a waiting request is admitted
  /// N > 1: prefills only in every Nth schedule call (DP prefill balancing); from 0.33 on an engine that is its own DP
  /// rank also keeps N steps between two that prefill.
  int prefill_schedule_interval = 1;
  bool async_scheduling = false;
  int pipeline_parallel_size = 1;
  int decode_context_parallel_size = 1;
  bool use_v2_model_runner = false;
  Speculation speculation = Speculation::none;
  int num_speculative_tokens = 0;
  /// Sliding-window and Mamba groups: 0 = only replay boundaries stay cached, nullopt = dense, else one tail per
  /// interval.
  std::optional<int> prefix_cache_retention_interval = 0;
  std::optional<int> prefix_match_unit;  ///< hash granularity with several groups; nullopt = gcd of their block sizes

  /// What 0.33 changed: see the uses.
  bool since_0_33() const { return version >= VllmVersion{0, 33, 0}; }
  /// Tokens behind a block that its prefix hash covers (num_hash_lookahead_tokens). Before, EAGLE dropped the last
  /// block of a hit instead.
  int num_hash_lookahead_tokens() const {
    return since_0_33() && speculation == Speculation::eagle && enable_prefix_caching ? 1 : 0;
  }
  /// Batches that may be in flight (VllmConfig.max_concurrent_batches).
  int max_concurrent_batches() const;
  /// Tokens that one block of a group spans.
  int tokens_per_block(const KvGroup& group) const {
    return group.block_size * (group.kind == KvGroup::Kind::mamba ? 1 : decode_context_parallel_size);
  }
  /// Alignment of prefix-cache hits (resolve_kv_cache_block_sizes): lcm of the groups' spans.
  int scheduler_block_size() const;
  /// Tokens between two prefix hashes.
  int hash_block_size() const;
};

/// Throws InputError (path = the field) if the scheduler could not run: sizes below 1, no group, hash sizes that do not
/// divide the groups' block sizes.
void check_scheduler_config(const SchedulerConfig& config);

}  // namespace shardwise
