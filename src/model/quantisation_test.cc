#include "model/quantisation.h"

#include <gtest/gtest.h>

#include <random>
#include <regex>

#include "base/embedded.h"
#include "config/json.h"
#include "model/load.h"

namespace shardwise {
namespace {

/// The slow, obvious matcher.
bool by_regex(const std::string& pattern, const std::string& name) {
  return std::regex_search(name, std::regex(pattern), std::regex_constants::match_continuous);
}

bool ours(const std::string& pattern, const std::string& name) {
  const auto compiled = NameRegex::compile(pattern);
  return compiled && compiled->matches_start(name);
}

TEST(NameRegex, AgreesWithTheStandardLibrary) {
  const std::vector<std::string> patterns = {".*mlp.gate$",
                                             R"(.*mlp\.(gate|up|gate_up|down)_proj.*)",
                                             ".*self_attn.*",
                                             ".*lm_head",
                                             R"(layers\.\d+\..*)",
                                             R"(model\.layers\.(1|2|[3-5])\.mlp.*)",
                                             "^(?!.*experts).*",
                                             "a{2,3}b?c*$",
                                             R"(\w+\.layers\.\d{1,2}$)",
                                             "(a|ab)(c|bcd)*d",
                                             "(?:x|y)+z",
                                             "[^.]+$",
                                             "(a*)*b",
                                             "a|b|",
                                             R"(.*\bgate\b)",
                                             "(?=.*gate).*proj",
                                             ".*?mlp+?.gate"};
  std::mt19937 random(7);
  const std::vector<std::string> pieces = {"model.", "layers.", "1",  "23",        ".",       "mlp", "gate",
                                           "_proj",  "experts", "up", "self_attn", "lm_head", "a",   "b",
                                           "c",      "d",       "x",  "y",         "z"};
  for (const auto& pattern : patterns) {
    SCOPED_TRACE(pattern);
    for (int i = 0; i < 400; ++i) {
      std::string name;
      for (std::size_t n = random() % 7; n-- > 0;) name += pieces[random() % pieces.size()];
      EXPECT_EQ(ours(pattern, name), by_regex(pattern, name)) << name;
    }
  }
}

TEST(NameRegex, WhatItDoesNotReadMatchesNothing) {
  for (const char* bad : {"(a", "a)", "[a", "*a", R"((a)\1)", "(?<=a)b", "\\", "a{3000}{3000}"})
    EXPECT_FALSE(NameRegex::compile(bad)) << bad;
  EXPECT_FALSE(NameRegex::compile(std::string(301, 'a')));
  EXPECT_FALSE(NameRegex::compile("a*")->matches_start(std::string(301, 'a')));
}

/// Every ignore list and every target of the bundled models, on the names of a layer and what surrounds layers.
TEST(NameRegex, BundledIgnoreLists) {
  std::vector<std::string> names = {"lm_head", "model.embed_tokens", "model.visual.blocks.1.mlp",
                                    "mtp.layers.0.mlp.gate"};
  for (const char* layer : {"0", "1", "14", "61"})
    for (const char* module : {"self_attn", "self_attn.o_proj", "self_attn.kv_b_proj", "mlp.gate", "mlp.gate_proj",
                               "mlp.experts.3.down_proj", "mlp.shared_experts.up_proj", "linear_attn.in_proj_qkvz",
                               "mlp.shared_expert_gate", "block_sparse_moe.gate"})
      for (const char* root : {"", "model.", "model.language_model."})
        names.push_back(std::string(root) + "layers." + layer + "." + module);
  int tried = 0;
  const auto look = [&](auto&& self, const Json& value) -> void {
    if (value.is_structured()) {
      for (const auto& inner : value) self(self, inner);
    } else if (value.is_string() && value.get_ref<const std::string&>().starts_with("re:")) {
      const auto& text = value.get_ref<const std::string&>();
      ++tried;
      for (const auto& name : names)
        EXPECT_EQ(ModulePattern(text).covers(name), by_regex(text.substr(3), name)) << text << " on " << name;
    }
  };
  for (const auto& file : embedded_files("models/"))
    if (file.ends_with(".json")) look(look, parse_json(embedded_file(file).value(), std::string(file)));
  EXPECT_GT(tried, 20);
}

}  // namespace
}  // namespace shardwise
