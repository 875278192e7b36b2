#include "sim/kv_cache.h"

#include <algorithm>
#include <cassert>
#include <limits>

#include "base/units.h"

namespace shardwise {
namespace {

constexpr int kNever = std::numeric_limits<int>::max();

bool one_full_group(const SchedulerConfig& config) {
  return config.kv_groups.size() == 1 && config.kv_groups[0].kind == SchedulerConfig::KvGroup::Kind::full;
}

}  // namespace

KvCache::KvCache(const SchedulerConfig& config)
    : config_(config),
      unit_(config.hash_block_size()),
      align_(config.scheduler_block_size()),
      tree_(config.hash_block_size(), static_cast<int>(config.kv_groups.size())),
      runs_(one_full_group(config)
                ? std::optional<RunCache>(std::in_place, config.num_blocks, config.scheduler_block_size(), tree_)
                : std::nullopt),
      pool_(runs_ ? 2 : config.num_blocks, config.enable_prefix_caching, tree_) {
  using Speculation = SchedulerConfig::Speculation;
  const bool eagle = config.speculation == Speculation::eagle;
  hash_lookahead_ = config.num_hash_lookahead_tokens();
  eagle_ = eagle && hash_lookahead_ == 0;
  if (eagle || config.speculation == Speculation::draft_model) lookahead_ = config.num_speculative_tokens;
  watermark_blocks_ = static_cast<int>(config.watermark * config.num_blocks);
  const int in_flight = config.max_concurrent_batches() * config.max_num_batched_tokens;
  bool finer_states = false, fine_lookups = true;
  for (const auto& spec : config.kv_groups) {
    Group group{spec.kind, config.tokens_per_block(spec), 0, spec.mamba_align, false, kNever};
    // The caps count blocks of the specification, however many ranks a block spans (max_admission_blocks_per_request).
    if (spec.kind == Kind::sliding_window) {
      group.window = spec.sliding_window;
      group.max_admission_blocks =
          static_cast<int>(ceil_div(std::min(group.window - 1 + in_flight, config.max_model_len), spec.block_size)) + 1;
    } else if (spec.kind == Kind::chunked_local) {
      group.window = spec.attention_chunk_size;
      group.max_admission_blocks =
          static_cast<int>(ceil_div(std::min(group.window + in_flight, config.max_model_len), spec.block_size));
    }
    const bool dcp = config.decode_context_parallel_size > 1;
    finer_states |= spec.kind == Kind::mamba && spec.mamba_align &&
                    (group.block_size > unit_ || (dcp && group.block_size >= unit_));
    fine_lookups &= spec.kind == Kind::full || spec.kind == Kind::mamba || group.block_size == unit_;
    groups_.push_back(group);
  }
  const bool hybrid = config.enable_prefix_caching && groups_.size() > 1;
  partial_hits_ = hybrid && finer_states && fine_lookups;  // partial_hash_hits_enabled
  for (int g = 0; g < static_cast<int>(groups_.size()); ++g) {
    const auto same = [&](const LookupGroup& l) { return config.kv_groups[l.ids[0]] == config.kv_groups[g]; };
    const auto it = std::find_if(lookups_.begin(), lookups_.end(), same);
    if (it != lookups_.end()) {
      it->ids.push_back(g);
    } else {
      lookups_.push_back({groups_[g].kind, groups_[g].block_size, groups_[g].window, eagle_, {g}});
    }
    if (config.enable_prefix_caching) groups_[g].use_eagle = eagle_;
  }
  std::stable_partition(lookups_.begin(), lookups_.end(), [](const LookupGroup& l) { return l.kind == Kind::full; });
  quick_ = std::all_of(groups_.begin(), groups_.end(), [&](const Group& g) {
    return !config.enable_prefix_caching || (!g.align && (g.kind != Kind::full || g.block_size == unit_));
  });
  hit_.resize(groups_.size());
}

void KvCache::open(SchedulerRequest& r, std::span<const TokenRun> prompt) {
  if (!runs_) r.groups.resize(groups_.size());
  if (!config_.enable_prefix_caching) return;
  r.path.clear();
  r.path_hint = 0;
  r.output_on_path = false;
  // Positions on the path count from behind the tokens that hashes look ahead: unit i then ends where its hash does.
  std::int64_t start = -hash_lookahead_, expected = 0;
  r.path_prompt_end = r.num_prompt_tokens - hash_lookahead_;
  for (const TokenRun& run : prompt) {
    if (run.count <= 0) continue;
    if (r.path.empty() || run.first != expected) {
      const std::int32_t parent = r.path.empty() ? PrefixTree::kRoot : r.path.back().node;
      r.path.push_back({tree_.acquire(parent, start, run.first), start, run.first});
    }
    start += run.count;
    expected = run.first + run.count;
  }
}

void KvCache::close(SchedulerRequest& r) {
  for (std::size_t i = r.path.size(); i-- > 0;) tree_.release(r.path[i].node);
  r.path.clear();
}

void KvCache::step_ends() {
  for (const auto& [source, copy] : copies_) {
    freed_.assign({source, copy});
    pool_.give_back(freed_);
  }
  copies_.clear();
}

std::int64_t KvCache::blocks_alone(std::int64_t tokens) const {
  constexpr std::int64_t kStates = 2;  // the newest, and the one that it was copied from
  std::int64_t blocks = 0;
  for (const Group& g : groups_)
    blocks += std::min<std::int64_t>(ceil_div(tokens, g.block_size), g.align ? kStates : g.max_admission_blocks);
  return blocks;
}

int KvCache::skipped_tokens(const Group& group, int computed) const {
  switch (group.kind) {
    case Kind::full:
      return 0;
    case Kind::sliding_window:
      return std::max(0, computed - group.window + 1);
    case Kind::chunked_local:
      return computed / group.window * group.window;
    case Kind::mamba:
      return computed - 1;
  }
  return 0;
}

int KvCache::evictable(std::span<const std::int32_t> blocks) const {
  int n = 0;
  for (const std::int32_t b : blocks) n += b != BlockPool::kNull && pool_.references(b) == 0;
  return n;
}

int KvCache::blocks_needed(const SchedulerRequest& r, int g, int num_tokens, bool use_hit, int total_computed,
                           int local_computed, int main_tokens, bool admission_cap) const {
  const Group& group = groups_[g];
  const GroupBlocks& own = r.groups[g];
  const std::span<const std::int32_t> hit =
      use_hit ? std::span<const std::int32_t>(hit_[g]) : std::span<const std::int32_t>();
  if (group.kind == Kind::mamba) {
    // A state cached by another request in this very step does not exist yet: wait for the next step.
    if (!hit.empty() && pool_.cached(hit.back()) &&
        std::find(cached_this_step_.begin(), cached_this_step_.end(), pool_.key(hit.back())) != cached_this_step_.end())
      return pool_.num_blocks() + 1;
    if (group.align) return blocks_needed_mamba_align(r, g, use_hit, local_computed, main_tokens);
  }
  int required = static_cast<int>(ceil_div(num_tokens, group.block_size));
  if (admission_cap) required = std::min(required, group.max_admission_blocks);
  const int held = static_cast<int>(own.blocks.size());
  if (own.tracked) return std::max(required - held, 0);
  const int skipped = std::max(skipped_tokens(group, total_computed), 0) / group.block_size;
  int needed = std::max(required - std::max(skipped, static_cast<int>(hit.size()) + held), 0);
  const std::size_t skipped_hits = std::min(hit.size(), static_cast<std::size_t>(std::max(0, skipped - held)));
  needed += evictable(hit.subspan(skipped_hits));
  if (!hit.empty() && local_computed % group.block_size != 0) ++needed;  // copy on write of the shared last block
  return needed;
}

int KvCache::blocks_needed_mamba_align(const SchedulerRequest& r, int g, bool use_hit, int local_computed,
                                       int main_tokens) const {
  const GroupBlocks& own = r.groups[g];
  const std::span<const std::int32_t> hit =
      use_hit ? std::span<const std::int32_t>(hit_[g]) : std::span<const std::int32_t>();
  int needed =
      static_cast<int>(ceil_div(main_tokens, groups_[g].block_size)) - static_cast<int>(hit.size() + own.blocks.size());
  const bool partial = (!hit.empty() && local_computed % groups_[g].block_size != 0) || own.partial_index >= 0;
  if (partial) needed = std::max(needed, 0) + 1;
  if (needed > 0) needed = std::min(needed, 1 + (partial ? 1 : 0));
  return needed + evictable(hit);
}

void KvCache::give_back_range(GroupBlocks& own, int first, int last) {
  last = std::min(last, static_cast<int>(own.blocks.size()));
  freed_.clear();
  for (int i = last - 1; i >= first && own.blocks[i] != BlockPool::kNull; --i) {
    freed_.push_back(own.blocks[i]);
    own.blocks[i] = BlockPool::kNull;
  }
  pool_.give_back(freed_);
}

void KvCache::retire_mamba_states(GroupBlocks& own, int first, int last) {
  first = std::max(first, own.num_retired);
  last = std::min(last, static_cast<int>(own.blocks.size()));
  if (first >= last) return;
  freed_.clear();
  for (int i = last - 1; i >= first; --i) {
    if (own.blocks[i] == BlockPool::kNull) continue;
    freed_.push_back(own.blocks[i]);
    own.blocks[i] = BlockPool::kNull;
  }
  pool_.give_back(freed_);
  own.num_retired = last;
}

void KvCache::remove_skipped(SchedulerRequest& r, int processed) {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    if (group.kind == Kind::full) continue;
    GroupBlocks& own = r.groups[g];
    if (const int skipped = skipped_tokens(group, processed); skipped > 0) {
      if (group.align) {
        retire_mamba_states(own, 0, skipped / group.block_size);
      } else {
        give_back_range(own, 0, skipped / group.block_size);
      }
    }
    // The state two steps back: the previous step's was copied from it.
    if (group.align && own.last_state >= 0 && own.last_state < ceil_div(processed, group.block_size) - 1 &&
        own.blocks[own.last_state] != BlockPool::kNull) {
      freed_.assign(1, own.blocks[own.last_state]);
      pool_.give_back(freed_);
      own.blocks[own.last_state] = BlockPool::kNull;
    }
  }
}

void KvCache::adopt_hit(SchedulerRequest& r, int g, int local_computed, int total_computed) {
  const Group& group = groups_[g];
  GroupBlocks& own = r.groups[g];
  assert(own.blocks.empty());
  const int skipped = std::max(skipped_tokens(group, total_computed), 0) / group.block_size;
  std::span<const std::int32_t> hit(hit_[g]);
  if (skipped > 0) hit = hit.subspan(std::min(hit.size(), static_cast<std::size_t>(skipped)));
  for (const std::int32_t block : hit) pool_.touch(block);
  own.blocks.assign(skipped, BlockPool::kNull);
  own.blocks.insert(own.blocks.end(), hit.begin(), hit.end());
  own.num_cached = static_cast<int>(own.blocks.size());
  own.tracked = true;
  if (!hit.empty() && local_computed % group.block_size != 0) {
    own.partial_index = local_computed / group.block_size;
    own.partial_block = hit.back();
    own.num_cached = own.partial_index;
  }
}

void KvCache::copy_on_write(GroupBlocks& own, int index, std::int32_t source, std::int32_t copy) {
  own.blocks[index] = copy;
  copies_.emplace_back(source, copy);
  pool_.add_reference(copy);
}

void KvCache::extend(SchedulerRequest& r, int g, int num_tokens, int main_tokens) {
  if (groups_[g].align) return extend_mamba_align(r, g, main_tokens);
  GroupBlocks& own = r.groups[g];
  if (own.partial_index >= 0) {
    copy_on_write(own, own.partial_index, own.partial_block, pool_.take());
    own.partial_index = -1;
  }
  const std::size_t required = ceil_div(num_tokens, groups_[g].block_size);
  while (own.blocks.size() < required) own.blocks.push_back(pool_.take());
}

void KvCache::extend_mamba_align(SchedulerRequest& r, int g, int main_tokens) {
  GroupBlocks& own = r.groups[g];
  const int required = static_cast<int>(ceil_div(main_tokens, groups_[g].block_size));
  const int held = static_cast<int>(own.blocks.size());
  const bool partial = own.partial_index >= 0;
  const bool had_blocks = own.allocated;
  own.allocated = true;
  if (required <= held && !partial) return;
  if (held > 0) own.last_state = held - 1;
  if (held < required - 1) own.blocks.resize(required - 1, BlockPool::kNull);
  if (partial) {
    const std::int32_t copy = pool_.take(), source = own.partial_block;
    // vLLM takes all its new blocks at once, before the cache entries move.
    const bool one_more = static_cast<int>(own.blocks.size()) < required;
    const std::int32_t fresh = one_more ? pool_.take() : BlockPool::kNull;
    if (had_blocks) {
      // A running request stays on its block; the cache keeps the copy.
      pool_.move_entries(source, copy);
      copies_.emplace_back(source, copy);
      pool_.add_reference(source);
      if (pool_.cached(copy)) cached_this_step_.push_back(pool_.key(copy));
    } else {
      copy_on_write(own, own.partial_index, source, copy);
    }
    if (one_more) own.blocks.push_back(fresh);
    own.partial_index = -1;
    return;
  }
  while (static_cast<int>(own.blocks.size()) < required) own.blocks.push_back(pool_.take());
}

bool KvCache::allocate_runs(SchedulerRequest& r, int num_new_tokens, const Admission& admission) {
  const int computed =
      std::min(r.num_computed_tokens + admission.hit_tokens + admission.preloaded_tokens, config_.max_model_len);
  const int main_tokens = computed + num_new_tokens;
  const int hit = admission.use_hit ? run_hit_.blocks : 0;
  const int taken = (admission.use_hit ? run_hit_.evictable : 0) + (admission.watermark ? watermark_blocks_ : 0);
  const int held = r.num_blocks + hit;
  const auto needed = [&](int tokens) { return std::max((tokens + align_ - 1) / align_ - held, 0) + taken; };
  const int available = runs_->free_blocks();
  if (admission.full_sequence_must_fit && needed(std::min(r.num_tokens, config_.max_model_len)) > available)
    return false;
  const int slots = std::min(main_tokens + lookahead_, config_.max_model_len);
  if (needed(slots) > available) return false;
  if (admission.use_hit) runs_->adopt(r, hit);
  runs_->extend(r, (slots + align_ - 1) / align_);
  if (config_.enable_prefix_caching) {
    const int full = std::min(main_tokens, r.num_tokens - hash_lookahead_) / align_;
    if (full > r.num_cached_blocks) runs_->cache(r, full);
  }
  set_quick_until(r);
  return true;
}

bool KvCache::allocate(SchedulerRequest& r, int num_new_tokens, const Admission& admission) {
  if (runs_) return allocate_runs(r, num_new_tokens, admission);
  const int local = r.num_computed_tokens + admission.hit_tokens;
  const int total = std::min(local + admission.preloaded_tokens, config_.max_model_len);
  const int watermark = admission.watermark ? watermark_blocks_ : 0;
  const bool use_hit = admission.use_hit;
  const int count = static_cast<int>(groups_.size());
  if (admission.full_sequence_must_fit) {
    const int full = std::min(r.num_tokens, config_.max_model_len);
    int needed = watermark;
    for (int g = 0; g < count; ++g) needed += blocks_needed(r, g, full, use_hit, total, local, full, true);
    if (needed > pool_.free_blocks()) return false;
  }
  const int main_tokens = total + num_new_tokens;
  const int slots = std::min(main_tokens + lookahead_, config_.max_model_len);
  remove_skipped(r, std::max(0, total - r.num_in_flight_tokens));
  int needed = watermark;
  for (int g = 0; g < count; ++g) needed += blocks_needed(r, g, slots, use_hit, total, local, main_tokens, false);
  if (needed > pool_.free_blocks()) return false;
  if (use_hit)
    for (int g = 0; g < count; ++g) adopt_hit(r, g, local, total);
  for (int g = 0; g < count; ++g) extend(r, g, slots, main_tokens);
  if (config_.enable_prefix_caching) cache_all_groups(r, std::min(main_tokens, r.num_tokens));
  set_window_until(r, std::max(0, total - r.num_in_flight_tokens));
  set_quick_until(r);
  return true;
}

/// Up to how many computed tokens nothing more leaves a window, given that `processed` tokens were looked at.
void KvCache::set_window_until(SchedulerRequest& r, int processed) const {
  r.window_until = kNever;
  for (const Group& g : groups_) {
    const int gone = std::max(skipped_tokens(g, processed), 0) / g.block_size;
    if (g.kind == Kind::sliding_window)
      r.window_until = std::min(r.window_until, (gone + 1) * g.block_size + g.window - 1);
    if (g.kind == Kind::chunked_local) r.window_until = std::min(r.window_until, (processed / g.window + 1) * g.window);
    if (g.kind == Kind::mamba) r.window_until = std::min(r.window_until, (gone + 1) * g.block_size);
  }
}

/// A step needs KV work only when it needs another block, fills one, or moves a window by one.
void KvCache::set_quick_until(SchedulerRequest& r) const {
  if (runs_) {
    r.quick_until = r.num_blocks * align_ - lookahead_ + 1;
    if (config_.enable_prefix_caching) r.quick_until = std::min(r.quick_until, (r.num_cached_blocks + 1) * align_);
    return;
  }
  r.cache_from = quick_ ? kNever : 0;
  int until = r.window_until;
  for (std::size_t g = 0; g < groups_.size() && quick_; ++g) {
    const GroupBlocks& own = r.groups[g];
    const int size = groups_[g].block_size;
    until = std::min(until, static_cast<int>(own.blocks.size()) * size - lookahead_ + 1);
    // The state that the newest was copied from leaves with the first token processed after its block.
    if (groups_[g].align && own.last_state >= 0 && own.blocks[own.last_state] != BlockPool::kNull)
      until = std::min(until, (own.last_state + 1) * size + 1);
    r.cache_from = std::min(r.cache_from, ((own.tracked ? own.num_cached : 0) + 1) * groups_[g].block_size);
  }
  if (config_.enable_prefix_caching) until = std::min(until, r.cache_from);
  r.quick_until = quick_ ? until : 0;
}

void KvCache::free(SchedulerRequest& r) {
  r.quick_until = r.cache_from = 0;
  if (runs_) return runs_->free(r);
  for (GroupBlocks& own : r.groups) {
    pool_.give_back_reversed(own.blocks);
    own.blocks.clear();
    own.num_cached = 0;
    own.tracked = own.allocated = false;
    own.last_state = own.partial_index = -1;
    own.num_retired = 0;
  }
}

}  // namespace shardwise
