// What vLLM accepts and refuses on GPUs and versions that public commands were written for: a row a command.
#include <gtest/gtest.h>

#include "app/check.h"
#include "base/text.h"
#include "model/bundled_model.h"
#include "model/load.h"

namespace shardwise {
namespace {

struct Command {
  const char *model, *gpus, *version;
  std::vector<std::string> flags;
  const char* rule;  ///< that refuses; "" = it starts
};

CheckAnswer ask(const Command& c) {
  CheckRequest r;
  r.model_spec = c.model;
  r.model = std::make_shared<const Model>(bundled_model(c.model));
  r.cluster = parse_cluster(c.gpus);
  r.vllm_version = parse_vllm_version(c.version);
  r.args = parse_vllm_flags(c.flags, r.vllm_version);
  r.workload.isl = parse_length("500", "--isl");
  r.workload.osl = parse_length("100", "--osl");
  r.simulate = r.find_changes = false;
  return check(r);
}

void expect_answers(std::initializer_list<Command> commands) {
  for (const auto& c : commands) {
    const auto answer = ask(c);
    const auto& refusal = answer.refusal;
    const auto why =
        answer.memory && answer.memory->refusal ? std::optional<Refusal>(*answer.memory->refusal) : refusal;
    EXPECT_EQ(why ? why->rule->id : "", c.rule) << c.model << " " << c.gpus << " " << c.version << " "
                                                << join(c.flags, " ") << ": " << (why ? why->message : "");
  }
}

TEST(Accepts, AmdHasItsOwnCapabilitiesAndQuantisations) {
  expect_answers({{"deepseek-ai/DeepSeek-V3", "8xMI300X", "0.32.0", {"-tp", "8", "--max-model-len", "8192"}, ""},
                  {"Qwen/Qwen3-30B-A3B-FP8", "1xMI355X", "0.32.0", {"--max-model-len", "8192"}, ""},
                  {"Qwen/Qwen3-8B-AWQ", "1xW7900", "0.32.0", {"--max-model-len", "8192"}, ""},
                  {"Qwen/Qwen3-8B",
                   "1xMI300X",
                   "0.32.0",
                   {"--quantization", "experts_int8", "--max-model-len", "8192"},
                   "quant_not_supported_on_platform"},
                  {"nvidia/Llama-3.1-70B-Instruct-FP8",
                   "8xMI300X",
                   "0.20.2",
                   {"-tp", "8", "--max-model-len", "8192"},
                   "quant_not_supported_on_platform"},
                  {"deepseek-ai/DeepSeek-V3.2",
                   "8xMI250X",
                   "0.32.0",
                   {"-tp", "8", "--max-model-len", "8192"},
                   "no_attention_backend"}});
}

TEST(Accepts, EveryKindOfAttentionNeedsABackend) {
  const std::vector<std::string> tp8 = {"-tp", "8", "--max-model-len", "8192"};
  expect_answers({{"nvidia/DeepSeek-V3.2-NVFP4", "8xRTX-PRO-6000", "0.16.0", tp8, "no_attention_backend"},
                  {"nvidia/DeepSeek-V3.2-NVFP4", "8xRTX-PRO-6000", "0.22.0", tp8, "no_attention_backend"},
                  {"nvidia/DeepSeek-V3.2-NVFP4", "8xRTX-PRO-6000", "0.24.0", tp8, ""},
                  {"nvidia/DeepSeek-V3.2-NVFP4", "8xH200", "0.32.0", tp8, ""},
                  {"nvidia/DeepSeek-V3.2-NVFP4", "8xA100", "0.32.0", tp8, "no_attention_backend"}});
}

TEST(Accepts, EveryKindOfExpertNeedsABackend) {
  const auto over = [](const char* backend) {
    return std::vector<std::string>{
        "-dp", "8", "--enable-expert-parallel", "--all2all-backend", backend, "--max-model-len", "4096"};
  };
  const char* model = "nvidia/Qwen3-235B-A22B-NVFP4";
  expect_answers({{model, "8xH200", "0.32.0", over("deepep_low_latency"), "no_moe_backend"},
                  {model, "8xH200", "0.32.0", over("flashinfer_nvlink_two_sided"), "no_moe_backend"},
                  {model, "8xH200", "0.32.0", over("allgather_reducescatter"), ""},
                  {model, "8xB200", "0.32.0", over("flashinfer_nvlink_two_sided"), ""}});
}

TEST(Accepts, FullGraphsOfStatesWantABlockForEveryRequest) {
  const char* model = "Qwen/Qwen3.5-27B-FP8";
  const auto with = [](std::vector<std::string> more) {
    more.insert(more.end(), {"--gpu-memory-utilization", "0.95"});
    return more;
  };
  expect_answers({{model, "1xH100", "0.22.0", with({}), "max_num_seqs_above_mamba_blocks"},
                  {model, "1xH100", "0.22.0", with({"--max-num-seqs", "512"}), ""},
                  {model, "1xH100", "0.22.0", with({"-O1"}), ""},
                  {model, "1xH100", "0.20.2", with({}), "max_num_seqs_above_mamba_blocks"}});
}

TEST(Accepts, SharedExpertsOfDeepSeekV4ArePaddedFrom0_24) {
  const std::vector<std::string> tp16 = {"-tp", "16", "--enable-expert-parallel", "--nnodes", "2", "--max-model-len",
                                         "8192"};
  expect_answers({{"deepseek-ai/DeepSeek-V4-Pro", "2x8xH200", "0.20.2", tp16, "fp8_block_vs_partition"},
                  {"deepseek-ai/DeepSeek-V4-Pro", "2x8xH200", "0.24.0", tp16, ""}});
}

TEST(Accepts, LongContextsByVersion) {
  const std::string yarn =
      R"({"rope_parameters":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768}})";
  const std::string both =
      R"({"rope_parameters":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768},"max_position_embeddings":131072})";
  const auto flags = [](const std::string& overrides) {
    return std::vector<std::string>{"--hf-overrides", overrides, "--max-model-len", "131072"};
  };
  expect_answers({{"Qwen/Qwen3-8B", "1xH100", "0.32.0", flags(yarn), "max_len_exceeds_model"},
                  {"Qwen/Qwen3-8B", "1xH100", "0.30.0", flags(yarn), "max_len_exceeds_model"},
                  {"Qwen/Qwen3-8B", "1xH100", "0.29.0", flags(yarn), ""},
                  {"Qwen/Qwen3-8B", "1xH100", "0.16.0", flags(yarn), ""},
                  {"Qwen/Qwen3-8B", "1xH100", "0.32.0", flags(both), ""}});
}

TEST(Accepts, PoolingSchedulesInStepAndCapturesPieces) {
  const auto answer =
      ask({"Qwen/Qwen3-8B", "1xH100", "0.32.0", {"--runner", "pooling", "--max-model-len", "8192"}, ""});
  ASSERT_TRUE(answer.resolved);
  EXPECT_FALSE(answer.resolved->async_scheduling);
  EXPECT_EQ(answer.resolved->cudagraph_mode, "PIECEWISE");
}

TEST(Accepts, WhatNoFigureKnowsOfIsSaid) {
  for (const auto& flags : {std::vector<std::string>{"--kv-offloading-size", "24"},
                            {"--moe-backend", "triton"},
                            {"--enable-tower-connector-lora", "--enable-lora"},
                            {"--limit-mm-per-prompt", R"({"image":1})"}}) {
    const auto answer = ask({"Qwen/Qwen3-8B", "1xH100", "0.32.0", flags, ""});
    const auto said = join(answer.warnings, "\n");
    EXPECT_NE(said.find("not modelled"), std::string::npos) << join(flags, " ");
    EXPECT_NE(said.find(flags.front()), std::string::npos) << said;
  }
  EXPECT_TRUE(
      ask({"Qwen/Qwen3-8B", "1xH100", "0.32.0", {"--seed", "3", "--max-model-len", "8192"}, ""}).warnings.empty());
}

TEST(Accepts, WeightsInHostMemoryAndAdaptersCount) {
  const auto weights = [](std::vector<std::string> flags, const char* version = "0.32.0", const char* says = "") {
    flags.insert(flags.end(), {"--max-model-len", "8192"});
    const auto answer = ask({"meta-llama/Meta-Llama-3.1-8B", "1xH100", version, flags, ""});
    EXPECT_NE(join(answer.warnings, "\n").find(says), std::string::npos) << join(answer.warnings, "\n");
    return answer.memory ? to_gib(answer.memory->stages.front().weights.total()) : 0;
  };
  const double all = weights({});
  EXPECT_NEAR(all - weights({"--cpu-offload-gb", "8"}, "0.32.0", "pinned in host memory"), 8, 0.2);
  // Eight of 32 layers, and a buffer for one.
  EXPECT_NEAR(all - weights({"--offload-group-size", "4"}), 7 * 0.4063, 0.01);
  EXPECT_NEAR(weights({"--enable-lora", "--max-loras", "4", "--max-lora-rank", "64"}) - all, 1.38, 0.01);
  // Model Runner V2 had no offloader yet.
  EXPECT_NEAR(weights({"--cpu-offload-gb", "8"}, "0.24.0", "Model Runner V2"), weights({}, "0.24.0"), 1e-6);
  EXPECT_NEAR(weights({}, "0.22.0") - weights({"--cpu-offload-gb", "8"}, "0.22.0"), 8, 0.2);
}

TEST(Accepts, WeightsThatAreQuantisedWhileTheyAreReadStayOnTheGpu) {
  const char* model = "Qwen/Qwen3-8B";
  const auto offload = [](std::vector<std::string> more) {
    more.insert(more.end(), {"--cpu-offload-gb", "4", "--quantization", "fp8", "--max-model-len", "4096"});
    return more;
  };
  expect_answers({{model, "1xH100", "0.32.0", offload({}), "offload_online_quantization"},
                  {model, "1xH100", "0.32.0", offload({"--cpu-offload-params", "input_layernorm"}), ""},
                  {"Qwen/Qwen3-32B-FP8", "1xH100", "0.32.0", offload({}), ""}});
}

TEST(Accepts, LargestImages) {
  const auto activation = [](std::vector<std::string> more) {
    more.insert(more.end(), {"--max-model-len", "8192", "--max-num-seqs", "32"});
    const auto answer = ask({"Qwen/Qwen3-VL-2B-Instruct", "1xH100", "0.32.0", more, ""});
    return answer.memory ? to_gib(answer.memory->stages.front().activation) : 0;
  };
  EXPECT_LT(activation({"--mm-processor-kwargs", R"({"max_pixels": 1003520})"}), 0.9 * activation({}));
  EXPECT_EQ(activation({"--mm-processor-kwargs", R"({"size": {"longest_edge": 16777216}})"}), activation({}));
}

TEST(Accepts, ExpertsThatAreQuantisedWhileTheyAreReadNeedAKernel) {
  const char* model = "Qwen/Qwen3-30B-A3B";
  const auto by = [](const char* method, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--quantization", method, "--max-model-len", "4096"});
    return more;
  };
  const std::vector<std::string> low = {"-dp", "8", "--enable-expert-parallel", "--all2all-backend",
                                        "deepep_low_latency"};
  expect_answers({{model, "8xH100", "0.32.0", by("fp8", low), ""},
                  {model, "8xA100", "0.32.0", by("fp8", low), "no_moe_backend"},
                  {model, "8xH100", "0.32.0", by("mxfp8", low), "no_moe_backend"},
                  {model, "8xH100", "0.32.0", by("int8_per_channel_weight_only", low), "no_moe_backend"},
                  {model, "1xA100", "0.32.0", by("fp8"), ""},
                  {model, "1xA100", "0.32.0", by("fp8_per_channel"), "no_moe_backend"},
                  {model, "1xH100", "0.32.0", by("fp8_per_channel"), ""}});
}

TEST(Accepts, DeepEpBuffersCount) {
  const auto memory = [](const char* backend) {
    const auto answer =
        ask({"zai-org/GLM-5.2-FP8",
             "2x8xH200",
             "0.32.0",
             {"-dp", "16", "--data-parallel-size-local", "8", "--enable-expert-parallel", "--all2all-backend", backend,
              "--max-num-batched-tokens", "256", "--max-num-seqs", "256", "--max-model-len", "8192"},
             ""});
    return answer.memory ? to_gib(answer.memory->stages.front().non_torch) : 0;
  };
  const double plain = memory("allgather_reducescatter");
  // NVSHMEM's heap: 256 MiB of its own and the buffer, in steps of 512 MiB.
  EXPECT_NEAR(memory("deepep_high_throughput") - plain, 1 + 1.5, 0.01);
  // 1 GiB over NVLink; to send and to receive twice 256 experts x 256 tokens x (6144 x 2 + 48 x 4) bytes: 3.05 GiB.
  EXPECT_NEAR(memory("deepep_low_latency") - plain, 1 + 3.5 + 256 * 1024 * 128 / 1073741824.0, 0.01);
}

}  // namespace
}  // namespace shardwise
