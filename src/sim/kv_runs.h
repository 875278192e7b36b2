#pragma once
// The KV cache of the commonest models: one group, full attention. What BlockPool does block by block is done here run
// by run: blocks without content are a number, cached ones are places of prefix-tree nodes, and the free queue is a
// list of runs of places, so a request costs the same whatever its length (but for filling its places, one after the
// other). Decisions are those of KvCache over BlockPool; the same traces check both.
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sim/prefix_tree.h"
#include "sim/scheduler_request.h"

namespace shardwise {

class RunCache {
 public:
  RunCache(int num_blocks, int block_size, PrefixTree& tree)
      : block_size_(block_size), free_(num_blocks - 1), loose_(num_blocks - 1), tree_(tree) {}

  struct Hit {
    int blocks = 0;
    int evictable = 0;  ///< of them, free ones
    bool last_evictable = false;
  };
  /// Longest cached prefix of at most max_blocks blocks.
  Hit find_hit(SchedulerRequest& request, int max_blocks);
  /// Takes the first `blocks` blocks of a hit.
  void adopt(SchedulerRequest& request, int blocks);
  /// Takes free blocks, the next to be evicted first.
  void extend(SchedulerRequest& request, int required_blocks);
  /// Offers the first `blocks` blocks to the prefix cache.
  void cache(SchedulerRequest& request, int blocks);
  void free(SchedulerRequest& request);
  int free_blocks() const { return free_; }

 private:
  // A place of the tree holds: -1 not cached; n >= 0 cached once, n requests hold it; kSeveral: see copies_.
  static constexpr std::int32_t kNone = -1, kSeveral = -2;
  /// Equal blocks, in the order of caching. Tag 0 is the one that was alone.
  struct Copy {
    std::int32_t tag, references;
  };
  /// Free cached blocks of one node, evicted from `high` down to `low`.
  struct Run {
    std::int32_t node = -1, low = 0, high = 0, tag = 0;
    std::int32_t previous = -1, next = -1;            ///< free queue
    std::int32_t node_previous = -1, node_next = -1;  ///< runs of the same node
  };
  struct Stretch {
    std::int32_t node, place, count;
  };
  Stretch stretch(SchedulerRequest& request, int block, int end);
  static std::uint64_t place_key(std::int32_t node, std::int32_t place) {
    return static_cast<std::uint64_t>(node) << 32 | static_cast<std::uint32_t>(place);
  }
  std::int32_t first_references(std::int32_t node, std::int32_t place, std::int32_t slot) const {
    return slot >= 0 ? slot : copies_.at(place_key(node, place)).front().references;
  }
  void append(std::int32_t node, std::int32_t low, std::int32_t high, std::int32_t tag);
  void free_place(SchedulerRequest& request, int block, std::int32_t node, std::int32_t place);
  void cache_place(SchedulerRequest& request, int block, std::int32_t node, std::int32_t place);
  void insert_after(std::int32_t at, std::int32_t run);
  std::int32_t new_run(std::int32_t node, std::int32_t low, std::int32_t high, std::int32_t tag);
  void unlink(std::int32_t run);
  void remove_range(std::int32_t node, std::int32_t low, std::int32_t high, std::int32_t tag);
  void evict(int count);
  void evict_place(const Run& run, std::int32_t place);

  int block_size_;
  int free_, loose_;  ///< free blocks; those of them without content, which are taken first
  PrefixTree& tree_;
  std::vector<Run> runs_;
  std::vector<std::int32_t> spare_runs_;
  std::int32_t front_ = -1, back_ = -1;
  std::unordered_map<std::uint64_t, std::vector<Copy>> copies_;
};

}  // namespace shardwise
