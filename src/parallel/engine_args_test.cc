#include "parallel/engine_args.h"

#include <gmock/gmock.h>

#include "base/input_error.h"
#include "config/json.h"

namespace shardwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

EngineArgs parse(std::vector<std::string> argv) { return parse_vllm_flags(argv); }

std::string error(std::vector<std::string> argv) {
  try {
    parse_vllm_flags(argv);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(EngineArgs, SpellingsOfOneValue) {
  for (auto argv : std::vector<std::vector<std::string>>{{"-tp", "4"},
                                                         {"-tp=4"},
                                                         {"--tensor-parallel-size", "4"},
                                                         {"--tensor_parallel_size=4"},
                                                         {"--tensor-parallel", "4"},
                                                         {"vllm", "serve", "--tensor-parallel-size=4"}})
    EXPECT_EQ(parse(argv).tensor_parallel_size, 4) << argv.front();
}

TEST(EngineArgs, ModelIsPositionalOrAFlag) {
  EXPECT_EQ(parse({"meta-llama/Llama-3.1-8B", "-tp", "2"}).model, "meta-llama/Llama-3.1-8B");
  EXPECT_EQ(parse({"serve", "m", "-tp", "2"}).model, "m");
  EXPECT_EQ(parse({"--model", "m"}).model, "m");
}

TEST(EngineArgs, Booleans) {
  EXPECT_EQ(parse({"--enable-prefix-caching"}).enable_prefix_caching, true);
  EXPECT_EQ(parse({"--no-enable-prefix-caching"}).enable_prefix_caching, false);
  EXPECT_EQ(parse({"--headless"}).headless, true);
  EXPECT_FALSE(parse({}).enable_prefix_caching.has_value());
  EXPECT_THAT(error({"--enable-prefix-caching=true"}), HasSubstr("takes no value"));
}

TEST(EngineArgs, EnableAndDisableArePairsFrom033On) {
  const std::vector<std::string> off = {"--disable-prefix-caching"}, on = {"--enable-custom-all-reduce"};
  EXPECT_EQ(parse_vllm_flags(off, {0, 33, 0}).enable_prefix_caching, false);
  EXPECT_EQ(parse_vllm_flags(on, {0, 33, 0}).disable_custom_all_reduce, false);
  EXPECT_EQ(parse_vllm_flags(std::vector<std::string>{"--no-enable-prefix-caching"}, {0, 33, 0}).enable_prefix_caching,
            false);
  try {
    parse_vllm_flags(off, {0, 32, 0});
    ADD_FAILURE() << "0.32 has no such spelling";
  } catch (const InputError& e) {
    EXPECT_THAT(e.what(), HasSubstr("vLLM 0.32.0 has no such argument"));
    EXPECT_THAT(e.what(), HasSubstr("--no-enable-prefix-caching"));
  }
}

TEST(EngineArgs, DeviceIdsAreOneWord) {
  EXPECT_THAT(parse({"--device-ids", "2,3"}).device_ids.value(), ElementsAre("2", "3"));
  EXPECT_THAT(to_argv(parse({"--device-ids", "2,3"})), ElementsAre("--device-ids", "2,3"));
}

TEST(EngineArgs, HumanIntegers) {
  EXPECT_EQ(parse({"--max-model-len", "8k"}).max_model_len, 8000);
  EXPECT_EQ(parse({"--max-model-len", "8K"}).max_model_len, 8192);
  EXPECT_EQ(parse({"--max-model-len", "1M"}).max_model_len, 1 << 20);
  EXPECT_EQ(parse({"--max-model-len", "25.6k"}).max_model_len, 25600);
  EXPECT_EQ(parse({"--max-model-len", "-1"}).max_model_len, -1);
  EXPECT_EQ(parse({"--max-model-len", "auto"}).max_model_len, -1);
  EXPECT_EQ(parse({"--kv-cache-memory-bytes", "10G"}).kv_cache_memory_bytes, std::int64_t{10} << 30);
  EXPECT_THAT(error({"--max-model-len", "1.5K"}), HasSubstr("not a whole number"));
  EXPECT_THAT(error({"--tensor-parallel-size", "8k"}), HasSubstr("not a whole number"));
}

TEST(EngineArgs, JsonAndDottedKeys) {
  EXPECT_EQ(parse({"--compilation-config", R"({"mode": 3, "cudagraph_mode": "NONE"})"}).compilation_config,
            R"({"mode":3,"cudagraph_mode":"NONE"})");
  EXPECT_EQ(parse({"--compilation-config.mode=2"}).compilation_config, R"({"mode":2})");
  EXPECT_EQ(parse({"-cc.cudagraph_mode", "FULL", "-cc.cudagraph_capture_sizes+", "1,2"}).compilation_config,
            R"({"cudagraph_mode":"FULL","cudagraph_capture_sizes":[1,2]})");
  EXPECT_EQ(parse({"-O3"}).optimization_level, 3);
  EXPECT_EQ(parse({"-O", "1"}).optimization_level, 1);
  EXPECT_EQ(
      parse({"--kv-transfer-config", R"({"kv_connector_extra_config": {"x": 80m, "y": "80m"}})"}).kv_transfer_config,
      R"({"kv_connector_extra_config":{"x":80000000,"y":"80m"}})");
  EXPECT_EQ(parse({"--eplb-config", R"({"num_redundant_experts":"32"})"}).eplb_config,
            R"({"num_redundant_experts":32})");
  EXPECT_THAT(error({"--eplb-config", R"({"num_redundant_experts":null})"}), HasSubstr("num_redundant_experts"));
  EXPECT_THAT(error({"--hf-overrides", "{bad"}), HasSubstr("not JSON"));
}

TEST(EngineArgs, ListsAndUnusedArguments) {
  EXPECT_THAT(*parse({"--cudagraph-capture-sizes", "1", "2", "4", "--port", "8001"}).cudagraph_capture_sizes,
              ElementsAre(1, 2, 4));
  const auto args = parse({"m", "--port", "8001", "--tool-call-parser", "hermes", "--enable-auto-tool-choice"});
  EXPECT_THAT(args.not_used,
              ElementsAre(Pair("port", ElementsAre("8001")), Pair("tool_call_parser", ElementsAre("hermes")),
                          Pair("enable_auto_tool_choice", ElementsAre("yes"))));
}

TEST(EngineArgs, UnknownAndAmbiguousNames) {
  EXPECT_THAT(error({"--tensor-paralel-size", "2"}), HasSubstr("did you mean '--tensor-parallel-size'"));
  EXPECT_THAT(error({"--data-parallel", "2"}), HasSubstr("could be"));
  EXPECT_THAT(error({"--tensor-parallel-size"}), HasSubstr("needs a value"));
}

TEST(EngineArgs, NumbersOfADraftAreReadAsItsConfigurationReadsThem) {
  EXPECT_EQ(parse({"-sc", R"({"method":"ngram","num_speculative_tokens":"3"})"}).speculative_config,
            R"({"method":"ngram","num_speculative_tokens":3})");
  EXPECT_THAT(error({"-O.mode=3"}), HasSubstr("-cc.mode=3"));
}

TEST(EngineArgs, WhatIsWrittenIsReadBack) {
  for (const auto& argv : std::vector<std::vector<std::string>>{{"--cpu-offload-gb=-0.5"},
                                                                {"--cpu-offload-gb=-inf"},
                                                                {"--seed", "-5"},
                                                                {"--attention-config.backend=auto"},
                                                                {"--middleware", "a", "--middleware", "b"},
                                                                {"--hf-token"},
                                                                {"--max-model-len", "auto"}}) {
    const auto args = parse(argv);
    EXPECT_EQ(parse(to_argv(args)), args) << argv.front();
  }
}

TEST(EngineArgs, RayIsTakenForGranted) {
  EXPECT_TRUE(ray_note(parse({"--distributed-executor-backend", "ray"})));
  EXPECT_TRUE(ray_note(parse({"-dpb", "ray"})));
  EXPECT_FALSE(ray_note(parse({"-dpb", "mp"})));
}

TEST(EngineArgs, WhatOnlyANewerVersionCanHaveIsWrittenThrough) {
  const std::vector<std::string> argv = {"-tp", "2", "--brand-new", "1"};
  const auto args = parse_vllm_flags(argv, {0, 90, 0});
  EXPECT_THAT(to_argv(args), ElementsAre("--tensor-parallel-size", "2", "--brand-new", "1"));
  EXPECT_THAT(unknown_arguments_note(args, {0, 90, 0}).value(), HasSubstr("--brand-new"));
  EXPECT_THAT(parse_or_refuse(argv).refused.value(), HasSubstr("--brand-new"));
  EXPECT_FALSE(unknown_arguments_note(parse({"-tp", "2"}), kDefaultVllmVersion));
}

TEST(EngineArgs, RoundTrip) {
  const auto args =
      parse({"m", "-tp", "2", "--no-enable-prefix-caching", "--gpu-memory-utilization", "0.85", "-cc.mode=3",
             "--cudagraph-capture-sizes", "1", "8", "--port", "9000", "--no-enable-log-requests", "-dpb", "ray"});
  EXPECT_EQ(parse(to_argv(args)), args);
}

TEST(EngineArgs, ValuesThatLookLikeFlagsOrHoldSpaces) {
  const auto args = parse({"m", "--chat-template=-a 'b' $c", "--tokenizer-mode", "x y", "--api-key=--k"});
  EXPECT_THAT(args.not_used,
              ElementsAre(Pair("chat_template", ElementsAre("-a 'b' $c")), Pair("tokenizer_mode", ElementsAre("x y")),
                          Pair("api_key", ElementsAre("--k"))));
  EXPECT_EQ(parse(to_argv(args)), args);
}

TEST(EngineArgs, WithoutAPart) {
  const auto args = without(parse({"-tp", "2", "--node-rank", "1", "--port", "1", "--host", "h"}), FlagPart::node);
  EXPECT_EQ(args, parse({"-tp", "2", "--host", "h"}));
}

TEST(EngineArgs, FromJson) {
  const auto args = read_engine_args(
      Json::parse(R"({"tensor_parallel_size":2,"eplb_config":{"num_redundant_experts":8},"enforce_eager":true})"),
      "case");
  EXPECT_EQ(args.tensor_parallel_size, 2);
  EXPECT_EQ(args.eplb_config, R"({"num_redundant_experts":8})");
  EXPECT_THROW(read_engine_args(Json::parse(R"({"tensor_parallel_sise":2})"), "case"), InputError);
  EXPECT_THROW(read_engine_args(Json::parse(R"({"enforce_eager":1})"), "case"), InputError);
}

TEST(EngineArgs, EveryRowHasOneSpelling) {
  std::vector<std::string> names;
  for (const auto& row : flag_rows()) names.emplace_back(row.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_GT(names.size(), 300u);
}

}  // namespace
}  // namespace shardwise
