// The scheduler in the plainest words: prefixes are whole token lists in a map, blocks and queues are lists, nothing is
// remembered that could be looked up. It must agree with the fast one on random workloads, record for record. One full
// attention group, synchronous, one batch in flight.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <optional>

#include "base/rng.h"
#include "sim/tick_replay.h"

namespace shardwise {
namespace {

using Tokens = std::vector<std::int64_t>;

struct SlowRequest {
  const TickRequest* input = nullptr;
  Tokens text;  ///< prompt and outputs
  int prompt = 0, computed = 0, cached = 0;
  std::vector<int> blocks;
  double arrival = 0;
  bool prefill_chunk = false;
};

class SlowScheduler {
 public:
  explicit SlowScheduler(const TickWorkload& w) : w_(w), c_(w.config), bs_(w.config.kv_groups[0].block_size) {
    for (int b = 1; b < c_.num_blocks; ++b) free_.push_back(b);
  }

  std::vector<TickRecord> run() {
    std::vector<TickRecord> records;
    for (const TickRequest& r : w_.requests) all_[r.id].input = &r;
    bool finished_before = false;
    for (int tick = 0; tick < 5000; ++tick) {
      TickRecord rec;
      rec.tick = tick;
      for (const TickRequest& r : w_.requests)
        if (r.arrive == tick) arrive(r, tick, rec);
      const bool active = !running_.empty() || !waiting_.empty() || finished_before;
      if (active) {
        schedule(rec);
        finished_before = update(rec);
      }
      if (active || !rec.added.empty()) records.push_back(rec);
    }
    return records;
  }

 private:
  void arrive(const TickRequest& r, int tick, TickRecord& rec) {
    SlowRequest& s = all_[r.id];
    for (const TokenRun& run : r.prompt)
      for (std::int64_t i = 0; i < run.count; ++i) s.text.push_back(run.first + i);
    s.prompt = static_cast<int>(s.text.size());
    s.arrival = tick + static_cast<double>(r.id) * 1e-4;
    waiting_.push_back(r.id);
    rec.added.push_back(r.id);
  }

  std::list<std::int64_t>::iterator first_waiting() {
    if (c_.policy == SchedulerConfig::Policy::fcfs) return waiting_.begin();
    return std::min_element(waiting_.begin(), waiting_.end(), [&](auto a, auto b) { return key(a) < key(b); });
  }
  std::pair<int, double> key(std::int64_t id) { return {all_[id].input->priority, all_[id].arrival}; }

  Tokens prefix(const SlowRequest& r, int blocks) const {
    return Tokens(r.text.begin(), r.text.begin() + std::ptrdiff_t{blocks} * bs_);
  }

  int take_block() {
    const int b = free_.front();
    free_.pop_front();
    if (const auto it = text_of_.find(b); it != text_of_.end()) {
      auto& holders = cache_[it->second];
      holders.erase(std::find(holders.begin(), holders.end(), b));
      if (holders.empty()) cache_.erase(it->second);
      text_of_.erase(it);
    }
    references_[b] = 1;
    return b;
  }

  void free_blocks(SlowRequest& r) {
    std::list<int> front;
    for (auto it = r.blocks.rbegin(); it != r.blocks.rend(); ++it) {
      if (--references_[*it] > 0) continue;
      if (text_of_.count(*it)) {
        free_.push_back(*it);
      } else {
        front.push_back(*it);
      }
    }
    free_.splice(free_.begin(), front);
    r.blocks.clear();
    r.cached = 0;
  }

  std::vector<int> hits(const SlowRequest& r) const {
    std::vector<int> found;
    if (!c_.enable_prefix_caching) return found;
    for (int n = 1; n * bs_ <= static_cast<int>(r.text.size()) - 1; ++n) {
      const auto it = cache_.find(prefix(r, n));
      if (it == cache_.end()) break;
      found.push_back(it->second.front());
    }
    return found;
  }

  bool allocate(SlowRequest& r, int tokens, const std::vector<int>& hit, bool admission, bool others_running) {
    const int computed = r.computed + static_cast<int>(hit.size()) * bs_;
    const int used =
        static_cast<int>(std::count_if(hit.begin(), hit.end(), [&](int b) { return references_[b] == 0; }));
    const int reserve = admission && others_running ? static_cast<int>(c_.watermark * c_.num_blocks) : 0;
    const auto needed = [&](int upto) {
      const int held = static_cast<int>(r.blocks.size() + hit.size());
      return std::max(0, (upto + bs_ - 1) / bs_ - held) + used + reserve;
    };
    const int available = static_cast<int>(free_.size());
    if (admission && c_.scheduler_reserve_full_isl &&
        needed(std::min<int>(static_cast<int>(r.text.size()), c_.max_model_len)) > available)
      return false;
    const int upto = std::min(computed + tokens, c_.max_model_len);
    if (needed(upto) > available) return false;
    for (const int b : hit)
      if (references_[b]++ == 0) free_.remove(b);
    r.blocks.insert(r.blocks.end(), hit.begin(), hit.end());
    r.cached += static_cast<int>(hit.size());
    while (static_cast<int>(r.blocks.size()) * bs_ < upto) r.blocks.push_back(take_block());
    if (!c_.enable_prefix_caching) return true;
    const int full = std::min<int>(computed + tokens, static_cast<int>(r.text.size())) / bs_;
    for (; r.cached < full; ++r.cached) {
      const int b = r.blocks[static_cast<std::size_t>(r.cached)];
      text_of_[b] = prefix(r, r.cached + 1);
      cache_[text_of_[b]].push_back(b);
    }
    return true;
  }

  void preempt(std::int64_t victim, TickRecord& rec) {
    SlowRequest& r = all_[victim];
    running_.erase(std::find(running_.begin(), running_.end(), victim));
    free_blocks(r);
    r.computed = 0;
    waiting_.push_front(victim);
    rec.preempted.push_back(victim);
  }

  void schedule(TickRecord& rec) {
    int budget = c_.max_num_batched_tokens;
    const std::size_t eligible = running_.size() + waiting_.size();
    const int threshold = eligible > 1 ? c_.long_prefill_token_threshold : 0;
    const auto limit = [&](int n) { return threshold > 0 ? std::min(n, threshold) : n; };
    std::map<std::int64_t, int> given;
    std::vector<std::int64_t> order;
    for (std::size_t i = 0; i < running_.size() && budget > 0;) {
      const std::int64_t id = running_[i];
      SlowRequest& r = all_[id];
      int n = std::min(limit(static_cast<int>(r.text.size()) - r.computed), budget);
      n = std::min(n, c_.max_model_len - r.computed - 1);
      if (n <= 0) {
        ++i;
        continue;
      }
      bool gone = false;
      while (!gone && !allocate(r, n, {}, false, true)) {
        const std::int64_t victim =
            c_.policy == SchedulerConfig::Policy::fcfs
                ? running_.back()
                : *std::max_element(running_.begin(), running_.end(), [&](auto a, auto b) { return key(a) < key(b); });
        const auto at =
            static_cast<std::size_t>(std::find(running_.begin(), running_.end(), victim) - running_.begin());
        if (at < i) --i;
        if (given.count(victim)) {
          budget += given[victim];
          given.erase(victim);
          order.erase(std::find(order.begin(), order.end(), victim));
        }
        preempt(victim, rec);
        gone = victim == id;
      }
      if (gone) break;
      given[id] = n;
      order.push_back(id);
      budget -= n;
      ++i;
    }
    while (rec.preempted.empty() && budget > 0 && !waiting_.empty() &&
           static_cast<int>(running_.size()) < c_.max_num_seqs) {
      const auto first = first_waiting();
      SlowRequest& r = all_[*first];
      const std::vector<int> hit = hits(r);
      const int computed = static_cast<int>(hit.size()) * bs_;
      int n = limit(static_cast<int>(r.text.size()) - computed);
      if (!c_.enable_chunked_prefill && n > budget) break;
      n = std::min(n, budget);
      if (!allocate(r, n, hit, true, !running_.empty())) break;
      r.computed = computed;
      given[*first] = n;
      order.push_back(*first);
      running_.push_back(*first);
      budget -= n;
      waiting_.erase(first);
    }
    for (const std::int64_t id : order) {
      SlowRequest& r = all_[id];
      rec.ids.push_back(id);
      rec.tokens.push_back(given[id]);
      rec.context.push_back(r.computed);
      r.computed += given[id];
      r.prefill_chunk = r.computed < static_cast<int>(r.text.size());
    }
    std::sort(rec.preempted.begin(), rec.preempted.end());
    rec.free_after_schedule = static_cast<int>(free_.size());
    rec.running = static_cast<int>(running_.size());
    rec.waiting = static_cast<int>(waiting_.size());
  }

  bool update(TickRecord& rec) {
    for (const std::int64_t id : rec.ids) {
      SlowRequest& r = all_[id];
      if (r.prefill_chunk) continue;
      const int position = static_cast<int>(r.text.size()) - r.prompt;
      r.text.push_back(r.input->output_first + position);
      const bool full = static_cast<int>(r.text.size()) >= c_.max_model_len || position + 1 >= r.input->max_tokens;
      if (position != r.input->eos_at && !full) continue;
      free_blocks(r);
      rec.finished.push_back(id);
      running_.erase(std::find(running_.begin(), running_.end(), id));
    }
    rec.free_after_update = static_cast<int>(free_.size());
    return !rec.finished.empty();
  }

  const TickWorkload& w_;
  const SchedulerConfig& c_;
  int bs_;
  std::map<std::int64_t, SlowRequest> all_;
  std::vector<std::int64_t> running_;
  std::list<std::int64_t> waiting_;
  std::list<int> free_;
  std::map<int, int> references_;
  std::map<int, Tokens> text_of_;
  std::map<Tokens, std::vector<int>> cache_;
};

TickWorkload random_workload(std::uint64_t seed) {
  Rng rng(seed);
  TickWorkload w;
  SchedulerConfig& c = w.config;
  c.version = {0, 32, 0};  // what the slow scheduler above follows
  const int bs = static_cast<int>(rng.uniform_int(1, 12));
  c.kv_groups[0].block_size = bs;
  c.max_num_seqs = static_cast<int>(rng.uniform_int(1, 12));
  c.max_num_batched_tokens = static_cast<int>(rng.uniform_int(c.max_num_seqs, 150));
  c.max_model_len = static_cast<int>(rng.uniform_int(12 * bs, 40 * bs));
  c.num_blocks = static_cast<int>(rng.uniform_int(50, 90));
  c.enable_prefix_caching = rng.uniform() < 0.8;
  c.enable_chunked_prefill = rng.uniform() < 0.9;
  if (!c.enable_chunked_prefill) c.max_num_batched_tokens = std::max(c.max_num_batched_tokens, c.max_model_len);
  c.scheduler_reserve_full_isl = rng.uniform() < 0.6;
  c.watermark = rng.uniform() < 0.3 ? 0.1 : 0;
  c.long_prefill_token_threshold = rng.uniform() < 0.3 ? static_cast<int>(rng.uniform_int(5, 50)) : 0;
  if (rng.uniform() < 0.4) c.policy = SchedulerConfig::Policy::priority;
  for (int i = 0; i < 30; ++i) {
    TickRequest r;
    r.id = i;
    std::int64_t room = std::min(10 * bs, c.max_model_len - 2);
    if (rng.uniform() < 0.7)
      r.prompt.push_back(
          {5'000'000 + rng.uniform_int(0, 1) * 1000, rng.uniform_int(1, std::min<std::int64_t>(5 * bs, room - 1))});
    if (i > 5 && rng.uniform() < 0.3)
      r.prompt = w.requests[static_cast<std::size_t>(rng.uniform_int(0, i - 1))].prompt;  // a full repeat
    for (const TokenRun& run : r.prompt) room -= run.count;
    if (room > 0 && rng.uniform() < 0.8) r.prompt.push_back({10'000'000 + i * 10'000, rng.uniform_int(1, room)});
    if (r.prompt.empty()) r.prompt.push_back({10'000'000 + i * 10'000, 1});
    r.max_tokens = static_cast<int>(rng.uniform_int(1, 8 * bs));
    if (rng.uniform() < 0.2) r.eos_at = static_cast<int>(rng.uniform_int(0, r.max_tokens - 1));
    r.arrive = static_cast<int>(rng.uniform_int(0, 80));
    r.priority = static_cast<int>(rng.uniform_int(0, 3));
    r.output_first = 1'000'000'000 + i * 100'000;
    w.requests.push_back(r);
  }
  std::stable_sort(w.requests.begin(), w.requests.end(),
                   [](const auto& a, const auto& b) { return a.arrive < b.arrive; });
  return w;
}

TEST(SlowScheduler, AgreesWithTheFastOne) {
  int preemptions = 0, hits = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(seed);
    const TickWorkload w = random_workload(seed);
    const std::vector<TickRecord> slow = SlowScheduler(w).run();
    std::size_t at = 0;
    const TickSummary summary = replay_ticks(w, [&](const TickRecord& fast) {
      ASSERT_LT(at, slow.size());
      const TickRecord& expect = slow[at++];
      ASSERT_EQ(fast.tick, expect.tick);
      ASSERT_EQ(fast.ids, expect.ids) << "tick " << fast.tick;
      ASSERT_EQ(fast.tokens, expect.tokens) << "tick " << fast.tick;
      ASSERT_EQ(fast.context, expect.context) << "tick " << fast.tick;
      ASSERT_EQ(fast.preempted, expect.preempted) << "tick " << fast.tick;
      ASSERT_EQ(fast.finished, expect.finished) << "tick " << fast.tick;
      ASSERT_EQ(fast.free_after_schedule, expect.free_after_schedule) << "tick " << fast.tick;
      ASSERT_EQ(fast.waiting, expect.waiting) << "tick " << fast.tick;
    });
    ASSERT_FALSE(testing::Test::HasFailure());
    ASSERT_EQ(at, slow.size());
    preemptions += static_cast<int>(summary.preemptions);
    hits += static_cast<int>(summary.prefix_cache.hits);
  }
  EXPECT_GT(preemptions, 500);  // the cases are not idle ones
  EXPECT_GT(hits, 10000);
}

}  // namespace
}  // namespace shardwise
