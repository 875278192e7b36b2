#include "parallel/eplb.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace shardwise {
namespace {

ExpertLoads skewed(int layers, int experts, std::uint64_t seed) {
  ExpertLoads loads{layers, experts, {}};
  for (int i = 0; i < layers * experts; ++i) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    const auto u = static_cast<std::int64_t>((seed >> 33) % 1000);
    loads.counts.push_back(u * u);
  }
  return loads;
}

TEST(Eplb, OursKeepsEveryConstraintAndIsNeverWorse) {
  const EplbShape shapes[] = {{32, 1, 1, 8},  {48, 4, 2, 8},  {40, 8, 4, 4},
                              {64, 8, 2, 16}, {32, 4, 1, 16}, {36, 4, 3, 6}};
  for (const auto& shape : shapes)
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const auto loads = skewed(3, 32, seed);
      ASSERT_FALSE(eplb_refusal(32, shape));
      const auto theirs = eplb_vllm(loads, shape), ours = eplb_ours(loads, shape);
      const double mean = balancedness(loads, ours, shape.ranks).mean;
      EXPECT_GE(mean, balancedness(loads, theirs, shape.ranks).mean - 1e-12);
      EXPECT_LE(mean, balancedness_bound(loads, shape) + 1e-12);
      for (int l = 0; l < 3; ++l) {
        const auto* row = ours.data() + l * shape.replicas;
        EXPECT_EQ(std::set<int>(row, row + shape.replicas).size(), 32u) << "every expert has a replica";
        if (shape.groups % shape.nodes != 0) continue;
        std::set<std::pair<int, int>> homes;
        for (int p = 0; p < shape.replicas; ++p)
          homes.emplace(row[p] / (32 / shape.groups), p / (shape.replicas / shape.nodes));
        EXPECT_EQ(homes.size(), static_cast<std::size_t>(shape.groups)) << "every group is on one node";
      }
    }
}

TEST(Eplb, BoundIsReachedByTheBestPairing) {
  // Two slots a rank and no spares: heaviest with lightest is best.
  const ExpertLoads loads{1, 4, {8, 5, 4, 1}};
  const EplbShape shape{4, 1, 1, 2};
  EXPECT_DOUBLE_EQ(balancedness_bound(loads, shape), 1);
  EXPECT_DOUBLE_EQ(balancedness(loads, eplb_ours(loads, shape), 2).mean, 1);
  // One expert has nearly all tokens and no spare to share them.
  EXPECT_DOUBLE_EQ(balancedness_bound({1, 4, {90, 2, 4, 4}}, shape), 50.0 / 92);
}

}  // namespace
}  // namespace shardwise
