#include "model/name_guess.h"

#include <gtest/gtest.h>

namespace shardwise {
namespace {

std::string taken_as(const char* name) {
  const auto guess = guess_model(name);
  return guess ? guess->assumption : "nothing";
}

TEST(NameGuess, FamilyVersionAndSizeDecide) {
  EXPECT_EQ(taken_as("unsloth/Qwen3-8B-bnb-4bit"), "Qwen/Qwen3-8B, weights in bitsandbytes 4 bit");
  EXPECT_EQ(taken_as("someone/Hermes-Llama-3.1-8B-merged"), "meta-llama/Llama-3.1-8B");
  EXPECT_EQ(taken_as("RedHatAI/Qwen3-32B-quantized.w4a16"), "Qwen/Qwen3-32B, weights in int4 (w4a16)");
  EXPECT_EQ(taken_as("x/DeepSeek-V3-FP8"), "deepseek-ai/DeepSeek-V3");
}

TEST(NameGuess, OtherSizesAndVersionsAreNotGuessed) {
  EXPECT_EQ(taken_as("Qwen/Qwen3-9B"), "nothing");
  EXPECT_EQ(taken_as("x/Llama-5-8B"), "nothing");
  EXPECT_EQ(taken_as("my-model"), "nothing");
}

TEST(NameGuess, QuantisedCopiesAreSmaller) {
  const auto copy = guess_model("RedHatAI/Qwen3-32B-quantized.w4a16"), whole = guess_model("x/Qwen3-32B-merged");
  ASSERT_TRUE(copy && whole);
  EXPECT_EQ(copy->model.quantisation.quant_method, "compressed-tensors");
  EXPECT_TRUE(whole->model.quantisation.quant_method.empty());
}

}  // namespace
}  // namespace shardwise
