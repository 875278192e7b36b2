#include "model/load.h"

#include <gtest/gtest.h>

#include <map>

#include "base/input_error.h"

namespace shardwise {
namespace {

class MemorySource : public TextSource {
 public:
  std::map<std::string, std::string> files;
  std::optional<std::string> read(const std::string& name) override {
    const auto it = files.find(name);
    return it == files.end() ? std::nullopt : std::optional(it->second);
  }
};

TEST(Bundle, EveryModelReads) {
  MemorySource none;
  for (const auto& bundled : bundled_models()) {
    SCOPED_TRACE(bundled.name);
    const Model model = load_model(bundled.name, none);
    EXPECT_EQ(model.name, bundled.name);
    EXPECT_GT(model.num_hidden_layers(), 0);
    EXPECT_GT(model.parameters(), 1e8);
  }
}

TEST(Bundle, NamesResolve) {
  MemorySource none;
  for (const auto& [spec, name] :
       std::map<std::string, std::string>{{"meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B"},
                                          {"llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B"},
                                          {"Qwen--Qwen3-32B", "Qwen/Qwen3-32B"},
                                          {"deepseek-v3", "deepseek-ai/DeepSeek-V3"},
                                          {"GPT-OSS-120B", "openai/gpt-oss-120b"},
                                          {"qwen2.5-72b", "Qwen/Qwen2.5-72B"},
                                          {"nvidia/Kimi-K2.5-NVFP4 (from path name)", "nvidia/Kimi-K2.5-NVFP4"}})
    EXPECT_EQ(load_model(spec, none).name, name) << spec;
  EXPECT_GE(bundled_models().size(), 120u);
}

TEST(Bundle, NoNameMeansTwoModels) {
  std::map<std::string, std::string> seen;
  for (const auto& model : bundled_models()) {
    EXPECT_TRUE(seen.emplace(model.name, model.name).second) << model.name;
    for (const auto& alias : model.aliases)
      EXPECT_TRUE(seen.emplace(alias, model.name).second) << alias << " of " << model.name << " and " << seen[alias];
  }
}

const char* kTiny =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
  "num_attention_heads": 8, "vocab_size": 100})";

TEST(Load, DirectoryAndFileComeBeforeTheBundle) {
  MemorySource disk;
  disk.files["models/gpt-oss-120b/config.json"] = kTiny;
  EXPECT_EQ(load_model("models/gpt-oss-120b", disk).num_hidden_layers(), 2);
  EXPECT_EQ(load_model("models/gpt-oss-120b/config.json", disk).num_hidden_layers(), 2);
  disk.files["models/gpt-oss-120b/hf_quant_config.json"] =
      R"({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}})";
  EXPECT_EQ(load_model("models/gpt-oss-120b/", disk).quantisation.quant_method, "modelopt");
}

TEST(Load, HubIsAskedLast) {
  MemorySource disk, hub;
  hub.files["acme/new-model/config.json"] = kTiny;
  EXPECT_EQ(load_model("acme/new-model", disk, &hub).name, "acme/new-model");
  EXPECT_THROW(load_model("acme/other", disk, &hub), InputError);
}

TEST(Load, UnknownNameSuggestsTheNearest) {
  MemorySource none;
  try {
    load_model("gpt-oss-12b", none);
    FAIL();
  } catch (const InputError& e) {
    EXPECT_NE(e.hint.find("gpt-oss-120b"), std::string::npos) << e.hint;
  }
  EXPECT_THROW(load_model("", none), InputError);
}

}  // namespace
}  // namespace shardwise
