#pragma once
// Which cached block holds which prefix, without hashing tokens. Texts are runs of consecutive token ids; a node is one
// run behind one exact prefix, so "the same tokens from the start" is "the same node and place". The same equality that
// vLLM gets from chained block hashes.
#include <cstdint>
#include <vector>

namespace shardwise {

/// Token ids first, first + 1, ... first + count - 1.
struct TokenRun {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

/// A text as the nodes it passes; `start` is the position of the node's first token in the text.
struct PathStep {
  std::int32_t node = -1;
  std::int64_t start = 0;
  std::int64_t first = 0;  ///< token id at `start`
};

struct SchedulerRequest;

class PrefixTree {
 public:
  static constexpr std::int32_t kRoot = 0;
  /// `unit`: tokens between two prefix hashes; `groups`: KV cache groups, each with its own blocks.
  PrefixTree(int unit, int groups);

  /// The node of the run that starts with token `first` at position `start` behind `parent`, made if need be. The
  /// caller gets one reference.
  std::int32_t acquire(std::int32_t parent, std::int64_t start, std::int64_t first);
  void retain(std::int32_t node, std::int32_t times = 1) { nodes_[node].references += times; }
  void release(std::int32_t node, std::int32_t times = 1);

  /// Place of unit `index` of a text (tokens [index * unit, (index + 1) * unit)) in the node that holds its last token.
  std::int32_t place(const PathStep& step, std::int64_t index) const {
    return static_cast<std::int32_t>(index - step.start / unit_);
  }
  /// First cache entry at a place, -1 = none.
  std::int32_t entry(std::int32_t node, std::int32_t place, int group) const {
    const Node& n = nodes_[node];
    return place < n.capacity ? slots_[n.slots + static_cast<std::size_t>(place) * groups_ + group] : -1;
  }
  /// As entry(), to be written; the node grows to hold it. Invalidated by the next call.
  std::int32_t& entry_ref(std::int32_t node, std::int32_t place, int group) {
    if (place >= nodes_[node].capacity) grow(nodes_[node], place + 1);
    return slots_[nodes_[node].slots + static_cast<std::size_t>(place) * groups_ + group];
  }
  /// The entries of the places from `place` on (one group only), `count` of them, all there. Invalidated as
  /// entry_ref's.
  std::int32_t* entries(std::int32_t node, std::int32_t place, std::int32_t count) {
    if (place + count > nodes_[node].capacity) grow(nodes_[node], place + count);
    return slots_.data() + nodes_[node].slots + place;
  }
  /// How many places a node has room for; those beyond are empty.
  std::int32_t capacity(std::int32_t node) const { return nodes_[node].capacity; }
  /// Makes room for `places` places at once.
  void reserve(std::int32_t node, std::int32_t places) {
    if (places > nodes_[node].capacity) grow(nodes_[node], places);
  }
  /// Tokens of the prefix that ends at a place.
  std::int64_t tokens(std::int32_t node, std::int32_t place) const {
    return (nodes_[node].start / unit_ + place + 1) * unit_;
  }
  /// Puts the node of a request's outputs on its path.
  void open_output(SchedulerRequest& request);
  /// A list that the cache's owner keeps per node; -1 = empty.
  std::int32_t& list(std::int32_t node) { return nodes_[node].list; }
  std::size_t live_nodes() const { return live_; }

 private:
  struct Node {
    std::int64_t start = 0, first = 0;
    std::size_t slots = 0;  ///< into slots_
    std::int32_t parent = -1;
    std::int32_t references = 0;  ///< texts, cached blocks and children
    std::int32_t capacity = 0;    ///< places
    std::int32_t list = -1;
    std::int8_t size_class = -1;  ///< of the slots
  };
  void grow(Node& node, std::int32_t places);
  std::size_t bucket(std::int32_t parent, std::int64_t start, std::int64_t first) const;
  void rehash(std::size_t size);
  void erase_from_map(std::int32_t node);

  int unit_, groups_;
  std::vector<Node> nodes_;
  std::vector<std::int32_t> free_nodes_;
  std::vector<std::int32_t> slots_;
  std::vector<std::vector<std::size_t>> free_slots_;  ///< by size class: 2^class places
  std::vector<std::int32_t> map_;                     ///< open addressing, linear probing, -1 = empty
  std::size_t live_ = 0;
};

}  // namespace shardwise
