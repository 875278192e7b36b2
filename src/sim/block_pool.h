#pragma once
// vLLM's BlockPool (v1/core/block_pool.py): reference counts, the free queue in eviction order, and which blocks are
// cached under which prefix. Blocks are numbers; nothing is allocated after construction but entries of partial hits.
// Without caching no block is like no other: the pool only counts, and every block that it gives is kAny.
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "sim/prefix_tree.h"

namespace shardwise {

class BlockPool {
 public:
  static constexpr std::int32_t kNull = 0;  ///< the null block: stands for "nothing here", never freed or cached
  static constexpr std::int32_t kAny = 1;   ///< without caching: a block that its holder has alone

  /// A prefix as the pool knows it: a place in the tree, for one KV cache group.
  struct Key {
    std::int32_t node = -1, place = 0, group = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };

  BlockPool(int num_blocks, bool enable_caching, PrefixTree& tree);

  int num_blocks() const { return num_blocks_; }
  int free_blocks() const { return free_; }
  int references(std::int32_t block) const { return caching_ ? blocks_[block].references : 1; }
  bool cached(std::int32_t block) const { return caching_ && entries_[block].key.node >= 0; }
  /// The prefix of a cached block (the first, where a block has several).
  const Key& key(std::int32_t block) const { return entries_[block].key; }

  /// A block cached under a prefix (the one cached first), -1 = none.
  std::int32_t find(const Key& key) const {
    const std::int32_t entry = tree_.entry(key.node, key.place, key.group);
    return entry < num_blocks_ ? entry : entries_[entry].block;
  }

  /// Takes the block that is next to be evicted; its cache entries go. There must be one.
  std::int32_t take() {
    if (!caching_) {
      --free_;
      return kAny;
    }
    const std::int32_t block = blocks_[head_].next;
    unlink(block);
    if (entries_[block].key.node >= 0) uncache(block);
    blocks_[block].references = 1;
    return block;
  }
  /// One more reference; a free block leaves the free queue.
  void touch(std::int32_t block) {
    if (block == kNull) return;
    if (blocks_[block].references++ == 0) unlink(block);
  }
  /// One reference fewer for each, in this order. Blocks nobody holds become free: uncached ones go to the front of the
  /// free queue (the first of them foremost), cached ones to its tail.
  void give_back(std::span<const std::int32_t> blocks) {
    if (!caching_) return count_back(blocks);
    std::int32_t front = head_;
    for (const std::int32_t block : blocks) give_back_one(block, front);
  }
  void give_back_reversed(std::span<const std::int32_t> blocks) {
    if (!caching_) return count_back(blocks);
    std::int32_t front = head_;
    for (std::size_t i = blocks.size(); i-- > 0;) give_back_one(blocks[i], front);
  }

  /// Caches a block under a prefix. Its first key is its primary one; later ones are kept beside it.
  void cache(std::int32_t block, const Key& key);
  /// Whether the block is cached under that prefix, as primary or beside.
  bool cached_under(std::int32_t block, const Key& key) const;
  /// Removes all cache entries of a block.
  void uncache(std::int32_t block);
  /// The entries of `from` become entries of `to`, which has none.
  void move_entries(std::int32_t from, std::int32_t to);
  void add_reference(std::int32_t block) { ++blocks_[block].references; }

 private:
  struct Block {
    std::int32_t previous = -1, next = -1;  ///< free queue
    std::int32_t references = 0;
  };
  struct Entry {
    Key key;
    std::int32_t previous = -1, next = -1;  ///< ring of entries under the same key, in order of caching
    std::int32_t block = -1;
  };

  void count_back(std::span<const std::int32_t> blocks) {
    for (const std::int32_t block : blocks) free_ += block != kNull;
  }
  void unlink(std::int32_t block) {
    const Block& b = blocks_[block];
    blocks_[b.previous].next = b.next;
    blocks_[b.next].previous = b.previous;
    --free_;
  }
  void link_after(std::int32_t at, std::int32_t block) {
    const std::int32_t next = blocks_[at].next;
    blocks_[block].previous = at;
    blocks_[block].next = next;
    blocks_[at].next = block;
    blocks_[next].previous = block;
    ++free_;
  }
  void give_back_one(std::int32_t block, std::int32_t& front) {
    if (block == kNull || --blocks_[block].references > 0) return;
    if (entries_[block].key.node >= 0) {
      link_after(blocks_[head_].previous, block);
    } else {
      link_after(front, block);
      front = block;
    }
  }
  void insert(std::int32_t entry, const Key& key);
  void remove(std::int32_t entry);

  int num_blocks_;
  bool caching_;
  std::int32_t head_;  ///< sentinel of the circular free queue
  int free_ = 0;
  PrefixTree& tree_;
  std::vector<Block> blocks_;
  std::vector<Entry> entries_;  ///< entry b is the primary one of block b; further ones behind
  std::vector<std::int32_t> spare_entries_;
  std::unordered_map<std::int32_t, std::vector<std::int32_t>> more_entries_;  ///< of blocks with several keys (rare)
};

}  // namespace shardwise
