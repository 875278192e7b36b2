// What stays in the prefix cache: cache_blocks, reachable_block_mask and the partial tails of the managers.
#include <algorithm>
#include <cassert>

#include "base/units.h"
#include "sim/kv_cache.h"

namespace shardwise {
namespace {

/// get_mamba_prefill_checkpoint_position: the last state of a prompt that a resend can start from.
int checkpoint_position(int num_tokens, int unit, bool drop_eagle_block, int hash_lookahead) {
  const int limit = drop_eagle_block ? num_tokens : num_tokens - std::max(1, hash_lookahead);
  return std::max(limit / unit * unit - (drop_eagle_block ? unit : 0), 0);
}

}  // namespace

int KvCache::cacheable_tokens(int computed, const Group& group) const {
  if (groups_.size() == 1) return computed;
  const int aligned = partial_hits_ ? computed : computed / align_ * align_;
  if (!group.use_eagle || aligned <= 0) return aligned;
  return std::min(computed, aligned + group.block_size);  // EAGLE matches one block more, then drops it
}

void KvCache::cache_all_groups(SchedulerRequest& r, int num_computed_tokens) {
  for (int g = 0; g < static_cast<int>(groups_.size()); ++g)
    cache_group(r, g, cacheable_tokens(num_computed_tokens, groups_[g]));
}

void KvCache::cache_group(SchedulerRequest& r, int g, int num_tokens) {
  const Group& group = groups_[g];
  GroupBlocks& own = r.groups[g];
  const int full = std::min(num_tokens, hashed_units(r) * unit_) / group.block_size,
            before = own.tracked ? own.num_cached : 0;
  if (full > before) {
    boundaries_.clear();
    if (!eagle_) {
      boundaries_.push_back(r.num_prompt_tokens - 1);
    } else {
      boundaries_.push_back(std::max((r.num_prompt_tokens - 1) / align_ * align_ - align_, 0));
      boundaries_.push_back(std::max(r.num_prompt_tokens / align_ * align_ - align_, 0));
    }
    if (r.shared_prefix_boundary > 0) boundaries_.push_back(r.shared_prefix_boundary);
    const bool all = retained(group, before, full, r.shared_prefix_boundary);
    const int units = group.block_size / unit_;
    for (int i = before; i < full; ++i) {
      const std::int32_t block = own.blocks[i];
      if (block == BlockPool::kNull || (!all && !mask_[i - before])) continue;
      Key k = key(r, (i + 1) * units - 1);
      k.group = g;
      if (pool_.cached(block)) pool_.uncache(block);  // a partial entry becomes a full one
      pool_.cache(block, k);
    }
    own.num_cached = full;
    own.tracked = true;
  }
  if (group.kind == Kind::full && group.block_size != unit_) cache_full_tail(r, g, num_tokens);
  if (group.kind != Kind::mamba) return;
  const int after = own.tracked ? own.num_cached : 0;
  if (group.align) cache_mamba_tail(r, g, num_tokens);
  for (int i = before; i < after; ++i) {
    const std::int32_t block = own.blocks[i];
    if (block != BlockPool::kNull && pool_.cached(block)) cached_this_step_.push_back(pool_.key(block));
  }
}

/// Fills mask_ for blocks [start, end); true = keep all.
bool KvCache::retained(const Group& group, int start, int end, int) {
  const auto interval = config_.prefix_cache_retention_interval;
  const int alignment = partial_hits_ ? unit_ : align_;
  if (group.kind == Kind::sliding_window) {
    if (alignment % group.block_size != 0) return true;
    const int need = static_cast<int>(ceil_div(group.window - 1, group.block_size)) + (group.use_eagle ? 1 : 0);
    if (!interval || *interval > 0) {
      const int per_segment = (interval ? *interval : alignment) / group.block_size;
      if (need >= per_segment) return true;
    }
    retain_window(group, start, end);
    return false;
  }
  if (group.kind == Kind::mamba) {
    if (!interval) return true;
    if (*interval > 0 && *interval / group.block_size <= 1) return true;
    retain_mamba(group, start, end);
    return false;
  }
  return true;
}

/// Keeps `blocks` blocks up to and including last_block.
void KvCache::mark_boundary(int start, int end, int last_block, int blocks) {
  for (int i = std::max(start, last_block + 1 - blocks); i < std::min(end, last_block + 1); ++i) mask_[i - start] = 1;
}

void KvCache::retain_window(const Group& group, int start, int end) {
  const auto interval = config_.prefix_cache_retention_interval;
  const int alignment = partial_hits_ ? unit_ : align_, bs = group.block_size;
  const int shift = group.use_eagle ? 1 : 0;
  const int need = static_cast<int>(ceil_div(group.window - 1, bs)) + shift;
  mask_.assign(end - start, 0);
  if (!interval || *interval > 0) {
    const int per_segment = (interval ? *interval : alignment) / bs;
    for (int i = std::max(start, shift); i < end; ++i)
      if ((i - shift) % per_segment >= per_segment - need) mask_[i - start] = 1;
  }
  if (interval)
    for (const int boundary : boundaries_)
      mark_boundary(start, end, boundary / alignment * alignment / bs + shift - 1, need);
}

void KvCache::retain_mamba(const Group& group, int start, int end) {
  const int interval = *config_.prefix_cache_retention_interval;
  const int alignment = partial_hits_ ? unit_ : align_, bs = group.block_size;
  mask_.assign(end - start, 0);
  if (interval > 0) {
    const int per_segment = interval / bs;
    for (int i = (start + per_segment) / per_segment * per_segment - 1; i < end; i += per_segment) mask_[i - start] = 1;
  }
  for (const int boundary : boundaries_) mark_boundary(start, end, boundary / alignment * alignment / bs - 1, 1);
}

void KvCache::cache_partial(SchedulerRequest& r, std::int32_t block, int num_tokens, int g) {
  Key k = key(r, num_tokens / unit_ - 1);
  k.group = g;
  if (!pool_.cached_under(block, k) && pool_.cached(block)) {
    const Key& old = pool_.key(block);
    if (tree_.tokens(old.node, old.place) < num_tokens) pool_.uncache(block);
  }
  pool_.cache(block, k);
}

void KvCache::cache_full_tail(SchedulerRequest& r, int g, int num_tokens) {
  const Group& group = groups_[g];
  const GroupBlocks& own = r.groups[g];
  const int limit = group.use_eagle ? r.num_prompt_tokens : r.num_prompt_tokens - 1;
  const int boundary = limit / unit_ * unit_;
  if (boundary == 0 || boundary > num_tokens || boundary % group.block_size == 0) return;
  const int index = boundary / group.block_size;
  if (index >= static_cast<int>(own.blocks.size()) || own.blocks[index] == BlockPool::kNull) return;
  cache_partial(r, own.blocks[index], boundary, g);
}

void KvCache::cache_mamba_tail(SchedulerRequest& r, int g, int num_tokens) {
  const Group& group = groups_[g];
  GroupBlocks& own = r.groups[g];
  if (num_tokens <= 0 || num_tokens % unit_ != 0) return;
  if (num_tokens != checkpoint_position(r.num_prompt_tokens, unit_, eagle_, hash_lookahead_)) return;
  const int index = static_cast<int>(ceil_div(num_tokens, group.block_size)) - 1;
  if (index >= static_cast<int>(own.blocks.size())) return;
  const std::int32_t block = own.blocks[index];
  if (block == BlockPool::kNull) return;
  if (config_.since_0_33() && pool_.cached(block) &&
      tree_.tokens(pool_.key(block).node, pool_.key(block).place) == num_tokens)
    return;  // kept there already
  cache_partial(r, block, num_tokens, g);
  Key k = key(r, num_tokens / unit_ - 1);
  k.group = g;
  cached_this_step_.push_back(k);
  if (num_tokens % group.block_size == 0) return;
  own.partial_index = index;
  own.partial_block = block;
  own.num_cached = index;
  own.tracked = true;
}

}  // namespace shardwise
