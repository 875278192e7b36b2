#include "launch/launch.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "config/json.h"
#include "config/quantity.h"
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

/// --port as given; the planner knows it by name only.
std::optional<std::int64_t> given_port(const EngineArgs& given) {
  std::optional<std::int64_t> port;
  for (const auto& [name, words] : given.not_used)
    if (name == "port") port = human_integer(words.at(0), "--port");
  return port;
}

/// What differs between nodes, per vllm/engine/arg_utils.py create_engine_config and vllm/entrypoints/cli/serve.py.
/// Ports that the user gives are those of the first deployment, further ones count up; an address is that of the only
/// deployment.
void add_node_args(EngineArgs& args, const LaunchRequest& request, const DeploymentPlacement& deployment,
                   std::size_t share_index, int replica) {
  const NodeShare& share = deployment.shares[share_index];
  const EngineArgs& given = request.given;
  const bool rank_over_nodes = deployment.nodes_per_dp_rank > 1;
  const bool ranks_over_nodes = !rank_over_nodes && deployment.shares.size() > 1;
  const bool only = request.replicas == 1;
  const auto head = [&](const std::optional<std::string>& address, const char* flag) {
    const bool given_one = only && address;
    return (given_one ? parse_host_name(*address, {flag, 0, ""})
                      : node_address(request, deployment.shares.front().node))
        .text();
  };
  if (rank_over_nodes) {
    args.nnodes = static_cast<std::int64_t>(deployment.shares.size());
    args.node_rank = static_cast<std::int64_t>(share_index);
  }
  if (rank_over_nodes || (only && given.master_addr)) args.master_addr = head(given.master_addr, "--master-addr");
  if (rank_over_nodes || given.master_port) args.master_port = given.master_port.value_or(kMasterPort) + replica;
  if (ranks_over_nodes) {
    args.data_parallel_size_local = share.dp_ranks;
    if (share_index > 0) args.data_parallel_start_rank = share.first_dp_rank;
  }
  if (ranks_over_nodes || (only && given.data_parallel_address))
    args.data_parallel_address = head(given.data_parallel_address, "--data-parallel-address");
  if (ranks_over_nodes || (rank_over_nodes && request.engine.parallel.data_parallel_size > 1) ||
      given.data_parallel_rpc_port)
    args.data_parallel_rpc_port = given.data_parallel_rpc_port.value_or(kDataParallelRpcPort) + replica;
  // Ray starts the ranks of other nodes itself: it does not go together with a command a node.
  if (rank_over_nodes && args.distributed_executor_backend == "ray") args.distributed_executor_backend.reset();
  if (deployment.shares.size() > 1 && args.data_parallel_backend == "ray") args.data_parallel_backend.reset();
  if (share_index > 0) {
    args = without(std::move(args), FlagPart::server);
    args.headless = true;
  }
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

HostName node_address(const LaunchRequest& request, int node) {
  const auto& given = request.cluster.nodes[static_cast<std::size_t>(node)].address;
  return given ? *given : parse_host_name("node" + std::to_string(node_number(request, node)), {"addresses", 0, ""});
}

namespace {

/// An argument that is left out where vLLM does the same without it.
template <class T, class V>
void lay(std::optional<T>& argument, V value, V vllm_default) {
  if (argument || value != vllm_default) argument = value;
}

/// A JSON argument with one key set, its other keys as given.
std::string with_key(const std::optional<std::string>& given, const char* key, Json value) {
  Json object = given ? Json::parse(*given, nullptr, false) : Json::object();
  if (!object.is_object()) object = Json::object();
  object[key] = std::move(value);
  return object.dump();
}

bool has_key(const std::optional<std::string>& given, const char* key) {
  return given && Json::parse(*given, nullptr, false).contains(key);
}

void lay_engine(EngineArgs& args, const EngineConfig& engine) {
  if (engine.max_model_len > 0) args.max_model_len = engine.max_model_len;
  args.max_num_seqs = engine.max_num_seqs;
  args.max_num_batched_tokens = engine.max_num_batched_tokens;
  args.gpu_memory_utilization = engine.gpu_memory_utilization;
  args.kv_cache_memory_bytes = engine.kv_cache_memory_bytes;
  args.kv_cache_dtype = engine.kv_cache_dtype;
  if (engine.block_size) args.block_size = *engine.block_size;
  lay(args.enforce_eager, engine.enforce_eager, false);
  if (!engine.enforce_eager && engine.cudagraph_mode != CudagraphMode::full_and_piecewise &&
      !has_key(args.compilation_config, "cudagraph_mode"))
    args.compilation_config =
        with_key(args.compilation_config, "cudagraph_mode", cudagraph_mode_text(engine.cudagraph_mode));
  args.enable_prefix_caching = engine.enable_prefix_caching;
  lay(args.enable_chunked_prefill, engine.enable_chunked_prefill, true);
  lay(args.async_scheduling, engine.async_scheduling, true);
  if (engine.num_speculative_tokens > 0 && !args.speculative_config && !args.spec_method && !args.spec_model &&
      !args.spec_tokens)
    args.speculative_config = Json{{"method", "mtp"}, {"num_speculative_tokens", engine.num_speculative_tokens}}.dump();
  lay(args.language_model_only, engine.language_model_only, false);
}

/// Whether `flag` says what was given; JSON may say more.
bool carries(const GivenFlag& flag, const GivenFlag& given) {
  if (flag == given) return true;
  if (flag.row != given.row || flag.row->kind != FlagKind::json) return false;
  const Json there = Json::parse(flag.words.front(), nullptr, false);
  Json both = there;
  both.merge_patch(Json::parse(given.words.front(), nullptr, false));
  return both == there;
}

}  // namespace

EngineArgs plan_args(const LaunchRequest& request) {
  EngineArgs args = without(request.given, FlagPart::node);
  args.model = request.model;
  const ParallelConfig& parallel = request.engine.parallel;
  lay_over(args, {0, parallel, request.replicas});
  if (parallel.enable_eplb)
    args.eplb_config = with_key(args.eplb_config, "num_redundant_experts", parallel.num_redundant_experts);
  lay_engine(args, request.engine);
  return args;
}

std::vector<GivenFlag> laid_over(const EngineArgs& given, const std::vector<LaunchCommand>& commands,
                                 VllmVersion version) {
  std::vector<GivenFlag> carried;
  for (const auto& command : commands)
    for (auto& flag : given_flags(parse_vllm_flags(std::span(command.argv).subspan(2), version)))
      carried.push_back(std::move(flag));
  auto flags = given_flags(given);
  std::erase_if(flags, [&](const GivenFlag& flag) {
    return std::any_of(carried.begin(), carried.end(), [&](const GivenFlag& c) { return carries(c, flag); });
  });
  return flags;
}

std::variant<std::vector<LaunchCommand>, PlacementProblem> launch_commands(const LaunchRequest& request) {
  const auto placed = place(request.cluster, request.engine.parallel, request.replicas);
  if (const auto* problem = std::get_if<PlacementProblem>(&placed)) return *problem;
  const Placement& placement = std::get<Placement>(placed);
  const EngineArgs shared = plan_args(request);
  const auto port = given_port(request.given);

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
        command.port = static_cast<int>(port.value_or(kPort)) + servers[at]++;
        if (port || command.port != kPort) {
          command.argv.push_back("--port");
          command.argv.push_back(std::to_string(command.port));
        }
      }

      // vLLM takes devices 0, 1, ... of those it sees: name them where other processes use some of the node's.
      if (users[at] > 1 || node.usable_gpus() < node.gpus) {
        std::vector<std::string> devices;
        for (const int device : share.devices) devices.push_back(std::to_string(device));
        command.env["CUDA_VISIBLE_DEVICES"] = join(devices, ",");
      }
      command.env.merge(environment({0, request.engine.parallel, request.replicas}));
      // vLLM wants an IP address here, no host name.
      if (deployment.shares.size() > 1 && node.address && node.address->is_ip())
        command.env["VLLM_HOST_IP"] = node.address->text();
      command.note = note_of(request, deployment, i, static_cast<int>(replica));
      commands.push_back(std::move(command));
    }
  }
  return commands;
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
