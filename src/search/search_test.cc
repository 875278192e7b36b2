#include "search/search.h"

#include <gmock/gmock.h>

#include "model/bundled_model.h"
#include "parallel/placement.h"
#include "search/space.h"

namespace shardwise {
namespace {

NodeGroup group(const std::string& gpus, std::vector<int> taken = {}) {
  return node_groups(parse_cluster(gpus), taken).front();
}

TEST(EngineSpan, TakesTheFewestNodesThatDivideTheEngine) {
  EXPECT_EQ(engine_span(8, 8, 2)->nodes, 1);
  EXPECT_EQ(engine_span(16, 8, 2)->nodes, 2);
  EXPECT_EQ(engine_span(16, 8, 2)->gpus_per_node, 8);
  EXPECT_EQ(engine_span(12, 8, 4)->gpus_per_node, 6);
  EXPECT_FALSE(engine_span(9, 8, 2)) << "9 ranks do not divide over two nodes";
  EXPECT_EQ(engine_span(9, 8, 3)->nodes, 3);
}

TEST(EngineCapacity, CountsWholeEnginesOnWhatIsFree) {
  EXPECT_EQ(engine_capacity(group("8xH100"), 2), 4);
  EXPECT_EQ(engine_capacity(group("8xH100"), 3), 2);
  EXPECT_EQ(engine_capacity(group("2x8xH100"), 3), 4);
  EXPECT_EQ(engine_capacity(group("2x8xH100"), 16), 1);
  EXPECT_EQ(engine_capacity(group("4x8xH100"), 16), 2);
  EXPECT_EQ(engine_capacity(group("2x8xH100", {3, 0}), 4), 3);
  EXPECT_EQ(engine_capacity(group("2x8xH100", {3, 0}), 16), 0);
}

TEST(NodeGroups, OneAGpuKind) {
  const auto groups = node_groups(parse_cluster("2x8xH100+1x4xL40S"), {});
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].total(), 16);
  EXPECT_EQ(groups[1].node_index, std::vector<int>{2});
}

/// Rules and placement of a world without vLLM: heads must divide, nothing else.
SearchRequest request(const Model& model, const std::string& gpus) {
  SearchRequest r;
  r.model = &model;
  r.groups = node_groups(parse_cluster(gpus), {});
  EngineConfig base;
  base.max_model_len = 8192;
  r.base = {base};
  r.rules = [&model](const NodeGroup&, const ParallelConfig& p) -> std::optional<Refusal> {
    if (model.num_attention_heads() % p.tensor_parallel_size != 0) return refuse("gpus", "heads do not divide");
    if (p.decode_context_parallel_size > 1) return refuse("interleave_vs_block", "not here");
    return std::nullopt;
  };
  r.workload.isl = parse_length("1024", "--isl");
  r.workload.osl = parse_length("256", "--osl");
  r.needed_model_len = 1280;
  return r;
}

TEST(Search, EveryLayoutIsAccountedFor) {
  const Model model = bundled_model("Llama-3.1-8B");
  const auto r = search(request(model, "6xH100"));
  std::size_t rejected = 0;
  for (const auto& c : r.rejected) rejected += c.count;
  EXPECT_EQ(r.layouts, rejected + r.plans.size() + r.near_misses.size());
  EXPECT_FALSE(r.plans.empty());
  for (const auto& p : r.plans) EXPECT_LE(p.layout.gpus(), 6);
}

TEST(Search, EveryLayoutCanBePlaced) {
  const Model model = bundled_model("meta-llama/Meta-Llama-3.1-70B");
  for (const char* gpus : {"4x6xH100", "4x3xH200", "3x5xH100", "2x7xH100", "6x4xH100", "5x2xL40S"}) {
    const auto r = request(model, gpus);
    enumerate_layouts(r, [&](const Layout& layout) {
      if (r.rules(r.groups.front(), layout.parallel)) return;
      const auto placed = place(r.groups.front().cluster, layout.parallel, layout.replicas);
      EXPECT_TRUE(std::holds_alternative<Placement>(placed)) << gpus << ": " << to_string(layout);
    });
  }
}

TEST(Search, TheSameAtAnyThreadCount) {
  const Model model = bundled_model("Qwen3-30B-A3B");
  auto question = request(model, "8xH100");
  question.goal = Goal::throughput;
  question.threads = 1;
  const auto one = search(question);
  question.threads = 8;
  const auto eight = search(question);
  ASSERT_EQ(one.plans.size(), eight.plans.size());
  for (std::size_t i = 0; i < one.plans.size(); ++i) {
    EXPECT_EQ(one.plans[i].layout, eight.plans[i].layout);
    EXPECT_EQ(one.plans[i].score, eight.plans[i].score);
  }
  ASSERT_EQ(one.rejected.size(), eight.rejected.size());
  for (std::size_t i = 0; i < one.rejected.size(); ++i) EXPECT_EQ(one.rejected[i].example, eight.rejected[i].example);
}

TEST(Search, SlosAreConstraints) {
  const Model model = bundled_model("Llama-3.1-8B");
  auto question = request(model, "4xH100");
  question.goal = Goal::throughput;
  const double free = search(question).plans.front().score;
  question.workload.slos = {parse_slo("tpot:mean<12ms", "--slo")};
  const auto bound = search(question);
  ASSERT_FALSE(bound.plans.empty());
  for (const auto& p : bound.plans) EXPECT_LE(p.estimate.tpot_ms.mean, 12);
  EXPECT_LE(bound.plans.front().score, free);
  question.workload.slos = {parse_slo("tpot:mean<1us", "--slo")};
  const auto none = search(question);
  EXPECT_TRUE(none.plans.empty());
  ASSERT_FALSE(none.near_misses.empty());
  EXPECT_THAT(none.near_misses.front().slos_missed, testing::Not(testing::IsEmpty()));
}

TEST(Search, PinsHold) {
  const Model model = bundled_model("Llama-3.1-8B");
  auto question = request(model, "8xH100");
  question.pins = {{"tensor_parallel_size", 2}, {"data_parallel_size", 4}};
  const auto r = search(question);
  ASSERT_FALSE(r.plans.empty());
  for (const auto& p : r.plans) {
    EXPECT_EQ(p.layout.parallel.tensor_parallel_size, 2);
    EXPECT_EQ(p.layout.parallel.data_parallel_size, 4);
  }
}

TEST(Search, AboveItsBudgetThinsCopiesAndStillFindsTheBestPlan) {
  for (const char* name : {"Llama-3.1-8B", "Qwen3-30B-A3B"})
    for (const int concurrency : {0, 100, 3000}) {
      const Model model = bundled_model(name);
      auto question = request(model, "32x8xH100");
      if (concurrency > 0) question.workload.concurrency = concurrency;
      const auto all = search(question);
      question.max_layouts = all.layouts / 4;
      const auto thinned = search(question);
      EXPECT_EQ(all.copies_step, 0);
      EXPECT_GT(thinned.copies_step, 0);
      EXPECT_LT(thinned.layouts, 2 * all.layouts / 3);
      ASSERT_FALSE(thinned.plans.empty());
      EXPECT_EQ(to_string(thinned.plans.front().layout), to_string(all.plans.front().layout)) << name << concurrency;
    }
}

TEST(Search, FewestGpusComeFirstWhenAskedFor) {
  const Model model = bundled_model("Llama-3.1-8B");
  auto question = request(model, "8xH100");
  question.workload.request_rate = 2;
  question.fewest_gpus = true;
  const auto r = search(question);
  ASSERT_FALSE(r.plans.empty());
  EXPECT_EQ(r.plans.front().layout.gpus(), 1);
}

TEST(BetterPlan, TiesGoToFewerGpusThenToTheSimplerPlan) {
  Plan a, b;
  a.score = 100, b.score = 100.05;
  a.layout.parallel.tensor_parallel_size = 4;
  b.layout.parallel.tensor_parallel_size = 8;
  EXPECT_TRUE(better_plan(a, b, false)) << "0.05 % is a tie, 4 GPUs are fewer than 8";
  b.layout.parallel = {};
  b.layout.parallel.pipeline_parallel_size = 4;
  EXPECT_TRUE(better_plan(a, b, false)) << "tensor parallel is simpler than pipeline parallel";
  b.score = 120;
  EXPECT_FALSE(better_plan(a, b, false));
}

}  // namespace
}  // namespace shardwise
