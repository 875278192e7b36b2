#include "sim/max_rate.h"

#include <gtest/gtest.h>

#include "base/input_error.h"
#include "sim/linear_step.h"

namespace shardwise {
namespace {

TEST(MaxRate, HoldsBelowAndFailsAbove) {
  SimulationConfig c;
  c.num_requests = 600;
  Workload w;
  w.isl.a = w.isl.b = 200;
  w.osl.a = w.osl.b = 20;
  w.slos = {{SloMetric::ttft, SloStat::p99, milliseconds(20)}};
  const MaxRate best = max_rate_under_slo(c, w, LinearStep{}, 1);
  ASSERT_GT(best.request_rate.value_or(0), 10);
  EXPECT_TRUE(best.bounded);
  EXPECT_TRUE(best.result.slos_met());
  w.arrivals = Arrivals::poisson;
  w.request_rate = *best.request_rate * 1.3;
  EXPECT_FALSE(simulate(c, w, LinearStep{}, 1).slos_met());
}

TEST(MaxRate, AnImpossibleLimitGivesNone) {
  SimulationConfig c;
  c.num_requests = 20;
  Workload w;
  w.isl.a = w.isl.b = 200;
  w.osl.a = w.osl.b = 20;
  w.slos = {{SloMetric::ttft, SloStat::mean, microseconds(1)}};
  EXPECT_FALSE(max_rate_under_slo(c, w, LinearStep{}, 1).request_rate);
  w.slos.clear();
  EXPECT_THROW(max_rate_under_slo(c, w, LinearStep{}, 1), InputError);
}

}  // namespace
}  // namespace shardwise
