#include "model/architectures.h"

#include <gtest/gtest.h>

#include "model/load.h"
#include "model/model_types.h"

namespace shardwise {
namespace {

struct Nothing : TextSource {
  std::optional<std::string> read(const std::string&) override { return std::nullopt; }
};

TEST(Architectures, RowsByName) {
  EXPECT_TRUE(find_traits("NoSuchForCausalLM").generic);
  EXPECT_TRUE(find_traits("NoSuchForCausalLM").names.empty());
  EXPECT_FALSE(find_traits("Qwen3MoeForCausalLM").generic);
  EXPECT_EQ(&find_traits("Gemma3ForCausalLM"), &find_traits("Gemma3ForConditionalGeneration"));
  EXPECT_EQ(find_traits(std::vector<std::string>{"NoSuch", "GptOssForCausalLM"}).hook, Hook::gpt_oss);
  EXPECT_TRUE(find_traits(std::vector<std::string>{}).names.empty());
}

TEST(Architectures, ABundledModelIsGenericOnlyWithoutARow) {
  Nothing none;
  for (const auto& bundled : bundled_models()) {
    const Model model = load_model(bundled.name, none);
    EXPECT_EQ(model.generic, find_traits(model.architectures).generic) << bundled.name;
  }
}

TEST(ModelTypes, WholeWordsOnly) {
  EXPECT_TRUE(find_model_type("deepseek_v3").mla);
  EXPECT_FALSE(find_model_type("deepseek").mla);
  EXPECT_FALSE(find_model_type("eepseek_v3").mla);
  EXPECT_FALSE(find_model_type("").mla);
  EXPECT_EQ(find_model_type("qwen2").default_length, 32768);
  EXPECT_EQ(find_model_type("qwen2_vl").default_length, 0);
}

}  // namespace
}  // namespace shardwise
