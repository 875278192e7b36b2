#include "launch/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

LaunchRequest layout_request(const std::string& cluster, int tp, int pp, int dp, int replicas = 1) {
  LaunchRequest r;
  r.model = "org/model";
  r.cluster = parse_cluster(cluster);
  r.replicas = replicas;
  r.engine.parallel.tensor_parallel_size = tp;
  r.engine.parallel.pipeline_parallel_size = pp;
  r.engine.parallel.data_parallel_size = dp;
  r.engine.max_model_len = 32768;
  r.engine.max_num_seqs = 256;
  return r;
}

std::vector<std::string> lines(const LaunchRequest& r) {
  std::vector<std::string> out;
  const auto commands = launch_commands(r);
  if (const auto* problem = std::get_if<PlacementProblem>(&commands)) return {"problem: " + problem->message};
  for (const auto& command : std::get<0>(commands))
    out.push_back(std::to_string(command.node) + "> " + shell_line(command));
  return out;
}

// What every command of these requests carries besides the layout.
const std::string kCommon =
    " --max-model-len 32768 --gpu-memory-utilization 0.92 --kv-cache-dtype auto --enable-prefix-caching "
    "--max-num-batched-tokens 8192 --max-num-seqs 256";

TEST(Patterns, OneNodeTp2Dp4) {
  EXPECT_THAT(lines(layout_request("8xH100", 2, 1, 4)),
              ElementsAre("0> vllm serve org/model --tensor-parallel-size 2 --data-parallel-size 4" + kCommon));
}

TEST(Patterns, TwoNodesTp4Dp4) {
  const std::string layout = "vllm serve org/model --tensor-parallel-size 4 --data-parallel-size 4";
  EXPECT_THAT(
      lines(layout_request("2x8xH100", 4, 1, 4)),
      ElementsAre("0> " + layout +
                      " --data-parallel-size-local 2 --data-parallel-address node0 --data-parallel-rpc-port 13345" +
                      kCommon,
                  "1> " + layout +
                      " --data-parallel-start-rank 2 --data-parallel-size-local 2 --data-parallel-address node0 "
                      "--data-parallel-rpc-port 13345"
                      " --headless" +
                      kCommon));
}

TEST(Patterns, MoeTp2Dp2RoundRobin) {
  LaunchRequest r = layout_request("4xH100", 2, 1, 2);
  r.is_moe = true;
  r.engine.parallel.enable_expert_parallel = true;
  r.engine.parallel.expert_placement_strategy = ExpertPlacement::round_robin;
  EXPECT_THAT(
      lines(r),
      ElementsAre("0> vllm serve org/model --tensor-parallel-size 2 --data-parallel-size 2 --enable-expert-parallel "
                  "--expert-placement-strategy round_robin --all2all-backend allgather_reducescatter" +
                  kCommon));
}

TEST(Commands, TensorParallelOverNodes) {
  const auto commands = lines(layout_request("2x8xH100", 8, 2, 1));
  ASSERT_EQ(commands.size(), 2u);
  EXPECT_THAT(commands[0], HasSubstr("--nnodes 2 --node-rank 0 --master-addr node0 --master-port 29501"));
  EXPECT_THAT(commands[1], HasSubstr("--nnodes 2 --node-rank 1 --master-addr node0 --master-port 29501 --headless"));
}

TEST(Commands, ReplicasShareANode) {
  const auto commands = lines(layout_request("8xH100", 4, 1, 1, 2));
  ASSERT_EQ(commands.size(), 2u);
  EXPECT_THAT(commands[0], testing::StartsWith("0> CUDA_VISIBLE_DEVICES=0,1,2,3 vllm serve"));
  EXPECT_THAT(commands[0], testing::Not(HasSubstr("--port")));
  EXPECT_THAT(commands[1], testing::StartsWith("0> CUDA_VISIBLE_DEVICES=4,5,6,7 vllm serve"));
  EXPECT_THAT(commands[1], HasSubstr("--port 8001"));
}

/// A request with the user's arguments.
LaunchRequest given(LaunchRequest r, const std::vector<std::string>& words) {
  r.given = parse_vllm_flags(words);
  return r;
}

TEST(Commands, TheUsersArgumentsStay) {
  const auto r = given(layout_request("2x8xH100", 4, 1, 4),
                       {"--trust-remote-code", "--api-key", "k", "-pp", "1", "--eplb-config.window_size=9",
                        "--no-enforce-eager", "--data-parallel-rpc-port", "2000", "--port", "9000", "--headless"});
  const auto commands = lines(r);
  const std::string head =
      "0> vllm serve org/model --tensor-parallel-size 4 --pipeline-parallel-size 1 --data-parallel-size 4 "
      "--eplb-config '{\"window_size\":9}' --data-parallel-size-local 2 --data-parallel-address node0 "
      "--data-parallel-rpc-port 2000 --max-model-len 32768 --no-enforce-eager --trust-remote-code";
  EXPECT_THAT(commands[0], testing::StartsWith(head));
  EXPECT_THAT(commands[0], testing::EndsWith(" --max-num-seqs 256 --api-key k --port 9000"));
  EXPECT_THAT(commands[1], HasSubstr("--headless"));
  EXPECT_THAT(commands[1], testing::EndsWith(" --max-num-seqs 256"));
}

TEST(Commands, WhatThePlanDecidesIsNamed) {
  const auto r = given(layout_request("2x8xH100", 8, 1, 1, 2),
                       {"--max-model-len", "auto", "-dpa", "10.0.0.1", "--master-port", "3000", "--port", "9000",
                        "--max-num-seqs", "256", "--eplb-config", "{}"});
  std::vector<std::string> names;
  for (const auto& flag : laid_over(r.given, std::get<0>(launch_commands(r)))) names.emplace_back(flag.row->name);
  EXPECT_THAT(names, ElementsAre("data_parallel_address", "max_model_len"));
  EXPECT_THAT(lines(r)[1], HasSubstr("--master-port 3001"));
}

TEST(Commands, JsonKeepsItsKeys) {
  auto r = given(layout_request("8xH100", 4, 1, 2), {"--eplb-config.window_size=9", "--enable-eplb", "-cc.mode=3"});
  r.is_moe = r.engine.parallel.enable_expert_parallel = r.engine.parallel.enable_eplb = true;
  r.engine.cudagraph_mode = CudagraphMode::piecewise;
  EXPECT_EQ(plan_args(r).eplb_config, R"({"window_size":9,"num_redundant_experts":0})");
  EXPECT_EQ(plan_args(r).compilation_config, R"({"mode":3,"cudagraph_mode":"PIECEWISE"})");
  EXPECT_TRUE(laid_over(r.given, std::get<0>(launch_commands(r))).empty());
}

TEST(Commands, ReadBackToTheSameArguments) {
  LaunchRequest r = layout_request("2x8xH100", 4, 1, 4);
  r.is_moe = true;
  r.engine.parallel.enable_expert_parallel = true;
  r.engine.parallel.enable_eplb = true;
  r.engine.parallel.num_redundant_experts = 8;
  r.engine.kv_cache_dtype = "fp8";
  r.engine.block_size = 64;
  r.engine.cudagraph_mode = CudagraphMode::piecewise;
  r.engine.num_speculative_tokens = 1;
  r.engine.enable_prefix_caching = false;
  const EngineArgs args = plan_args(r);
  EXPECT_EQ(parse_vllm_flags(to_argv(args)), args);
}

TEST(Placement, Cases) {
  auto shares = [](const std::string& cluster, int tp, int pp, int dp, int replicas = 1) {
    ParallelConfig p;
    p.tensor_parallel_size = tp;
    p.pipeline_parallel_size = pp;
    p.data_parallel_size = dp;
    const auto placed = place(parse_cluster(cluster), p, replicas);
    std::string out;
    if (std::holds_alternative<PlacementProblem>(placed)) return std::string("problem");
    for (const auto& replica : std::get<Placement>(placed).replicas) {
      out += out.empty() ? "" : "| ";
      for (const auto& s : replica.shares)
        out += "n" + std::to_string(s.node) + ":" + std::to_string(s.first_dp_rank) + "+" + std::to_string(s.dp_ranks) +
               "x" + std::to_string(s.devices.size()) + " ";
    }
    return out;
  };
  EXPECT_EQ(shares("8xH100", 2, 1, 4), "n0:0+4x8 ");
  EXPECT_EQ(shares("2x8xH100", 3, 1, 4), "n0:0+2x6 n1:2+2x6 ");
  EXPECT_EQ(shares("2x8xH100", 4, 1, 3), "n0:0+2x8 n1:2+1x4 ");
  EXPECT_EQ(shares("2x8xH100", 16, 1, 1), "n0:0+1x8 n1:0+1x8 ");
  EXPECT_EQ(shares("4x8xH100", 16, 1, 2), "n0:0+1x8 n1:0+1x8 n2:1+1x8 n3:1+1x8 ");
  EXPECT_EQ(shares("3x8xH100", 4, 3, 1), "n0:0+1x4 n1:0+1x4 n2:0+1x4 ");
  EXPECT_EQ(shares("2x8xH100", 4, 3, 1), "n0:0+1x6 n1:0+1x6 ");
  EXPECT_EQ(shares("2x8xH100", 8, 1, 1, 2), "n0:0+1x8 | n1:0+1x8 ");
  EXPECT_EQ(shares("4xL40S+8xH100", 8, 1, 1), "n1:0+1x8 ");
  EXPECT_EQ(shares("4xL40S+4xH100", 8, 1, 1), "problem");
  EXPECT_EQ(shares("8xH100", 8, 1, 2), "problem");
}

TEST(Shell, Words) {
  EXPECT_EQ(shell_word("plain-1.2"), "plain-1.2");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word("{\"a\":1}"), "'{\"a\":1}'");
}

}  // namespace
}  // namespace shardwise
