// A row of the table of dimensions is all that a search and its answer need to know a dimension.
#include "parallel/dimensions.h"

#include <gtest/gtest.h>

#include <set>

#include "app/plan.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "questions.h"
#include "report/report.h"

namespace shardwise {
namespace {

/// By the closed form, with every layout that can be asked for.
PlanRequest wide_question(const std::string& model, const std::string& gpus) {
  auto r = question(model, gpus);
  r.allow_replicas = true;
  r.simulate_finalists = 0;
  return r;
}

std::vector<Layout> layouts(const SearchRequest& s) {
  std::vector<Layout> all;
  enumerate_layouts(s, [&](const Layout& l) { all.push_back(l); });
  return all;
}

/// The values that an enumeration gives to a dimension.
std::vector<DimensionValue> seen(const Dimension& d, const std::vector<Layout>& all) {
  std::set<DimensionValue> values;
  for (const auto& l : all) values.insert(value_of(d, l));
  return {values.begin(), values.end()};
}

TEST(DimensionProperties, APinKeepsWhatTheFreeEnumerationHasOfItsValue) {
  const auto request = wide_question("deepseek-v2", "2x2xH100");  // its experts are grouped, its layers divide
  const auto s = search_request(request, nullptr);
  const auto all = layouts(s);
  for (const auto* d : dimensions()) {
    const auto values = seen(*d, all);
    EXPECT_EQ(values.size() > 1, d->role != Role::given) << d->name;
    for (const auto& value : values) {
      auto pinned = s;
      pinned.pins[d->name] = value;
      std::set<std::string> expected, found;
      for (const auto& l : all)
        if (value_of(*d, l) == value) expected.insert(to_string(l));
      for (const auto& l : layouts(pinned)) {
        EXPECT_EQ(value_of(*d, l), value) << d->name;
        // A pin also asks for what is the same plan as another.
        if (!d->twin) {
          EXPECT_TRUE(expected.contains(to_string(l))) << d->name << " " << to_string(l);
        }
        found.insert(to_string(l));
      }
      for (const auto& text : expected) EXPECT_TRUE(found.contains(text)) << d->name << " " << text;
    }
  }
}

TEST(DimensionProperties, WhatIsGivenIsInEveryLayout) {
  auto request = wide_question("Qwen3-30B-A3B", "4xH100");
  request.pinned.enable_eplb = true;
  request.pinned.eplb_config = R"({"num_redundant_experts": 8})";
  request.pinned.all2all_backend = "deepep_low_latency";
  for (const auto& l : layouts(search_request(request, nullptr))) {
    EXPECT_TRUE(l.parallel.enable_eplb);
    EXPECT_EQ(l.parallel.num_redundant_experts, 8);
    EXPECT_EQ(l.parallel.all2all_backend, "deepep_low_latency");
  }
}

TEST(DimensionProperties, WhyNotAsksForEachByBothNames) {
  const auto answer = make_plan(wide_question("Qwen3-30B-A3B", "4xH100"));
  ASSERT_TRUE(answer.found());
  for (const auto* d : dimensions()) {
    const auto value = value_of(*d, answer.search.plans.front().layout);
    for (const auto name : {d->name, d->short_name}) {
      const auto why = why_not(answer, std::string(name) + "=" + value_text(value));
      ASSERT_TRUE(why.best) << name;
      EXPECT_EQ(value_of(*d, why.best->layout), value) << name;
    }
  }
}

TEST(DimensionProperties, WhyNotNamesThemAll) {
  const auto answer = make_plan(wide_question("Llama-3.1-8B", "1xH100"));
  try {
    why_not(answer, "zz=1");
    FAIL();
  } catch (const InputError& e) {
    for (const auto* d : dimensions())
      EXPECT_NE(std::string(e.what()).find(d->short_name), std::string::npos) << d->short_name << ": " << e.what();
  }
  EXPECT_THROW(why_not(answer, "tp=0"), InputError);
  EXPECT_THROW(why_not(answer, "placement=sideways"), InputError);
}

TEST(DimensionProperties, JsonAndCurvesNameThem) {
  auto request = wide_question("Qwen3-30B-A3B", "4xH100");
  request.explain = true;
  const auto answer = make_plan(request);
  const Json json = Json::parse(plan_json(answer));
  std::set<std::string> curves;
  for (const auto& point : json["explanation"]["curves"]) curves.insert(point["dimension"].get<std::string>());
  for (const auto& d : layout_fields()) {
    EXPECT_EQ(curves.contains(std::string(d.name)), has_curve(d)) << d.name;
    for (const auto& plan : json["plans"])
      if (d.always) {
        EXPECT_TRUE(plan.contains(std::string(d.name))) << d.name;
      }
  }
}

TEST(DimensionProperties, TheLadderReachesTheWinner) {
  auto request = wide_question("DeepSeek-V2-Lite", "2x4xH100");
  request.pins = {{"data_parallel_size", 2}, {"enable_expert_parallel", true}, {"replicas", 2}};
  request.explain = true;
  const auto answer = make_plan(request);
  ASSERT_TRUE(answer.found());
  EXPECT_EQ(answer.explanation.ladder.back().layout, answer.search.plans.front().layout);
}

}  // namespace
}  // namespace shardwise
