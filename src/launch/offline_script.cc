// Batch inference with the layout of the plan, without a server.
#include "base/embedded.h"
#include "base/text.h"
#include "launch/parts.h"
#include "launch/quoting.h"
#include "parallel/dimensions.h"

namespace shardwise {
namespace {

std::string python_list(const std::vector<std::string>& words, bool quoted) {
  std::vector<std::string> items;
  for (const auto& word : words) items.push_back(quoted ? python_string(word) : word);
  return "[" + join(items, ", ") + "]";
}

std::string python_value(const GivenFlag& flag) {
  const auto word = flag.words.empty() ? std::string() : flag.words.front();
  switch (flag.row->kind) {
    case FlagKind::boolean:
    case FlagKind::present:
      return word == "no" ? "False" : "True";
    case FlagKind::integer:
    case FlagKind::human_integer:
    case FlagKind::length:
      return std::to_string(human_integer(word, std::string(flag.row->name)));
    case FlagKind::number:
      return word;
    case FlagKind::json:
      return "json.loads(" + python_string(word) + ")";
    case FlagKind::text_list:
    case FlagKind::comma_list:
    case FlagKind::integer_list:
      return python_list(flag.words, flag.row->kind != FlagKind::integer_list);
    case FlagKind::text:
      return python_string(word);
    case FlagKind::optional_text:
      return flag.words.empty() ? "True" : python_string(word);
  }
  return "";
}

/// Keyword arguments of vllm.LLM, one a line: the fields of EngineArgs.
std::string python_arguments(const LaunchRequest& request) {
  EngineArgs args = without(without(plan_args(request), FlagPart::server), FlagPart::command);
  args.data_parallel_size.reset();  // comes from VLLM_DP_SIZE
  std::string out;
  for (const auto& flag : given_flags(args))
    out += "    " + std::string(flag.row->name) + "=" + python_value(flag) + ",\n";
  return out;
}

constexpr std::string_view kRanksTogether =
    "    # The ranks step together: vLLM finds its peers, and its GPUs, through these.\n"
    "    os.environ[\"VLLM_DP_RANK\"] = str(rank)\n"
    "    os.environ[\"VLLM_DP_RANK_LOCAL\"] = str(local_rank)\n"
    "    os.environ[\"VLLM_DP_SIZE\"] = str(DP_SIZE)\n"
    "    os.environ[\"VLLM_DP_MASTER_IP\"] = master_addr\n"
    "    os.environ[\"VLLM_DP_MASTER_PORT\"] = str(master_port)\n";

constexpr std::string_view kRanksApart =
    "    # A dense model: vLLM refuses VLLM_DP_SIZE > 1 offline, and the ranks need nothing from each other.\n"
    "    first, visible = local_rank * WORLD_SIZE, os.environ.get(\"CUDA_VISIBLE_DEVICES\")\n"
    "    gpus = visible.split(\",\") if visible else [str(i) for i in range(first + WORLD_SIZE)]\n"
    "    os.environ[\"CUDA_VISIBLE_DEVICES\"] = \",\".join(gpus[first:first + WORLD_SIZE])\n";

/// Lines of run_rank() that set what vLLM reads from the environment.
std::string rank_environment(const LaunchRequest& request) {
  std::string out(request.is_moe ? kRanksTogether : kRanksApart);
  for (const auto& [name, value] : environment({0, request.engine.parallel, 1}))
    out += "    os.environ[" + python_string(name) + "] = " + python_string(value) + "\n";
  return out;
}

std::string constants(const PlacedLaunch& launch) {
  const LaunchRequest& request = launch.request;
  const auto& parallel = request.engine.parallel;
  const auto& shares = launch.placement.replicas.front().shares;
  std::vector<std::string> ranks;
  for (const auto& share : shares) ranks.push_back(std::to_string(share.dp_ranks));
  const bool alone = shares.size() == 1 && !request.given.data_parallel_rpc_port;
  const auto port = std::to_string(request.given.data_parallel_rpc_port.value_or(kDataParallelRpcPort));
  return "DP_SIZE = " + std::to_string(parallel.data_parallel_size) +
         "\nWORLD_SIZE = " + std::to_string(parallel.world_size()) +
         "  # GPUs of one data-parallel rank\nDP_RANKS_OF_NODE = " + python_list(ranks, false) +
         "\nMASTER_ADDR = " + python_string(node_address(request, shares.front().node).text()) +
         "\nMASTER_PORT = " + (alone ? "None  # a free one" : port) + "\nENGINE = dict(\n" + python_arguments(request) +
         ")\n";
}

}  // namespace

std::string offline_script(const PlacedLaunch& launch) {
  const auto layout = to_string(launch.request.engine.parallel);
  const auto nodes = std::to_string(launch.placement.replicas.front().shares.size());
  std::string out(*embedded_file("launch/offline_data_parallel.py"));
  for (const auto& [mark, text] : {std::pair<std::string, std::string>{"@LAYOUT@", layout},
                                   {"@NODES@", nodes},
                                   {"@CONSTANTS@", constants(launch)},
                                   {"@ENVIRONMENT@", rank_environment(launch.request)}})
    out.replace(out.find(mark), mark.size(), text);
  return out;
}

}  // namespace shardwise
