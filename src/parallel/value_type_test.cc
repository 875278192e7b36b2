#include "parallel/value_type.h"

#include <gmock/gmock.h>

#include "config/json.h"

namespace shardwise {
namespace {

constexpr VllmVersion version_32{0, 32, 0};

/// What becomes of JSON text; "refused" and where if nothing does.
std::string made(std::string_view type, const char* text) {
  const auto result = coerce(type, Json::parse(text), version_32);
  if (const auto* problem = std::get_if<ValueProblem>(&result)) return "refused " + problem->path;
  return std::get<Json>(result).dump();
}

TEST(ValueType, NumbersAreReadAsPydanticReadsThem) {
  for (const auto& [type, text, want] : std::vector<std::array<const char*, 3>>{{"int", "32", "32"},
                                                                                {"int", R"("32")", "32"},
                                                                                {"int", R"(" 1_000 ")", "1000"},
                                                                                {"int", R"("32.0")", "32"},
                                                                                {"int", "32.0", "32"},
                                                                                {"int", "true", "1"},
                                                                                {"int", "32.5", "refused "},
                                                                                {"int", "null", "refused "},
                                                                                {"int", R"("abc")", "refused "},
                                                                                {"int>=0", "-1", "refused "},
                                                                                {"int>0<=8", "8", "8"},
                                                                                {"float", R"("0.5")", "0.5"},
                                                                                {"float>0<=1", "0", "refused "},
                                                                                {"bool", R"("yes")", "true"},
                                                                                {"bool", "0", "false"},
                                                                                {"bool", "2", "refused "},
                                                                                {"str", "1", "refused "}})
    EXPECT_EQ(made(type, text), want) << type << " of " << text;
}

TEST(ValueType, OfSeveralTheOneThatFitsAsItIs) {
  EXPECT_EQ(made("int|str", R"("8")"), R"("8")");
  EXPECT_EQ(made("int|null", R"("8")"), "8");
  EXPECT_EQ(made("bool|int", "1"), "1");
  EXPECT_EQ(made(R"("auto"|"fp8")", R"("fp8")"), R"("fp8")");
  EXPECT_EQ(made(R"("auto"|"fp8")", R"("FP8")"), "refused ");
}

TEST(ValueType, WordsInAnyCase) {
  EXPECT_EQ(made(R"(upper("NONE"|"FULL")|0|1)", R"("full")"), R"("FULL")");
  EXPECT_EQ(made(R"(upper("NONE"|"FULL")|0|1)", "1"), "1");
  EXPECT_EQ(made(R"(upper("NONE"|"FULL")|0|1)", R"("1")"), "refused ");
  EXPECT_EQ(made(R"(folded("flashinfer_trtllm"))", R"("FlashInfer-TRTLLM")"), R"("flashinfer_trtllm")");
}

TEST(ValueType, ListsAndObjects) {
  EXPECT_EQ(made("[int]", R"([1, "2"])"), "[1,2]");
  EXPECT_EQ(made("[int]", R"([1, "x"])"), "refused [1]");
  EXPECT_EQ(made("[str]#>=1", "[]"), "refused ");
  EXPECT_EQ(made("{str:int}", R"({"a": "1"})"), R"({"a":1})");
  EXPECT_EQ(made("(int,int)", "[1]"), "refused ");
}

TEST(ValueType, ConfigurationsKnowTheirKeys) {
  EXPECT_EQ(made("@EPLBConfig", R"({"num_redundant_experts": "32"})"), R"({"num_redundant_experts":32})");
  EXPECT_EQ(made("@EPLBConfig", R"({"num_redundant_experts": null})"), "refused num_redundant_experts");
  EXPECT_EQ(made("@EPLBConfig", R"({"redundant": 1})"), "refused redundant");
  EXPECT_EQ(made("@CompilationConfig", R"({"pass_config": {"fuse_minimax_qk_norm": true}})"),
            "refused pass_config.fuse_minimax_qk_norm");
  EXPECT_EQ(made("@KVTransferConfig", R"({"kv_connector": "NixlConnector"})"), "refused ");
  EXPECT_EQ(made("@KVTransferConfig", R"({"kv_connector": "NixlConnector", "kv_role": "kv_bogus"})"),
            "refused kv_role");
}

TEST(ValueType, RefusalsSayWhatItMayBe) {
  const auto result = coerce("@EPLBConfig", Json::parse(R"({"num_redundant_expert": 1})"), version_32);
  EXPECT_THAT(std::get<ValueProblem>(result).message, testing::HasSubstr("did you mean 'num_redundant_experts'"));
  EXPECT_EQ(words_of(R"("auto"|"fp8"|null)"), "auto, fp8, null");
}

}  // namespace
}  // namespace shardwise
