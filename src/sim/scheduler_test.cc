#include "sim/scheduler.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "sim/tick_replay.h"

namespace shardwise {
namespace {

NewRequest request(std::int64_t id, const TokenRun& prompt, int max_tokens) {
  NewRequest n;
  n.id = id;
  n.prompt = std::span(&prompt, 1);
  n.max_tokens = max_tokens;
  n.output_first = 1'000'000'000 + id * 100'000;
  return n;
}

TEST(Scheduler, RunningBeforeWaitingWithinTheBudget) {
  SchedulerConfig config;
  config.max_num_batched_tokens = 100;
  Scheduler s(config);
  s.add(request(0, {0, 150}, 4));
  s.add(request(1, {1000, 30}, 4));
  ScheduledStep step;
  s.schedule(false, step);
  ASSERT_EQ(step.rows.size(), 1u);  // the first prompt fills the budget
  EXPECT_EQ(step.rows[0].tokens, 100);
  EXPECT_FALSE(step.rows[0].emits);
  s.schedule(false, step);
  ASSERT_EQ(step.rows.size(), 2u);
  EXPECT_EQ(step.rows[0].tokens, 50);
  EXPECT_TRUE(step.rows[0].emits);
  EXPECT_EQ(step.rows[1].tokens, 30);
}

TEST(Scheduler, ARepeatedAlignedPromptComputesItsLastBlockAgain) {
  SchedulerConfig config;
  Scheduler s(config);
  ScheduledStep step;
  s.add(request(0, {0, 64}, 4));
  s.add(request(1, {0, 64}, 4));
  s.schedule(false, step);
  ASSERT_EQ(step.rows.size(), 2u);
  EXPECT_EQ(step.rows[1].context, 48);  // the blocks of request 0 are hashed when scheduled
  EXPECT_EQ(step.rows[1].tokens, 16);
}

/// A random workload of the given configuration; every record is checked.
void check_invariants(std::uint64_t seed) {
  Rng rng(seed);
  TickWorkload w;
  SchedulerConfig& c = w.config;
  const int bs = 1 << rng.uniform_int(1, 5);
  c.kv_groups[0].block_size = bs;
  c.num_blocks = static_cast<int>(rng.uniform_int(24, 80));
  c.max_num_seqs = static_cast<int>(rng.uniform_int(2, 12));
  c.max_num_batched_tokens = static_cast<int>(rng.uniform_int(16, 200));
  c.enable_prefix_caching = rng.uniform() < 0.7;
  c.async_scheduling = rng.uniform() < 0.5;
  if (rng.uniform() < 0.3) c.policy = SchedulerConfig::Policy::priority;
  if (rng.uniform() < 0.3)
    c.kv_groups.push_back({SchedulerConfig::KvGroup::Kind::sliding_window, bs, 3 * bs, 0, false});
  for (int i = 0; i < 40; ++i) {
    TickRequest r;
    r.id = i;
    if (rng.uniform() < 0.5) r.prompt.push_back({5'000'000, rng.uniform_int(1, 4 * bs)});
    r.prompt.push_back({10'000'000 + i * 10'000, rng.uniform_int(1, 5 * bs)});
    r.max_tokens = static_cast<int>(rng.uniform_int(1, 2 * bs));
    r.arrive = static_cast<int>(rng.uniform_int(0, 60));
    r.priority = static_cast<int>(rng.uniform_int(0, 3));
    r.output_first = 1'000'000'000 + i * 100'000;
    w.requests.push_back(r);
  }
  int free_at_end = 0;
  const TickSummary s = replay_ticks(w, [&](const TickRecord& rec) {
    int tokens = 0;
    for (const int n : rec.tokens) {
      EXPECT_GT(n, 0);
      tokens += n;
    }
    EXPECT_LE(tokens, c.max_num_batched_tokens);
    EXPECT_LE(rec.running, c.max_num_seqs);
    EXPECT_LE(rec.free_after_schedule, c.num_blocks - 1);
    // Work-conserving: nothing runs only while nothing is there, or all is in flight.
    const bool idle = rec.scheduled && tokens == 0 && !c.async_scheduling;
    EXPECT_TRUE(!idle || rec.running + rec.waiting == 0);
    if (rec.updated) free_at_end = rec.free_after_update;
  });
  EXPECT_TRUE(s.unfinished.empty());
  EXPECT_EQ(free_at_end, c.num_blocks - 1);  // blocks are conserved
  for (const TickOutcome& r : s.requests) {
    EXPECT_EQ(r.finish_reason, "length");
    EXPECT_LE(r.first_scheduled, r.first_token);
    EXPECT_LE(r.first_token, r.finished);
  }
}

TEST(Scheduler, InvariantsOnRandomWorkloads) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    check_invariants(seed);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(PrefixTree, NodesGoWithTheirLastReference) {
  PrefixTree tree(16, 1);
  const auto a = tree.acquire(PrefixTree::kRoot, 0, 7);
  const auto b = tree.acquire(a, 40, 9);
  EXPECT_EQ(tree.acquire(a, 40, 9), b);
  EXPECT_EQ(tree.live_nodes(), 2u);
  tree.release(a);
  tree.release(b);
  EXPECT_EQ(tree.live_nodes(), 2u);
  tree.release(b);
  EXPECT_EQ(tree.live_nodes(), 0u);
}

}  // namespace
}  // namespace shardwise
