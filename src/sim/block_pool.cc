#include "sim/block_pool.h"

#include <cassert>

namespace shardwise {

BlockPool::BlockPool(int num_blocks, bool enable_caching, PrefixTree& tree)
    : num_blocks_(num_blocks),
      caching_(enable_caching),
      head_(num_blocks),
      tree_(tree),
      blocks_(enable_caching ? num_blocks + 1 : 0),
      entries_(enable_caching ? num_blocks : 0) {
  free_ = num_blocks - 1;  // not the null block
  if (!enable_caching) return;
  for (std::int32_t b = 0; b <= num_blocks; ++b) {
    blocks_[b].previous = b == 0 ? num_blocks : b - 1;
    blocks_[b].next = b == num_blocks ? 0 : b + 1;
  }
  for (std::int32_t b = 0; b < num_blocks; ++b) entries_[b].block = b;
  free_ = num_blocks;
  unlink(kNull);
}

void BlockPool::insert(std::int32_t entry, const Key& key) {
  Entry& e = entries_[entry];
  e.key = key;
  std::int32_t& first = tree_.entry_ref(key.node, key.place, key.group);
  tree_.retain(key.node);
  if (first < 0) {
    first = e.previous = e.next = entry;
    return;
  }
  const std::int32_t last = entries_[first].previous;
  e.previous = last;
  e.next = first;
  entries_[last].next = entry;
  entries_[first].previous = entry;
}

void BlockPool::remove(std::int32_t entry) {
  Entry& e = entries_[entry];
  std::int32_t& first = tree_.entry_ref(e.key.node, e.key.place, e.key.group);
  if (e.next == entry) {
    first = -1;
  } else {
    entries_[e.previous].next = e.next;
    entries_[e.next].previous = e.previous;
    if (first == entry) first = e.next;
  }
  const std::int32_t node = e.key.node;
  e.key.node = -1;
  tree_.release(node);
}

bool BlockPool::cached_under(std::int32_t block, const Key& key) const {
  if (entries_[block].key == key) return true;
  const auto it = more_entries_.find(block);
  if (it == more_entries_.end()) return false;
  for (const std::int32_t entry : it->second)
    if (entries_[entry].key == key) return true;
  return false;
}

void BlockPool::cache(std::int32_t block, const Key& key) {
  if (entries_[block].key.node < 0) {
    insert(block, key);
    return;
  }
  if (cached_under(block, key)) return;
  std::int32_t entry;
  if (spare_entries_.empty()) {
    entry = static_cast<std::int32_t>(entries_.size());
    entries_.emplace_back();
  } else {
    entry = spare_entries_.back();
    spare_entries_.pop_back();
  }
  entries_[entry].block = block;
  more_entries_[block].push_back(entry);
  insert(entry, key);
}

void BlockPool::uncache(std::int32_t block) {
  if (entries_[block].key.node >= 0) remove(block);
  if (more_entries_.empty()) return;
  const auto it = more_entries_.find(block);
  if (it == more_entries_.end()) return;
  for (const std::int32_t entry : it->second) {
    remove(entry);
    spare_entries_.push_back(entry);
  }
  more_entries_.erase(it);
}

void BlockPool::move_entries(std::int32_t from, std::int32_t to) {
  std::vector<Key> keys;
  if (cached(from)) keys.push_back(key(from));
  if (const auto it = more_entries_.find(from); it != more_entries_.end())
    for (const std::int32_t entry : it->second) keys.push_back(entries_[entry].key);
  for (const Key& key : keys) tree_.retain(key.node);
  uncache(from);
  for (const Key& key : keys) cache(to, key);
  for (const Key& key : keys) tree_.release(key.node);
}

}  // namespace shardwise
