// What the releases' own registries and configuration readers say.
#include <gtest/gtest.h>

#include "model/load.h"
#include "parallel/model_facts.h"
#include "parallel/resolve.h"

namespace shardwise {
namespace {

struct Seen {
  const char* name;
  VllmVersion version;
  bool known;
};

TEST(Registry, ClassesByRelease) {
  for (const auto& [name, version, known] :
       {Seen{"Qwen3_5ForConditionalGeneration", {0, 16, 0}, false},
        Seen{"Qwen3_5ForConditionalGeneration", {0, 17, 0}, true},
        Seen{"Qwen3_5ForConditionalGeneration", {0, 19, 0}, true},
        Seen{"Gemma4ForConditionalGeneration", {0, 18, 1}, false},
        Seen{"Gemma4ForConditionalGeneration", {0, 20, 0}, true}, Seen{"DeepseekV4ForCausalLM", {0, 19, 1}, false},
        Seen{"DeepseekV4ForCausalLM", {0, 20, 1}, true}, Seen{"ExaoneMoEForCausalLM", {0, 26, 0}, true},
        Seen{"ExaoneMoEForCausalLM", {0, 28, 0}, false}, Seen{"ExaoneMoEForCausalLM", {0, 32, 0}, true},
        Seen{"LlamaForCausalLM", {0, 12, 0}, true}}) {
    const auto* row = find_architecture(name);
    ASSERT_TRUE(row) << name;
    EXPECT_EQ(row->registered(version), known) << name << " " << to_string(version);
  }
  EXPECT_FALSE(find_architecture("MysteryForCausalLM"));
  EXPECT_TRUE(generating_architecture("Qwen3ForSequenceClassification"));
  EXPECT_FALSE(generating_architecture("MysteryForSequenceClassification"));
}

TEST(Registry, ModelTypesByRelease) {
  for (const auto& [type, version, known] :
       {Seen{"qwen3_5", {0, 16, 0}, false}, Seen{"qwen3_5", {0, 19, 0}, true}, Seen{"gemma4", {0, 19, 0}, false},
        Seen{"gemma4", {0, 20, 0}, true}, Seen{"gemma4", {0, 26, 0}, false}, Seen{"gemma4", {0, 27, 0}, true},
        Seen{"deepseek_v4", {0, 20, 1}, true}, Seen{"minimax_m2", {0, 16, 0}, false}, Seen{"mimo", {0, 33, 0}, false},
        Seen{"mimo_v2_flash", {0, 24, 0}, false}, Seen{"mimo_v2_flash", {0, 28, 0}, true},
        Seen{"deepseek_ref", {0, 33, 0}, false}, Seen{"llama", {0, 12, 0}, true}, Seen{"transformer", {0, 33, 0}, true},
        Seen{"anything", {0, 99, 0}, true}})
    EXPECT_EQ(knows_model_type(type, version), known) << type << " " << to_string(version);
}

struct Nothing : TextSource {
  std::optional<std::string> read(const std::string&) override { return std::nullopt; }
};

std::string refused_by(const char* name, VllmVersion version, bool trust = false) {
  Nothing none;
  const auto refusal = check_model(model_facts(load_model(name, none), version), version, trust);
  return refusal ? std::string(refusal->rule->id) : "";
}

TEST(Registry, ConfigurationsThatNobodyReads) {
  for (const char* name :
       {"XiaomiMiMo/MiMo-7B-Base", "sgl-project/DeepSeek-V4-Flash-FP8", "sgl-project/DeepSeek-V4-Pro-FP8"})
    EXPECT_EQ(refused_by(name, {0, 32, 0}), "model_config_unreadable") << name;
  for (const char* name : {"stepfun-ai/Step-3.7-Flash", "stepfun-ai/Step-3.7-Flash-FP8"})
    EXPECT_EQ(refused_by(name, {0, 32, 0}), "model_unknown") << name;
}

TEST(Registry, OwnCodeNeedsTrust) {
  EXPECT_EQ(refused_by("MiniMaxAI/MiniMax-M2.5", {0, 16, 0}), "model_unknown");
  EXPECT_EQ(refused_by("MiniMaxAI/MiniMax-M2.5", {0, 16, 0}, true), "");
  EXPECT_EQ(refused_by("MiniMaxAI/MiniMax-M2.5", {0, 33, 0}), "");
  Nothing none;
  EXPECT_TRUE(model_facts(load_model("moonshotai/Kimi-K2-Instruct", none)).code_of_its_own);
  EXPECT_FALSE(model_facts(load_model("deepseek-ai/DeepSeek-V3", none)).code_of_its_own);
}

}  // namespace
}  // namespace shardwise
