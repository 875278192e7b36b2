#include "sim/kv_runs.h"

#include <algorithm>
#include <cassert>

namespace shardwise {
namespace {

bool all_equal(const std::int32_t* values, std::int32_t count, std::int32_t value) {
  std::int32_t different = 0;
  for (std::int32_t i = 0; i < count; ++i) different |= values[i] ^ value;
  return different == 0;
}

}  // namespace

/// The blocks from `block` on, below `end`, that lie in one node, as places.
RunCache::Stretch RunCache::stretch(SchedulerRequest& r, int block, int end) {
  const std::int64_t last = (static_cast<std::int64_t>(block) + 1) * block_size_ - 1;
  if (last >= r.path_prompt_end && !r.output_on_path) tree_.open_output(r);
  std::size_t at = static_cast<std::size_t>(r.path_hint);
  while (r.path[at].start > last) --at;
  while (at + 1 < r.path.size() && r.path[at + 1].start <= last) ++at;
  r.path_hint = static_cast<std::int32_t>(at);
  // Block b belongs to the node of its last token: up to the next step's start, and for outputs not opened yet the
  // prompt's end.
  std::int64_t limit = end;
  if (at + 1 < r.path.size()) {
    limit = std::min<std::int64_t>(limit, r.path[at + 1].start / block_size_);
  } else if (!r.output_on_path) {
    limit = std::min<std::int64_t>(limit, r.path_prompt_end / block_size_);
  }
  return {r.path[at].node, tree_.place(r.path[at], block), static_cast<std::int32_t>(limit - block)};
}

RunCache::Hit RunCache::find_hit(SchedulerRequest& r, int max_blocks) {
  Hit hit;
  while (hit.blocks < max_blocks) {
    const Stretch s = stretch(r, hit.blocks, max_blocks);
    const std::int32_t there = std::min(s.count, tree_.capacity(s.node) - s.place);
    const std::int32_t* slots = there > 0 ? tree_.entries(s.node, s.place, there) : nullptr;
    for (std::int32_t i = 0; i < there; ++i) {
      if (slots[i] == kNone) return hit;
      hit.last_evictable = first_references(s.node, s.place + i, slots[i]) == 0;
      hit.evictable += hit.last_evictable;
      ++hit.blocks;
    }
    if (there < s.count) return hit;
  }
  return hit;
}

void RunCache::adopt(SchedulerRequest& r, int blocks) {
  for (int block = 0; block < blocks;) {
    const Stretch s = stretch(r, block, blocks);
    std::int32_t free_from = -1;  // start of a stretch of free blocks
    const auto close = [&](std::int32_t place) {
      if (free_from >= 0) remove_range(s.node, free_from, place - 1, 0);
      free_from = -1;
    };
    for (std::int32_t i = 0; i < s.count; ++i) {
      const std::int32_t place = s.place + i;
      std::int32_t& slot = tree_.entry_ref(s.node, place, 0);
      if (slot >= 0) {
        if (slot++ > 0) {
          close(place);
        } else if (free_from < 0) {
          free_from = place;
        }
        continue;
      }
      close(place);
      Copy& copy = copies_.at(place_key(s.node, place)).front();
      if (copy.references++ == 0) remove_range(s.node, place, place, copy.tag);
      if (copy.tag != 0) r.copies.emplace_back(block + i, copy.tag);
    }
    close(s.place + s.count);
    block += s.count;
  }
  r.num_blocks = r.num_cached_blocks = blocks;
}

void RunCache::extend(SchedulerRequest& r, int required_blocks) {
  const int more = required_blocks - r.num_blocks;
  if (more <= 0) return;
  evict(more);
  r.num_blocks = required_blocks;
}

void RunCache::evict(int count) {
  assert(count <= free_);
  free_ -= count;
  const int empty = std::min(count, loose_);
  loose_ -= empty;
  count -= empty;
  while (count > 0) {
    const std::int32_t id = front_;
    Run& run = runs_[static_cast<std::size_t>(id)];
    const std::int32_t n = std::min(count, run.high - run.low + 1), node = run.node;
    std::int32_t* slots = tree_.entries(node, run.high - n + 1, n);
    if (run.tag == 0 && all_equal(slots, n, 0)) {
      std::fill_n(slots, n, kNone);
    } else {
      for (std::int32_t i = 0; i < n; ++i) evict_place(run, run.high - i);
    }
    run.high -= n;
    if (run.high < run.low) unlink(id);
    count -= n;
    tree_.release(node, n);
  }
}

void RunCache::evict_place(const Run& run, std::int32_t place) {
  std::int32_t& slot = tree_.entry_ref(run.node, place, 0);
  if (slot != kSeveral) {
    slot = kNone;
    return;
  }
  const auto it = copies_.find(place_key(run.node, place));
  std::erase_if(it->second, [&](const Copy& c) { return c.tag == run.tag; });
  if (!it->second.empty()) return;
  copies_.erase(it);
  slot = kNone;
}

void RunCache::cache(SchedulerRequest& r, int blocks) {
  for (int block = r.num_cached_blocks; block < blocks;) {
    const Stretch s = stretch(r, block, blocks);
    std::int32_t* slots = tree_.entries(s.node, s.place, s.count);
    if (all_equal(slots, s.count, kNone)) {
      std::fill_n(slots, s.count, 1);
    } else {
      for (std::int32_t i = 0; i < s.count; ++i) cache_place(r, block + i, s.node, s.place + i);
    }
    tree_.retain(s.node, s.count);
    block += s.count;
  }
  r.num_cached_blocks = std::max(r.num_cached_blocks, blocks);
}

void RunCache::cache_place(SchedulerRequest& r, int block, std::int32_t node, std::int32_t place) {
  std::int32_t& slot = tree_.entry_ref(node, place, 0);
  if (slot == kNone) {
    slot = 1;
    return;
  }
  auto& copies = copies_[place_key(node, place)];
  if (slot >= 0) copies.push_back({0, slot});
  slot = kSeveral;
  const std::int32_t tag = copies.back().tag + 1;
  copies.push_back({tag, 1});
  r.copies.emplace_back(block, tag);
}

void RunCache::free(SchedulerRequest& r) {
  free_ += r.num_blocks - r.num_cached_blocks;
  loose_ += r.num_blocks - r.num_cached_blocks;
  // From the last block to the first; a path step is a stretch.
  int end = r.num_cached_blocks;
  for (std::size_t at = r.path.size(); end > 0; --at) {
    const PathStep& step = r.path[at - 1];
    const int begin = static_cast<int>(step.start / block_size_);
    if (begin >= end) continue;
    const std::int32_t low = tree_.place(step, begin), count = end - begin;
    std::int32_t* slots = tree_.entries(step.node, low, count);
    if (all_equal(slots, count, 1)) {
      std::fill_n(slots, count, 0);
      append(step.node, low, low + count - 1, 0);
    } else {
      for (std::int32_t i = count; i-- > 0;) free_place(r, begin + i, step.node, low + i);
    }
    end = begin;
  }
  r.num_blocks = r.num_cached_blocks = 0;
  r.copies.clear();
}

void RunCache::free_place(SchedulerRequest& r, int block, std::int32_t node, std::int32_t place) {
  std::int32_t& slot = tree_.entry_ref(node, place, 0);
  if (slot >= 0) {
    if (--slot == 0) append(node, place, place, 0);
    return;
  }
  std::int32_t tag = 0;
  for (const auto& [index, t] : r.copies)
    if (index == block) tag = t;
  for (Copy& copy : copies_.at(place_key(node, place)))
    if (copy.tag == tag && --copy.references == 0) append(node, place, place, tag);
}

std::int32_t RunCache::new_run(std::int32_t node, std::int32_t low, std::int32_t high, std::int32_t tag) {
  std::int32_t id;
  if (spare_runs_.empty()) {
    id = static_cast<std::int32_t>(runs_.size());
    runs_.emplace_back();
  } else {
    id = spare_runs_.back();
    spare_runs_.pop_back();
  }
  std::int32_t& of_node = tree_.list(node);
  runs_[static_cast<std::size_t>(id)] = {node, low, high, tag, -1, -1, -1, of_node};
  if (of_node >= 0) runs_[static_cast<std::size_t>(of_node)].node_previous = id;
  of_node = id;
  return id;
}

void RunCache::insert_after(std::int32_t at, std::int32_t id) {
  Run& run = runs_[static_cast<std::size_t>(id)];
  run.previous = at;
  run.next = at < 0 ? front_ : runs_[static_cast<std::size_t>(at)].next;
  (run.previous < 0 ? front_ : runs_[static_cast<std::size_t>(run.previous)].next) = id;
  (run.next < 0 ? back_ : runs_[static_cast<std::size_t>(run.next)].previous) = id;
}

void RunCache::unlink(std::int32_t id) {
  Run& run = runs_[static_cast<std::size_t>(id)];
  (run.previous < 0 ? front_ : runs_[static_cast<std::size_t>(run.previous)].next) = run.next;
  (run.next < 0 ? back_ : runs_[static_cast<std::size_t>(run.next)].previous) = run.previous;
  (run.node_previous < 0 ? tree_.list(run.node) : runs_[static_cast<std::size_t>(run.node_previous)].node_next) =
      run.node_next;
  if (run.node_next >= 0) runs_[static_cast<std::size_t>(run.node_next)].node_previous = run.node_previous;
  spare_runs_.push_back(id);
}

void RunCache::append(std::int32_t node, std::int32_t low, std::int32_t high, std::int32_t tag) {
  free_ += high - low + 1;
  if (back_ >= 0) {
    Run& last = runs_[static_cast<std::size_t>(back_)];
    if (last.node == node && last.tag == tag && last.low == high + 1) {
      last.low = low;
      return;
    }
  }
  insert_after(back_, new_run(node, low, high, tag));
}

/// Takes free places out of the queue: from an end of a run, or out of its middle.
void RunCache::remove_range(std::int32_t node, std::int32_t low, std::int32_t high, std::int32_t tag) {
  free_ -= high - low + 1;
  for (std::int32_t id = tree_.list(node); id >= 0;) {
    Run& run = runs_[static_cast<std::size_t>(id)];
    const std::int32_t next = run.node_next;
    if (run.tag == tag && run.low <= high && run.high >= low) {
      const std::int32_t below = run.low, above = run.high;
      if (below >= low && above <= high) {
        unlink(id);
      } else if (below >= low) {
        run.low = high + 1;
      } else {
        run.high = low - 1;
        if (above > high) {  // the upper part stays in front
          const std::int32_t before = run.previous;
          insert_after(before, new_run(node, high + 1, above, tag));
        }
      }
    }
    id = next;
  }
}

}  // namespace shardwise
