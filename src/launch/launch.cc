#include "launch/launch.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "config/json.h"
#include "parallel/dimensions.h"

namespace shardwise {
namespace {

const char* cudagraph_mode_text(CudagraphMode mode) {
  switch (mode) {
    case CudagraphMode::none:
      return "NONE";
    case CudagraphMode::piecewise:
      return "PIECEWISE";
    case CudagraphMode::full:
      return "FULL";
    case CudagraphMode::full_decode_only:
      return "FULL_DECODE_ONLY";
    case CudagraphMode::full_and_piecewise:
      return "FULL_AND_PIECEWISE";
  }
  return "";
}

/// Layout flags of one share (what differs between nodes), per vllm/engine/arg_utils.py create_engine_config and
/// vllm/entrypoints/cli/serve.py.
void add_node_args(EngineArgs& args, const LaunchRequest& request, const DeploymentPlacement& deployment,
                   std::size_t share_index, int replica) {
  const NodeShare& share = deployment.shares[share_index];
  const std::string head = node_address(request, deployment.shares.front().node);
  if (deployment.nodes_per_dp_rank > 1) {
    args.nnodes = static_cast<std::int64_t>(deployment.shares.size());
    args.node_rank = static_cast<std::int64_t>(share_index);
    args.master_addr = head;
    args.master_port = request.master_port + replica;
    if (request.engine.parallel.data_parallel_size > 1)
      args.data_parallel_rpc_port = request.data_parallel_rpc_port + replica;
  } else if (deployment.shares.size() > 1) {
    args.data_parallel_size_local = share.dp_ranks;
    args.data_parallel_address = head;
    args.data_parallel_rpc_port = request.data_parallel_rpc_port + replica;
    if (share_index > 0) args.data_parallel_start_rank = share.first_dp_rank;
  }
  if (share_index > 0) args.headless = true;
}

std::string ranks_text(const NodeShare& share) {
  if (share.dp_ranks == 1) return "data-parallel rank " + std::to_string(share.first_dp_rank);
  return "data-parallel ranks " + std::to_string(share.first_dp_rank) + " to " +
         std::to_string(share.first_dp_rank + share.dp_ranks - 1);
}

std::string note_of(const LaunchRequest& request, const DeploymentPlacement& deployment, std::size_t share_index,
                    int replica) {
  const NodeShare& share = deployment.shares[share_index];
  const bool dp = request.engine.parallel.data_parallel_size > 1;
  std::string note;
  if (request.replicas > 1) note = "replica " + std::to_string(replica) + ": ";
  if (share_index == 0)
    note += deployment.shares.size() > 1 ? "head node, serves HTTP for the whole deployment" : "serves HTTP";
  else if (share.node_rank_within_dp > 0)
    note += "workers of the rank whose engine runs on another node";
  else
    note += "engines only";
  if (dp) note += "; " + ranks_text(share);
  if (dp && !request.is_moe && share_index == 0)
    note += "; a dense model: the ranks are independent engines behind one address";
  return note;
}

}  // namespace

int node_number(const LaunchRequest& request, int node) {
  return request.node_numbers.empty() ? node : request.node_numbers.at(static_cast<std::size_t>(node));
}

std::string node_address(const LaunchRequest& request, int node) {
  const auto& given = request.cluster.nodes[static_cast<std::size_t>(node)].address;
  return given ? *given : "node" + std::to_string(node_number(request, node));
}

EngineArgs plan_args(const LaunchRequest& request) {
  const EngineConfig& engine = request.engine;
  const ParallelConfig& parallel = engine.parallel;
  EngineArgs args;
  args.model = request.model;
  lay_over(args, {0, parallel, request.replicas});
  if (parallel.enable_eplb) args.eplb_config = Json{{"num_redundant_experts", parallel.num_redundant_experts}}.dump();
  if (engine.max_model_len > 0) args.max_model_len = engine.max_model_len;
  args.max_num_seqs = engine.max_num_seqs;
  args.max_num_batched_tokens = engine.max_num_batched_tokens;
  args.gpu_memory_utilization = engine.gpu_memory_utilization;
  args.kv_cache_memory_bytes = engine.kv_cache_memory_bytes;
  args.kv_cache_dtype = engine.kv_cache_dtype;
  if (engine.block_size) args.block_size = *engine.block_size;
  if (engine.enforce_eager)
    args.enforce_eager = true;
  else if (engine.cudagraph_mode != CudagraphMode::full_and_piecewise)
    args.compilation_config = Json{{"cudagraph_mode", cudagraph_mode_text(engine.cudagraph_mode)}}.dump();
  args.enable_prefix_caching = engine.enable_prefix_caching;
  if (!engine.enable_chunked_prefill) args.enable_chunked_prefill = false;
  if (!engine.async_scheduling) args.async_scheduling = false;
  if (engine.num_speculative_tokens > 0)
    args.speculative_config = Json{{"method", "mtp"}, {"num_speculative_tokens", engine.num_speculative_tokens}}.dump();
  if (engine.language_model_only) args.language_model_only = true;
  const EngineArgs& given = request.given;
  args.dtype = given.dtype;
  args.quantization = given.quantization;
  args.hf_overrides = given.hf_overrides;
  args.load_format = given.load_format;
  if (given.speculative_config) args.speculative_config = given.speculative_config;
  return args;
}

std::variant<std::vector<LaunchCommand>, PlacementProblem> launch_commands(const LaunchRequest& request) {
  const auto placed = place(request.cluster, request.engine.parallel, request.replicas);
  if (const auto* problem = std::get_if<PlacementProblem>(&placed)) return *problem;
  const Placement& placement = std::get<Placement>(placed);
  const EngineArgs shared = plan_args(request);

  std::vector<int> servers(request.cluster.nodes.size(), 0), users(request.cluster.nodes.size(), 0);
  for (const auto& deployment : placement.replicas)
    for (const auto& share : deployment.shares) ++users[static_cast<std::size_t>(share.node)];

  std::vector<LaunchCommand> commands;
  for (std::size_t replica = 0; replica < placement.replicas.size(); ++replica) {
    const DeploymentPlacement& deployment = placement.replicas[replica];
    for (std::size_t i = 0; i < deployment.shares.size(); ++i) {
      const NodeShare& share = deployment.shares[i];
      const auto at = static_cast<std::size_t>(share.node);
      const Node& node = request.cluster.nodes[at];
      EngineArgs args = shared;
      add_node_args(args, request, deployment, i, static_cast<int>(replica));

      LaunchCommand command;
      command.node = share.node;
      command.replica = static_cast<int>(replica);
      command.serves_http = i == 0;
      command.argv = {"vllm", "serve"};
      for (auto& word : to_argv(args)) command.argv.push_back(std::move(word));
      if (command.serves_http) {
        command.port = request.port + servers[at]++;
        if (command.port != 8000) {
          command.argv.push_back("--port");
          command.argv.push_back(std::to_string(command.port));
        }
      }
      command.argv.insert(command.argv.end(), request.extra_args.begin(), request.extra_args.end());

      // vLLM takes devices 0, 1, ... of those it sees: name them where other processes use some of the node's.
      if (users[at] > 1 || node.usable_gpus() < node.gpus) {
        std::vector<std::string> devices;
        for (const int device : share.devices) devices.push_back(std::to_string(device));
        command.env["CUDA_VISIBLE_DEVICES"] = join(devices, ",");
      }
      command.env.merge(environment({0, request.engine.parallel, request.replicas}));
      // vLLM wants an IP address here, no host name.
      if (deployment.shares.size() > 1 && node.address &&
          node.address->find_first_not_of("0123456789.:") == std::string::npos)
        command.env["VLLM_HOST_IP"] = *node.address;
      command.note = note_of(request, deployment, i, static_cast<int>(replica));
      commands.push_back(std::move(command));
    }
  }
  return commands;
}

std::string shell_word(const std::string& word) {
  static constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string shell_line(const LaunchCommand& command, bool wrap) {
  std::string out;
  for (const auto& [name, value] : command.env) out += name + "=" + shell_word(value) + " ";
  for (std::size_t i = 0; i < command.argv.size(); ++i) {
    const std::string& word = command.argv[i];
    if (i > 0)
      out += wrap && word.starts_with("-") && word.size() > 1 && !std::isdigit(static_cast<unsigned char>(word[1]))
                 ? " \\\n    "
                 : " ";
    out += shell_word(word);
  }
  return out;
}

}  // namespace shardwise
