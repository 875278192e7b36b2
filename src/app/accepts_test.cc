// What vLLM accepts and refuses on GPUs and versions that public commands were written for: a row a command.
#include <gtest/gtest.h>

#include "app/check.h"
#include "base/text.h"
#include "config/text_source.h"
#include "model/load.h"

namespace shardwise {
namespace {

struct Command {
  const char *model, *gpus, *version;
  std::vector<std::string> flags;
  const char* rule;  ///< that refuses; "" = it starts
};

CheckAnswer ask(const Command& c) {
  DiskSource disk;
  CheckRequest r;
  r.model_spec = c.model;
  r.model = std::make_shared<const Model>(load_model(c.model, disk));
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
  for (const auto& flags : {std::vector<std::string>{"--cpu-offload-gb", "24"},
                            {"--offload-group-size", "4"},
                            {"--enable-lora", "--max-loras", "4", "--max-lora-rank", "64"},
                            {"--mm-processor-kwargs", R"({"max_pixels":1000})"}}) {
    const auto answer = ask({"Qwen/Qwen3-8B", "1xH100", "0.32.0", flags, ""});
    const auto said = join(answer.warnings, "\n");
    EXPECT_NE(said.find("not modelled"), std::string::npos) << join(flags, " ");
    EXPECT_NE(said.find(flags.front()), std::string::npos) << said;
  }
  EXPECT_TRUE(
      ask({"Qwen/Qwen3-8B", "1xH100", "0.32.0", {"--seed", "3", "--max-model-len", "8192"}, ""}).warnings.empty());
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
  EXPECT_NEAR(memory("deepep_high_throughput") - plain, 2, 0.01);
  // 1 GiB over NVLink; to send and to receive twice 256 experts x 256 tokens x (6144 x 2 + 48 x 4) bytes.
  EXPECT_NEAR(memory("deepep_low_latency") - plain, 1 + 4.0 * 256 * 256 * 12480 / 1073741824.0, 0.01);
}

}  // namespace
}  // namespace shardwise
