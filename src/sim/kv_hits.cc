// Prefix-cache lookups: find_longest_cache_hit of the managers and coordinators.
#include <algorithm>

#include "base/units.h"
#include "sim/kv_cache.h"

namespace shardwise {

BlockPool::Key KvCache::key(SchedulerRequest& r, int unit_index) {
  const std::int64_t last = (static_cast<std::int64_t>(unit_index) + 1) * unit_ - 1;
  if (last >= r.path_prompt_end && !r.output_on_path) tree_.open_output(r);
  std::size_t at = static_cast<std::size_t>(r.path_hint);
  while (r.path[at].start > last) --at;
  while (at + 1 < r.path.size() && r.path[at + 1].start <= last) ++at;
  r.path_hint = static_cast<std::int32_t>(at);
  return {r.path[at].node, tree_.place(r.path[at], unit_index), 0};
}

bool KvCache::find_all(const LookupGroup& group, Key key, std::vector<std::int32_t>& found) const {
  found.clear();
  for (const int g : group.ids) {
    key.group = g;
    const std::int32_t block = pool_.find(key);
    if (block < 0) return false;
    found.push_back(block);
  }
  return true;
}

int KvCache::lookup(SchedulerRequest& r, const LookupGroup& group, int max_length, bool drop_eagle_block,
                    int alignment) {
  for (const int g : group.ids) hit_[g].clear();
  switch (group.kind) {
    case Kind::full:
      return lookup_full(r, group, max_length, drop_eagle_block, alignment);
    case Kind::sliding_window:
      return lookup_window(r, group, max_length, drop_eagle_block, alignment);
    case Kind::chunked_local:
      return lookup_chunk(r, group, max_length);
    case Kind::mamba:
      return lookup_mamba(r, group, max_length, alignment);
  }
  return 0;
}

int KvCache::lookup_full(SchedulerRequest& r, const LookupGroup& group, int max_length, bool drop_eagle_block,
                         int alignment) {
  const int bs = group.block_size, units = bs / unit_;
  std::vector<std::int32_t>& first = hit_[group.ids[0]];
  const auto push = [&] {
    for (std::size_t i = 0; i < group.ids.size(); ++i) hit_[group.ids[i]].push_back(found_[i]);
  };
  const int hashed = hashed_units(r);
  const int max_blocks = std::min(max_length / bs, hashed / units);
  for (int i = 0; i < max_blocks && find_all(group, key(r, (i + 1) * units - 1), found_); ++i) push();
  int hit = static_cast<int>(first.size()) * bs;
  if (alignment < bs && bs % alignment == 0) {  // a hit may end inside a block
    const int from = static_cast<int>(first.size()) * units;
    const int to = std::min({from + units - 1, max_length / alignment, hashed});
    for (int i = to - 1; i >= from; --i) {
      if (!find_all(group, key(r, i), found_)) continue;
      push();
      hit = (i + 1) * alignment;
      break;
    }
  }
  if (drop_eagle_block && hit > 0) hit -= std::min(alignment, bs);
  hit -= hit % alignment;
  for (const int g : group.ids) hit_[g].resize(ceil_div(hit, bs));
  return hit;
}

int KvCache::lookup_window(SchedulerRequest& r, const LookupGroup& group, int max_length, bool drop_eagle_block,
                           int alignment) {
  const int bs = group.block_size, units = bs / unit_;
  const int need = static_cast<int>(ceil_div(group.window - 1, bs)) + (drop_eagle_block ? 1 : 0);
  const int max_blocks = max_length / bs;
  for (const int g : group.ids) hit_[g].assign(max_blocks, BlockPool::kNull);
  const auto size_to = [&](int blocks) {
    for (const int g : group.ids) hit_[g].resize(blocks);
  };
  const auto blocks = [&] { return static_cast<int>(hit_[group.ids[0]].size()); };
  int run = 0;
  bool match = false;
  for (int i = max_blocks - 1; i >= 0; --i) {
    if (!find_all(group, key(r, (i + 1) * units - 1), found_)) {
      run = 0;
      continue;
    }
    if (run == 0 && bs != alignment && (drop_eagle_block ? i : i + 1) * bs % alignment != 0) continue;
    for (std::size_t k = 0; k < group.ids.size(); ++k) hit_[group.ids[k]][i] = found_[k];
    if (++run >= need) {
      size_to(i + run);
      match = true;
      break;
    }
  }
  const auto realign = [&] {
    while (bs != alignment && blocks() * bs % alignment != 0) size_to(blocks() - 1);
  };
  if (!match) {
    size_to(run);
    realign();
  }
  if (drop_eagle_block && blocks() > 0) {
    size_to(blocks() - 1);
    realign();
  }
  return blocks() * bs;
}

int KvCache::lookup_chunk(SchedulerRequest& r, const LookupGroup& group, int max_length) {
  const int bs = group.block_size, units = bs / unit_;
  const int outside =
      max_length / group.window * group.window / bs;  // blocks before the last attention chunk: never read again
  for (const int g : group.ids) hit_[g].assign(outside, BlockPool::kNull);
  for (int i = outside; i < max_length / bs && find_all(group, key(r, (i + 1) * units - 1), found_); ++i)
    for (std::size_t k = 0; k < group.ids.size(); ++k) hit_[group.ids[k]].push_back(found_[k]);
  return static_cast<int>(hit_[group.ids[0]].size()) * bs;
}

int KvCache::lookup_mamba(SchedulerRequest& r, const LookupGroup& group, int max_length, int alignment) {
  const int bs = group.block_size;
  const auto take = [&](int block_index) {
    for (std::size_t k = 0; k < group.ids.size(); ++k) {
      hit_[group.ids[k]].assign(block_index, BlockPool::kNull);
      hit_[group.ids[k]].push_back(found_[k]);
    }
  };
  if (alignment < bs && bs % alignment == 0) {
    for (int i = std::min(max_length / alignment, hashed_units(r)) - 1; i >= 0; --i) {
      if (!find_all(group, key(r, i), found_)) continue;
      take(i / (bs / alignment));
      return (i + 1) * alignment;
    }
    return 0;
  }
  const int units = bs / unit_;
  for (int i = max_length / bs - 1; i >= 0; --i) {
    if (!find_all(group, key(r, (i + 1) * units - 1), found_)) continue;
    if (bs != alignment && (i + 1) * bs % alignment != 0) continue;
    take(i);
    return (i + 1) * bs;
  }
  return 0;
}

KvCache::Hit KvCache::find_hit(SchedulerRequest& r) {
  Hit hit;
  for (auto& blocks : hit_) blocks.clear();
  if (!config_.enable_prefix_caching) return hit;
  const int max_length = r.num_tokens - 1;  // the last token is computed again, for its logits
  if (runs_) {
    run_hit_ = runs_->find_hit(r, max_length / align_);
    if (eagle_ && run_hit_.blocks > 0) {
      --run_hit_.blocks;
      run_hit_.evictable -= run_hit_.last_evictable;
    }
    hit.tokens = run_hit_.blocks * align_;
    hit.any_block = run_hit_.blocks > 0;
    return hit;
  }
  if (groups_.size() == 1) {
    hit.tokens = lookup(r, lookups_[0], max_length, eagle_, groups_[0].block_size);
  } else {
    hit = find_hybrid_hit(r, max_length);
  }
  for (const auto& blocks : hit_) hit.any_block |= !blocks.empty();
  return hit;
}

// HybridKVCacheCoordinator.find_longest_cache_hit: shrink the candidate until every group agrees.
KvCache::Hit KvCache::find_hybrid_hit(SchedulerRequest& r, int max_length) {
  const int alignment = partial_hits_ ? unit_ : align_;
  const int hashed_tokens = hashed_units(r) * unit_;
  const bool one_pass = lookups_.size() == 2 && lookups_[0].kind == Kind::full;
  int hit = max_length, longest = 0;
  lengths_.assign(lookups_.size(), -1);
  eagle_done_.assign(lookups_.size(), 0);
  while (true) {
    int current = hit;
    for (std::size_t i = 0; i < lookups_.size(); ++i) {
      const LookupGroup& group = lookups_[i];
      if (group.kind == Kind::full && lengths_[i] >= 0) {
        current = std::min(current, lengths_[i]);
        continue;
      }
      const bool drop = group.use_eagle && !eagle_done_[i];
      int limit = current;
      if (drop && group.kind != Kind::mamba) {
        const bool fine = partial_hits_ && group.kind == Kind::full && group.block_size > unit_;
        limit = std::min(current + (fine ? unit_ : group.block_size), hashed_tokens);
      }
      const int length = lookup(r, group, limit, drop, alignment);
      if (drop) {
        eagle_done_[i] = 1;
      } else if (length < current) {
        std::fill(eagle_done_.begin(), eagle_done_.end(), 0);
      }
      current = lengths_[i] = length;
      longest = std::max(longest, current);
    }
    if (current >= hit) break;
    hit = current;
    if (one_pass) break;
  }
  for (const LookupGroup& group : lookups_) {
    if (group.kind != Kind::full) continue;
    const std::size_t blocks = ceil_div(hit, group.block_size);
    for (const int g : group.ids)
      if (hit_[g].size() > blocks) hit_[g].resize(blocks);
  }
  Hit result;
  result.tokens = hit;
  result.shared_prefix_boundary = longest > hit ? longest : 0;
  return result;
}

}  // namespace shardwise
