// Our commands against deployments that vLLM's own launcher accepted: same arguments, same GPUs.
#include <gtest/gtest.h>

#include "base/text.h"
#include "config/json.h"
#include "config/text_source.h"
#include "launch/launch.h"

namespace shardwise {
namespace {

int value_or(const Json& object, const char* key, int otherwise) {
  return object.contains(key) ? object[key].get<int>() : otherwise;
}

/// The layout of the recorded deployment as a request; nodes offer just the GPUs that the record uses.
LaunchRequest request_of(const Json& row) {
  const Json& first = row["commands"][0];
  LaunchRequest request;
  request.model = "org/model";
  request.is_moe = row["moe"];
  ParallelConfig& parallel = request.engine.parallel;
  parallel.tensor_parallel_size = value_or(first, "tensor_parallel_size", 1);
  parallel.pipeline_parallel_size = value_or(first, "pipeline_parallel_size", 1);
  parallel.data_parallel_size = value_or(first, "data_parallel_size", 1);
  parallel.enable_expert_parallel = first.contains("enable_expert_parallel");
  request.cluster = parse_cluster(std::to_string(row["commands"].size()) + "x" + row["gpus"].dump() + "xH100");
  for (std::size_t i = 0; i < request.cluster.nodes.size(); ++i) {
    request.cluster.nodes[i].address = HostName::parse("10.0.0." + std::to_string(i + 1));
    request.cluster.nodes[i].available = static_cast<int>(row["workers"][i].size());
  }
  return request;
}

/// Arguments that say how the deployment is laid out; the others are the engine's.
Json layout_of(const EngineArgs& args) {
  Json out;
  auto put = [&](const char* name, const auto& value) {
    if (value) out[name] = *value;
  };
  put("tensor_parallel_size", args.tensor_parallel_size);
  put("pipeline_parallel_size", args.pipeline_parallel_size);
  put("data_parallel_size", args.data_parallel_size);
  put("enable_expert_parallel", args.enable_expert_parallel);
  put("nnodes", args.nnodes);
  put("node_rank", args.node_rank);
  put("master_addr", args.master_addr);
  put("data_parallel_size_local", args.data_parallel_size_local);
  put("data_parallel_address", args.data_parallel_address);
  put("data_parallel_start_rank", args.data_parallel_start_rank);
  put("headless", args.headless);
  return out;
}

TEST(Golden, CommandsAndDevicesOfAcceptedDeployments) {
  int count = 0;
  for (const std::string& line : split(read_file(SHARDWISE_SOURCE_DIR "/tests/golden/launch/nodes.jsonl"), '\n')) {
    if (line.empty()) continue;
    const Json row = parse_json(line, "nodes.jsonl");
    SCOPED_TRACE(line);
    const LaunchRequest request = request_of(row);
    const auto launched = launch_commands(request);
    ASSERT_TRUE(std::holds_alternative<std::vector<LaunchCommand>>(launched))
        << std::get<PlacementProblem>(launched).message;
    const auto& commands = std::get<0>(launched);
    const Placement placement = std::get<Placement>(place(request.cluster, request.engine.parallel));
    ASSERT_EQ(commands.size(), row["commands"].size());
    for (std::size_t i = 0; i < commands.size(); ++i) {
      Json expected = row["commands"][i];
      for (const char* name : {"data_parallel_rpc_port", "device_ids"}) expected.erase(name);
      for (const char* name : {"pipeline_parallel_size", "data_parallel_size"})
        if (value_or(expected, name, 1) == 1) expected.erase(name);
      const std::vector<std::string> words(commands[i].argv.begin() + 2, commands[i].argv.end());
      const Json ours = layout_of(parse_vllm_flags(words));
      EXPECT_EQ(nlohmann::json::parse(ours.dump()), nlohmann::json::parse(expected.dump()));

      Json workers = Json::array();
      const NodeShare& share = placement.replicas[0].shares[i];
      const auto per_rank = share.devices.size() / static_cast<std::size_t>(share.dp_ranks);
      for (std::size_t d = 0; d < share.devices.size(); ++d)
        workers.push_back({share.first_dp_rank + static_cast<int>(d / per_rank), share.devices[d]});
      EXPECT_EQ(workers, row["workers"][i]);
    }
    ++count;
  }
  EXPECT_GE(count, 40);
}

}  // namespace
}  // namespace shardwise
