#include "sim/prefix_tree.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "sim/scheduler_request.h"

namespace shardwise {

PrefixTree::PrefixTree(int unit, int groups)
    : unit_(unit), groups_(groups), nodes_(1), free_slots_(40), map_(1024, -1) {
  nodes_[kRoot].references = 1;
}

std::size_t PrefixTree::bucket(std::int32_t parent, std::int64_t start, std::int64_t first) const {
  std::uint64_t h = static_cast<std::uint64_t>(first) * 0x9E3779B97F4A7C15ull;
  h ^= (static_cast<std::uint64_t>(parent) << 32 | static_cast<std::uint32_t>(start)) * 0xD1342543DE82EF95ull;
  h ^= h >> 32;
  return static_cast<std::size_t>(h * 0x9E3779B97F4A7C15ull >> 20) & (map_.size() - 1);
}

std::int32_t PrefixTree::acquire(std::int32_t parent, std::int64_t start, std::int64_t first) {
  std::size_t at = bucket(parent, start, first);
  for (; map_[at] >= 0; at = (at + 1) & (map_.size() - 1)) {
    Node& node = nodes_[map_[at]];
    if (node.parent == parent && node.start == start && node.first == first) {
      ++node.references;
      return map_[at];
    }
  }
  std::int32_t id;
  if (free_nodes_.empty()) {
    id = static_cast<std::int32_t>(nodes_.size());
    nodes_.emplace_back();
  } else {
    id = free_nodes_.back();
    free_nodes_.pop_back();
  }
  Node& node = nodes_[id];
  node.start = start, node.first = first, node.parent = parent, node.references = 1;
  ++nodes_[parent].references;
  map_[at] = id;
  if (++live_ * 2 > map_.size()) rehash(map_.size() * 2);
  return id;
}

void PrefixTree::release(std::int32_t id, std::int32_t times) {
  while (id != kRoot && (nodes_[id].references -= times) == 0) {
    times = 1;
    erase_from_map(id);
    Node& node = nodes_[id];
    if (node.size_class >= 0) free_slots_[node.size_class].push_back(node.slots);
    node.capacity = 0;
    node.size_class = -1;
    free_nodes_.push_back(id);
    --live_;
    id = node.parent;
  }
}

void PrefixTree::open_output(SchedulerRequest& r) {
  r.output_on_path = true;
  const PathStep& tail = r.path.back();
  if (tail.first + (r.path_prompt_end - tail.start) == r.output_first) return;  // the prompt's last run goes on
  r.path.push_back({acquire(tail.node, r.path_prompt_end, r.output_first), r.path_prompt_end, r.output_first});
}

void PrefixTree::erase_from_map(std::int32_t id) {
  const std::size_t mask = map_.size() - 1;
  std::size_t hole = bucket(nodes_[id].parent, nodes_[id].start, nodes_[id].first);
  while (map_[hole] != id) hole = (hole + 1) & mask;
  for (std::size_t at = (hole + 1) & mask; map_[at] >= 0; at = (at + 1) & mask) {
    const Node& node = nodes_[map_[at]];
    const std::size_t home = bucket(node.parent, node.start, node.first);
    if (((at - home) & mask) >= ((at - hole) & mask)) map_[hole] = map_[at], hole = at;
  }
  map_[hole] = -1;
}

void PrefixTree::rehash(std::size_t size) {
  std::vector<std::int32_t> old(size, -1);
  old.swap(map_);
  for (const std::int32_t id : old) {
    if (id < 0) continue;
    std::size_t at = bucket(nodes_[id].parent, nodes_[id].start, nodes_[id].first);
    while (map_[at] >= 0) at = (at + 1) & (size - 1);
    map_[at] = id;
  }
}

void PrefixTree::grow(Node& node, std::int32_t places) {
  const int size_class = static_cast<int>(std::bit_width(static_cast<std::uint32_t>(std::max(places, 4) - 1)));
  const std::int32_t capacity = std::int32_t{1} << size_class;
  std::size_t slots;
  if (free_slots_[size_class].empty()) {
    slots = slots_.size();
    slots_.resize(slots + static_cast<std::size_t>(capacity) * groups_);
  } else {
    slots = free_slots_[size_class].back();
    free_slots_[size_class].pop_back();
  }
  const std::size_t used = static_cast<std::size_t>(node.capacity) * groups_;
  std::copy_n(slots_.begin() + static_cast<std::ptrdiff_t>(node.slots), used,
              slots_.begin() + static_cast<std::ptrdiff_t>(slots));
  std::fill_n(slots_.begin() + static_cast<std::ptrdiff_t>(slots + used),
              static_cast<std::size_t>(capacity) * groups_ - used, -1);
  if (node.size_class >= 0) free_slots_[node.size_class].push_back(node.slots);
  node.slots = slots, node.capacity = capacity, node.size_class = static_cast<std::int8_t>(size_class);
}

}  // namespace shardwise
