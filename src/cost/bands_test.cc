#include "cost/bands.h"

#include <gtest/gtest.h>

#include <cmath>

namespace shardwise {
namespace {

constexpr double kInf = 1e12;

const std::vector<BandRow> kRows = {
    {BandMetric::tpot, "", "", 0, 17, -0.1, 0.2, {}},
    {BandMetric::tpot, "", "", 17, kInf, -0.2, 0.4, {}},
    {BandMetric::tpot, "H100-SXM", "dense 5120x64 w16a16", 4, 200, -0.03, 0.03,
     combination_of("H100-SXM", "dense 5120x64 w16a16")},
};

double hi(const BandSlice& s) { return std::log(band(BandMetric::tpot, 10, s, kRows).hi / 10); }
double lo(const BandSlice& s) { return std::log(band(BandMetric::tpot, 10, s, kRows).lo / 10); }

TEST(Bands, SlicesByLoad) {
  BandSlice s;
  s.concurrency = 8;
  EXPECT_NEAR(hi(s), 0.2, 1e-12);
  s.concurrency = 64;
  EXPECT_NEAR(hi(s), 0.4, 1e-12);
  EXPECT_NEAR(lo(s), -0.2, 1e-12);
}

TEST(Bands, AMeasuredCombinationHasItsOwnWhereItWasMeasured) {
  BandSlice s;
  s.combination = combination_of("H100-SXM", "dense 5120x64 w16a16");
  s.concurrency = 64;
  EXPECT_NEAR(hi(s), 0.03, 1e-12);
  EXPECT_TRUE(measured_combination(BandMetric::tpot, s, kRows));
  s.concurrency = 500;  // beyond the measured loads
  EXPECT_NEAR(hi(s), 0.4, 1e-12);
  s.concurrency = 64, s.widen = 1.6;  // something of the plan was not measured
  EXPECT_NEAR(hi(s), 0.64, 1e-12);
  EXPECT_FALSE(measured_combination(BandMetric::tpot, s, kRows));
  s.widen = 1, s.combination = combination_of("H200-SXM", "dense 5120x64 w16a16");
  EXPECT_NEAR(hi(s), 0.4, 1e-12);
}

TEST(Bands, WhatNoRowCoversWidens) {
  BandSlice s;
  s.concurrency = 8;
  const double plain = hi(s);
  for (auto change : {+[](BandSlice& x) { x.kv_limited = true; }, +[](BandSlice& x) { x.open_loop = true; },
                      +[](BandSlice& x) { x.widen = 1.5; }}) {
    auto wider = s;
    change(wider);
    EXPECT_GT(hi(wider), plain);
    EXPECT_LT(lo(wider), lo(s));
  }
  auto closed = s;
  closed.closed_form = true;
  EXPECT_LT(lo(closed), lo(s));
  EXPECT_GE(hi(closed), plain);
}

TEST(Bands, TheShippedTableHasEveryMetricAndItsMeasuredCombinations) {
  for (const auto metric : {BandMetric::ttft, BandMetric::tpot, BandMetric::throughput}) {
    int any = 0, own = 0;
    for (const auto& r : default_bands()) {
      if (r.metric != metric) continue;
      EXPECT_LT(r.lo, 0);
      EXPECT_GT(r.hi, 0);
      (r.combination ? own : any) += 1;
    }
    EXPECT_GE(any, 4) << name_of(metric);
    EXPECT_GE(own, 8) << name_of(metric);
  }
}

}  // namespace
}  // namespace shardwise
