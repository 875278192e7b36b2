// The search against brute force: every layout there is, evaluated one by one with nothing shared, best by pairwise
// comparison. Whatever the search shares or skips may not change the winner or the set of plans that stand.
#include <gtest/gtest.h>

#include <set>

#include "app/plan.h"
#include "model/bundled_model.h"

namespace shardwise {
namespace {

struct Case {
  const char* model;
  const char* gpus;
  Goal goal;
  int concurrency;
  double rate;
  const char* slo;
  bool allow_replicas;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.model << " on " << c.gpus << " for " << to_string(c.goal) << " at " << c.concurrency << "/" << c.rate
             << " " << c.slo;
}

PlanRequest request_of(const Case& c) {
  PlanRequest r;
  r.model_spec = c.model;
  r.model = std::make_shared<const Model>(bundled_model(c.model));
  r.cluster = parse_cluster(c.gpus);
  r.workload.isl = parse_length("1500", "--isl");
  r.workload.osl = parse_length("200", "--osl");
  if (c.concurrency) r.workload.concurrency = c.concurrency;
  if (c.rate > 0) r.workload.request_rate = c.rate, r.workload.arrivals = Arrivals::poisson;
  if (*c.slo) r.workload.slos.push_back(parse_slo(c.slo, "--slo"));
  r.goal = c.goal;
  r.allow_replicas = c.allow_replicas;
  r.explain = false;
  return r;
}

class SearchOracle : public testing::TestWithParam<Case> {};

TEST_P(SearchOracle, FindsWhatBruteForceFinds) {
  const auto request = request_of(GetParam());
  const auto s = search_request(request, nullptr);
  std::vector<Plan> stand;
  std::size_t layouts = 0;
  enumerate_layouts(s, [&](const Layout& layout) {
    ++layouts;
    auto plan = evaluate_layout(s, layout, nullptr);
    if (plan && plan->slos_kept && !(plan->estimate.saturated && s.workload.request_rate))
      stand.push_back(std::move(*plan));
  });
  const auto found = search(s);
  EXPECT_EQ(found.layouts, layouts);
  ASSERT_EQ(found.plans.size(), std::min<std::size_t>(stand.size(), 100));
  if (stand.empty()) return;
  const Plan* best = &stand.front();
  for (const auto& plan : stand)
    if (better_plan(plan, *best, s.fewest_gpus)) best = &plan;
  EXPECT_EQ(to_string(found.plans.front().layout), to_string(best->layout));
  EXPECT_DOUBLE_EQ(found.plans.front().score, best->score);
  if (stand.size() <= 100) {
    std::multiset<std::string> a, b;
    for (const auto& p : found.plans) a.insert(to_string(p.layout));
    for (const auto& p : stand) b.insert(to_string(p.layout));
    EXPECT_EQ(a, b);
  }
  for (std::size_t i = 1; i < found.plans.size(); ++i)
    EXPECT_FALSE(better_plan(found.plans[i], found.plans[i - 1], s.fewest_gpus)) << i;
}

INSTANTIATE_TEST_SUITE_P(Cases, SearchOracle,
                         testing::Values(Case{"Llama-3.1-8B", "4xH100", Goal::balanced, 0, 0, "", false},
                                         Case{"Llama-3.1-8B", "5xA100-80G", Goal::throughput, 64, 0, "", true},
                                         Case{"Llama-3.1-70B", "8xH100", Goal::latency, 0, 0, "", false},
                                         Case{"Llama-3.1-70B", "6xH100", Goal::throughput, 0, 0, "tpot:mean<40ms",
                                              false},
                                         Case{"Qwen3-30B-A3B", "4xH100", Goal::throughput, 0, 0, "", false},
                                         Case{"Qwen3-30B-A3B", "2x2xL40S", Goal::cost, 0, 3, "ttft:p99<2s", false},
                                         Case{"Qwen2.5-14B", "6xT4", Goal::balanced, 8, 0, "", false},
                                         Case{"deepseek-v2-lite", "2x2xH100", Goal::balanced, 0, 0, "", false}));

// Every GPU is counted once: no layout takes more than there are, and each part of it is where the arithmetic says.
TEST(Enumerate, RespectsTheGpusAndListsNothingTwice) {
  for (const char* gpus : {"1xH100", "3xA100-80G", "2x3xL40S", "8xH100"}) {
    const auto request = request_of({"Qwen3-30B-A3B", gpus, Goal::throughput, 0, 0, "", true});
    const auto s = search_request(request, nullptr);
    std::set<std::string> seen;
    enumerate_layouts(s, [&](const Layout& layout) {
      EXPECT_LE(layout.gpus(), budget_gpus(s));
      std::string key = to_string(layout);
      for (int n : layout.parallel.pp_layer_partition) key += "," + std::to_string(n);
      EXPECT_TRUE(seen.insert(key).second) << key;
    });
    EXPECT_FALSE(seen.empty());
  }
}

}  // namespace
}  // namespace shardwise
