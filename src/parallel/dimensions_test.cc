// Every row of the table of dimensions is a dimension everywhere that goes over the rows.
#include "parallel/dimensions.h"

#include <gmock/gmock.h>

#include <set>

#include "base/text.h"
#include "config/json.h"
#include "parallel/layout_json.h"

namespace shardwise {
namespace {

/// Values of a row that are not its default.
std::vector<DimensionValue> others(const Dimension& d) {
  const auto now = value_of(d, {});
  if (const auto* on = std::get_if<bool>(&now)) return {!*on};
  if (const auto* number = std::get_if<int>(&now)) return {*number + 1, *number + 3};
  if (std::holds_alternative<std::vector<int>>(now)) return {std::vector<int>{3, 2}, std::vector<int>{2, 2, 1}};
  if (!words_of(d).empty()) return {words_of(d).back()};
  return {"deepep_low_latency", "deepep_high_throughput"};
}

/// Experts spread over ranks that exchange tokens: a layout in which every dimension means something.
Layout spread() {
  Layout layout;
  layout.parallel.data_parallel_size = 2;
  layout.parallel.enable_expert_parallel = true;
  return layout;
}

void for_each_value(const auto& visit) {
  for (const auto* d : dimensions())
    for (const auto& v : others(*d)) {
      SCOPED_TRACE(std::string(d->name) + " = " + value_text(v));
      Layout layout;
      set_value(*d, layout, v);
      visit(*d, v, layout);
    }
}

TEST(Dimensions, AreNamedApartAndFoundByBothNames) {
  std::set<std::string_view> names;
  for (const auto* d : dimensions()) {
    EXPECT_TRUE(names.insert(d->name).second) << d->name;
    EXPECT_TRUE(d->short_name == d->name || names.insert(d->short_name).second) << d->short_name;
    EXPECT_EQ(find_dimension(d->name), d);
    EXPECT_EQ(find_dimension(d->short_name), d);
    EXPECT_FALSE(d->label.empty());
  }
  EXPECT_EQ(find_dimension("gpus"), nullptr) << "it follows from the others";
}

TEST(Dimensions, AValueIsSetReadAndCopied) {
  for_each_value([](const Dimension& d, const DimensionValue& v, const Layout& layout) {
    EXPECT_EQ(value_of(d, layout), v);
    EXPECT_EQ(read_value(d, value_text(v)), v);
    EXPECT_TRUE(at_default(d, {}));
    EXPECT_FALSE(at_default(d, layout));
    Layout copied;
    copy_value(d, layout, copied);
    EXPECT_EQ(copied, layout);
    EXPECT_TRUE(lower_value(d, {}, layout) || lower_value(d, layout, {}));
    for (const auto* other : dimensions())
      if (other != &d) {
        EXPECT_TRUE(at_default(*other, layout)) << other->name;
      }
  });
}

TEST(Dimensions, WhatIsNoValueIsNotRead) {
  for (const auto* d : dimensions()) {
    const auto now = value_of(*d, {});
    if (std::holds_alternative<int>(now)) {
      for (const char* text : {"", "x", "2x", "-1", "1e3"}) EXPECT_EQ(read_value(*d, text), std::nullopt) << d->name;
    }
    if (std::holds_alternative<bool>(now)) {
      EXPECT_EQ(read_value(*d, "maybe"), std::nullopt) << d->name;
    }
    if (!words_of(*d).empty()) {
      EXPECT_EQ(read_value(*d, "sideways"), std::nullopt) << d->name;
    }
  }
  EXPECT_EQ(read_value(*find_dimension("tp"), "0"), std::nullopt);
  EXPECT_EQ(read_value(*find_dimension("layers"), "3+0"), std::nullopt);
}

TEST(Dimensions, JsonNamesThemAndReadsBack) {
  for_each_value([](const Dimension& d, const DimensionValue&, const Layout& layout) {
    const Json json = layout_json(layout);
    EXPECT_TRUE(json.contains(std::string(d.name)));
    EXPECT_EQ(layout_json({}).contains(std::string(d.name)), d.always);
    EXPECT_EQ(read_layout(json), layout);
  });
  EXPECT_EQ(layout_json(spread())["expert_parallel_size"], 2);
  EXPECT_EQ(layout_json(spread())["gpus"], 2);
}

TEST(Dimensions, ThePlansTextTellsVariedValuesApart) {
  for (const auto* d : dimensions()) {
    if (d->role == Role::given) continue;  // the same in every layout of a search
    Layout layout = spread();
    std::set<std::string> texts{to_string(layout)};
    for (const auto& v : others(*d)) {
      set_value(*d, layout, v);
      EXPECT_TRUE(texts.insert(to_string(layout)).second || layout == spread()) << d->name << " " << to_string(layout);
    }
  }
}

TEST(Dimensions, EachAddsItsComplexity) {
  std::set<int> weights;
  for (const auto* d : dimensions()) {
    Layout layout;
    EXPECT_EQ(complexity(layout), 0);
    set_value(*d, layout, others(*d).front());
    EXPECT_EQ(complexity(layout), d->complexity) << d->name;
    if (d->role != Role::given && d->name != "tensor_parallel_size") {
      EXPECT_TRUE(d->complexity > 0 && weights.insert(d->complexity).second) << d->name << ": ties stay ties";
    }
  }
}

TEST(Dimensions, ALaunchCarriesThem) {
  for (const auto* d : dimensions())
    for (const auto& v : others(*d)) {
      Layout layout = spread();
      set_value(*d, layout, v);
      EngineArgs args;
      lay_over(args, layout);
      if (argument(args, *d) == v || environment(layout).contains(std::string(d->variable))) continue;
      // Copies behind a router are commands of their own; redundant experts are a key of --eplb-config.
      EXPECT_TRUE(d->name == "replicas" || d->name == "num_redundant_experts") << d->name;
    }
}

TEST(Dimensions, WhatWasGivenIsLaidOverThoughItIsTheDefault) {
  EngineArgs args;
  args.pipeline_parallel_size = 4;
  lay_over(args, {});
  EXPECT_EQ(args.pipeline_parallel_size, 1);
  EXPECT_EQ(args.tensor_parallel_size, 1);
  EXPECT_EQ(args.data_parallel_size, std::nullopt);
}

TEST(Dimensions, TheLadderStepsInItsOwnOrder) {
  std::vector<std::string_view> names;
  for (const auto* d : rungs())
    if (d->role != Role::total) names.push_back(d->short_name);
  EXPECT_THAT(names, testing::ElementsAre("tp", "pp", "layers", "dp", "ep", "placement", "dcp", "replicas"));
}

TEST(Dimensions, GpusAreTheProductOfTheirFactors) {
  const auto product = [](const std::string& text) {
    int gpus = 1;
    for (const auto& word : split(text, ' '))
      if (word.find_first_not_of("0123456789") == word.npos) gpus *= std::stoi(word);
    return gpus;
  };
  for_each_value([&](const Dimension&, const DimensionValue&, const Layout& layout) {
    EXPECT_EQ(product(gpu_factors(layout)), layout.gpus()) << gpu_factors(layout);
  });
  EXPECT_EQ(gpu_factors({}), "TP 1 x PP 1 x DP 1");
  Layout layout = spread();
  layout.replicas = 3, layout.parallel.prefill_context_parallel_size = 2;
  EXPECT_EQ(gpu_factors(layout), "TP 1 x PP 1 x DP 2 x PCP 2 x 3 replicas");
}

}  // namespace
}  // namespace shardwise
