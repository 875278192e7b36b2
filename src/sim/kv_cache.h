#pragma once
// vLLM's KV cache management: KVCacheManager, the coordinators and the per-type managers (v1/core/kv_cache_manager.py,
// kv_cache_coordinator.py, single_type_kv_cache_manager.py), on plain numbers.
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/block_pool.h"
#include "sim/kv_runs.h"
#include "sim/prefix_tree.h"
#include "sim/scheduler_config.h"
#include "sim/scheduler_request.h"

namespace shardwise {

class KvCache {
 public:
  explicit KvCache(const SchedulerConfig& config);

  /// Registers a new request's text. `output_first` as in SchedulerRequest.
  void open(SchedulerRequest& request, std::span<const TokenRun> prompt);
  /// Forgets the text (the blocks must be free).
  void close(SchedulerRequest& request);

  void step_starts() { cached_this_step_.clear(); }
  /// Releases what copy-on-write of this step held.
  void step_ends();

  struct Hit {
    int tokens = 0;
    int shared_prefix_boundary = 0;  ///< a prefix that others share but a sparse group has not kept; 0 = none
    bool any_block = false;
  };
  /// Longest cached prefix of a request that has no blocks. Its blocks are remembered until the next lookup.
  Hit find_hit(SchedulerRequest& request);

  /// How to allocate for a waiting request (admission) or a running one (the defaults).
  struct Admission {
    int hit_tokens = 0;
    bool use_hit = false;      ///< take the blocks of the last find_hit
    int preloaded_tokens = 0;  ///< computed elsewhere, blocks needed here
    bool full_sequence_must_fit = false;
    bool watermark = false;
  };
  /// Blocks for the next num_new_tokens tokens; false if the pool has too few (then only out-of-window blocks changed).
  bool allocate(SchedulerRequest& request, int num_new_tokens, const Admission& admission);
  bool allocate(SchedulerRequest& request, int num_new_tokens) {
    if (request.num_computed_tokens + num_new_tokens < request.quick_until) return true;
    return allocate(request, num_new_tokens, Admission{});
  }
  /// Offers the blocks of the first num_computed_tokens tokens to the prefix cache.
  void cache_blocks(SchedulerRequest& request, int num_computed_tokens) {
    if (!config_.enable_prefix_caching) return;
    if (runs_) {
      if (num_computed_tokens < (request.num_cached_blocks + 1) * align_) return;
      runs_->cache(request, num_computed_tokens / align_);
    } else {
      if (num_computed_tokens < request.cache_from) return;
      cache_all_groups(request, num_computed_tokens);
    }
    set_quick_until(request);
  }
  void free(SchedulerRequest& request);

  /// Whether allocate() has nothing to do below quick_until.
  bool quick() const { return runs_ || quick_; }
  /// The most blocks that one request of `tokens` holds at once.
  std::int64_t blocks_alone(std::int64_t tokens) const;
  int num_groups() const { return static_cast<int>(config_.kv_groups.size()); }
  int free_blocks() const { return runs_ ? runs_->free_blocks() : pool_.free_blocks(); }
  int usable_blocks() const { return config_.num_blocks - 1; }
  const PrefixTree& tree() const { return tree_; }

 private:
  using Kind = SchedulerConfig::KvGroup::Kind;
  using Key = BlockPool::Key;
  struct Group {
    Kind kind;
    int block_size;      ///< tokens
    int window = 0;      ///< sliding window or attention chunk
    bool align = false;  ///< mamba
    bool use_eagle = false;
    int max_admission_blocks;  ///< cap in the admission check
  };
  /// Groups with one specification are looked up together.
  struct LookupGroup {
    Kind kind;
    int block_size;
    int window;
    bool use_eagle;
    std::vector<int> ids;
  };

  // Texts
  int hashed_units(const SchedulerRequest& request) const { return (request.num_tokens - hash_lookahead_) / unit_; }
  Key key(SchedulerRequest& request, int unit_index);
  // Lookup (kv_hits.cc)
  bool find_all(const LookupGroup& group, Key key, std::vector<std::int32_t>& found) const;
  int lookup(SchedulerRequest& request, const LookupGroup& group, int max_length, bool drop_eagle_block, int alignment);
  int lookup_full(SchedulerRequest& request, const LookupGroup& group, int max_length, bool drop_eagle_block,
                  int alignment);
  int lookup_window(SchedulerRequest& request, const LookupGroup& group, int max_length, bool drop_eagle_block,
                    int alignment);
  int lookup_chunk(SchedulerRequest& request, const LookupGroup& group, int max_length);
  int lookup_mamba(SchedulerRequest& request, const LookupGroup& group, int max_length, int alignment);
  Hit find_hybrid_hit(SchedulerRequest& request, int max_length);
  // Allocation
  int skipped_tokens(const Group& group, int computed) const;
  int blocks_needed(const SchedulerRequest& request, int g, int num_tokens, bool use_hit, int total_computed,
                    int local_computed, int main_tokens, bool admission_cap) const;
  int blocks_needed_mamba_align(const SchedulerRequest& request, int g, bool use_hit, int local_computed,
                                int main_tokens) const;
  int evictable(std::span<const std::int32_t> blocks) const;
  bool allocate_runs(SchedulerRequest& request, int num_new_tokens, const Admission& admission);
  void remove_skipped(SchedulerRequest& request, int processed);
  void give_back_range(GroupBlocks& blocks, int first, int last);
  void retire_mamba_states(GroupBlocks& blocks, int first, int last);
  void adopt_hit(SchedulerRequest& request, int g, int local_computed, int total_computed);
  void extend(SchedulerRequest& request, int g, int num_tokens, int main_tokens);
  void extend_mamba_align(SchedulerRequest& request, int g, int main_tokens);
  void copy_on_write(GroupBlocks& blocks, int index, std::int32_t source, std::int32_t copy);
  void set_window_until(SchedulerRequest& request, int processed) const;
  void set_quick_until(SchedulerRequest& request) const;
  // Prefix cache (kv_retention.cc)
  void cache_all_groups(SchedulerRequest& request, int num_computed_tokens);
  int cacheable_tokens(int computed, const Group& group) const;
  void cache_group(SchedulerRequest& request, int g, int num_tokens);
  bool retained(const Group& group, int start, int end, int shared_prefix_boundary);
  void retain_window(const Group& group, int start, int end);
  void retain_mamba(const Group& group, int start, int end);
  void cache_full_tail(SchedulerRequest& request, int g, int num_tokens);
  void cache_mamba_tail(SchedulerRequest& request, int g, int num_tokens);
  void cache_partial(SchedulerRequest& request, std::int32_t block, int num_tokens, int g);
  void mark_boundary(int start, int end, int last_block, int blocks);

  SchedulerConfig config_;
  int unit_;   ///< tokens between prefix hashes
  int align_;  ///< scheduler block size
  bool partial_hits_ = false;
  bool eagle_ = false;      ///< EAGLE drops the last hit block
  int hash_lookahead_ = 0;  ///< tokens behind a unit that its hash covers
  int lookahead_ = 0;       ///< slots past the scheduled tokens
  int watermark_blocks_ = 0;
  bool quick_ = false;  ///< a step that needs no block and fills none needs no KV work
  PrefixTree tree_;
  std::optional<RunCache> runs_;  ///< one full-attention group; then pool_ is not used
  RunCache::Hit run_hit_;
  BlockPool pool_;
  std::vector<Group> groups_;
  std::vector<LookupGroup> lookups_;
  // Scratch, kept to spare allocations.
  std::vector<std::vector<std::int32_t>> hit_;  ///< blocks of the last lookup, per group
  std::vector<std::int32_t> found_, freed_;
  std::vector<char> mask_, eagle_done_;
  std::vector<int> boundaries_, lengths_;
  std::vector<Key> cached_this_step_;  ///< by Mamba groups
  std::vector<std::pair<std::int32_t, std::int32_t>> copies_;
};

}  // namespace shardwise
