// Every command that is written for a legal layout is one that vLLM's rules accept, on the GPUs that were placed.
#include <gtest/gtest.h>

#include <algorithm>

#include "launch/launch.h"
#include "model/bundled_model.h"
#include "model/load.h"
#include "parallel/model_facts.h"
#include "parallel/resolve.h"

namespace shardwise {
namespace {

/// What the node of a command looks like to vLLM: the devices that it may see, by their index.
NodeFacts node_facts(const LaunchRequest& request, const LaunchCommand& command) {
  NodeFacts facts;
  const auto visible = command.env.find("CUDA_VISIBLE_DEVICES");
  facts.gpus = visible == command.env.end()
                   ? request.cluster.nodes[static_cast<std::size_t>(command.node)].gpus
                   : 1 + static_cast<int>(std::count(visible->second.begin(), visible->second.end(), ','));
  facts.host_ip = node_address(request, command.node).text();
  return facts;
}

void check(const std::string& model_name, const std::string& cluster) {
  const Model model = bundled_model(model_name);
  const ModelFacts facts = model_facts(model);
  LaunchRequest request;
  request.model = model_name;
  request.is_moe = facts.is_moe;
  request.cluster = parse_cluster(cluster);
  request.engine.max_model_len = 8192;
  int accepted = 0;
  for (const int tp : {1, 2, 4, 8, 16})
    for (const int pp : {1, 2, 3})
      for (const int dp : {1, 2, 3, 4})
        for (const int replicas : {1, 2})
          for (const bool ep : {false, true}) {
            ParallelConfig& parallel = request.engine.parallel;
            parallel.tensor_parallel_size = tp;
            parallel.pipeline_parallel_size = pp;
            parallel.data_parallel_size = dp;
            parallel.enable_expert_parallel = ep;
            request.replicas = replicas;
            if (parallel.gpus() * replicas > request.cluster.total_gpus() || (ep && !facts.is_moe)) continue;
            if (check_layout(facts, parallel)) continue;
            const auto launched = launch_commands(request);
            if (std::holds_alternative<PlacementProblem>(launched)) continue;
            const Placement placement = std::get<Placement>(place(request.cluster, parallel, replicas));
            for (const LaunchCommand& command : std::get<0>(launched)) {
              SCOPED_TRACE(shell_line(command));
              const std::vector<std::string> words(command.argv.begin() + 2, command.argv.end());
              Environment env(command.env.begin(), command.env.end());
              const Resolution resolution = resolve(parse_vllm_flags(words), facts, node_facts(request, command), env);
              const auto* refusal = std::get_if<Refusal>(&resolution);
              ASSERT_EQ(refusal, nullptr) << refusal->rule->id << ": " << refusal->message;
              const Resolved& resolved = std::get<Resolved>(resolution);
              EXPECT_EQ(resolved.max_num_seqs, request.engine.max_num_seqs);
              EXPECT_EQ(resolved.max_num_batched_tokens, request.engine.max_num_batched_tokens);
              EXPECT_EQ(resolved.launch.headless_workers_only || resolved.launch.engine_core.has_value(), true);
              // vLLM counts devices among the visible ones; ours are visible in this order.
              std::size_t devices = 0;
              for (const auto& [rank, list] : resolved.launch.worker_devices) devices += list.size();
              const auto& shares = placement.replicas[static_cast<std::size_t>(command.replica)].shares;
              const auto share = std::find_if(shares.begin(), shares.end(),
                                              [&](const NodeShare& s) { return s.node == command.node; });
              EXPECT_EQ(devices, share->devices.size());
              ++accepted;
            }
          }
  EXPECT_GT(accepted, 5) << model_name << " on " << cluster;
}

TEST(Resolve, EveryCommandIsAccepted) {
  for (const char* cluster : {"8xH100", "2x8xH100", "4x8xH100", "3x8xH100"}) {
    check("meta-llama/Meta-Llama-3.1-70B", cluster);
    check("deepseek-ai/DeepSeek-V3", cluster);
  }
}

}  // namespace
}  // namespace shardwise
