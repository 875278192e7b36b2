#include "launch/launch_files.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "config/json.h"
#include "launch/parts.h"
#include "launch/quoting.h"
#include "parallel/layout_json.h"

namespace shardwise {

std::vector<int> PlacedLaunch::nodes() const {
  std::set<int> used;
  for (const auto& command : commands) used.insert(command.node);
  return {used.begin(), used.end()};
}

std::vector<const LaunchCommand*> PlacedLaunch::on_node(int index) const {
  std::vector<const LaunchCommand*> out;
  for (const auto& command : commands)
    if (command.node == index) out.push_back(&command);
  return out;
}

const NodeShare& PlacedLaunch::share(const LaunchCommand& command) const {
  const auto& shares = placement.replicas[static_cast<std::size_t>(command.replica)].shares;
  return *std::find_if(shares.begin(), shares.end(), [&](const NodeShare& s) { return s.node == command.node; });
}

bool PlacedLaunch::over_nodes() const {
  return std::any_of(placement.replicas.begin(), placement.replicas.end(),
                     [](const DeploymentPlacement& d) { return d.shares.size() > 1; });
}

std::optional<int> address_at(const PlacedLaunch& launch, const LaunchCommand& command, std::size_t i) {
  if (i == 0 || (command.argv[i - 1] != "--data-parallel-address" && command.argv[i - 1] != "--master-addr"))
    return std::nullopt;
  return launch.number(launch.placement.replicas[static_cast<std::size_t>(command.replica)].shares.front().node);
}

std::string plain_label(const std::string& model) {
  std::string tail = model.substr(model.find_last_of('/') + 1), out;
  for (const char c : to_lower(tail)) out += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  out = out.substr(0, 40);
  while (!out.empty() && out.back() == '-') out.pop_back();
  while (!out.empty() && out.front() == '-') out.erase(0, 1);
  return out.empty() || std::isdigit(static_cast<unsigned char>(out.front())) ? "m" + out : out;
}

std::string container_image(const PlacedLaunch& launch) {
  return (launch.amd() ? "vllm/vllm-openai-rocm:v" : "vllm/vllm-openai:v") +
         to_string(launch.request.engine.vllm_version);
}

std::string ray_notes(const PlacedLaunch& launch) {
  const auto& parallel = launch.request.engine.parallel;
  std::string out =
      "# With Ray instead of one command a node\n\n"
      "The run scripts start every node by itself and need no Ray. Where a Ray cluster is there already:\n\n"
      "1. on the first node: `ray start --head --port 6379`; on every other node: `ray start --address NODE0:6379`;\n"
      "2. then one command, on the first node only:\n\n";
  LaunchCommand command;
  EngineArgs args = plan_args(launch.request);
  if (parallel.data_parallel_size > 1)
    args.data_parallel_backend = "ray";
  else
    args.distributed_executor_backend = "ray";
  command.argv = {"vllm", "serve"};
  for (auto& word : to_argv(args)) command.argv.push_back(std::move(word));
  if (parallel.data_parallel_size > 1 && launch.placement.replicas.front().nodes_per_dp_rank == 1) {
    command.argv.push_back("--data-parallel-size-local");
    command.argv.push_back(std::to_string(launch.placement.replicas.front().shares.front().dp_ranks));
  }
  for (const auto& flag : given_flags(launch.request.given))
    if (flag.row->name == "port")
      for (auto& word : to_argv(flag)) command.argv.push_back(std::move(word));
  out += markdown_code(shell_line(command, true)) + "\n";
  out +=
      "Ray decides at run time which GPUs a rank gets, so the placement that was predicted (TP inside a node) is "
      "likely but not\n"
      "enforced. `--nnodes`, `--node-rank` and `--headless` do not go together with Ray.\n";
  return out;
}

namespace {

/// The names that a target gives its files, by the node that each is for (the first one's where it is for all).
std::vector<std::pair<int, std::string>> names_of(const LaunchTarget& target, const PlacedLaunch& launch) {
  const auto nodes = launch.nodes();
  const auto at = target.file.find("<N>");
  if (at == std::string_view::npos) return {{nodes.front(), std::string(target.file)}};
  std::vector<std::pair<int, std::string>> out;
  for (const int node : nodes) {
    std::string name(target.file);
    out.emplace_back(node, name.replace(at, 3, std::to_string(launch.number(node))));
  }
  return out;
}

std::vector<std::string> file_names(const PlacedLaunch& launch) {
  std::vector<std::string> out;
  for (const auto& target : launch_targets())
    if (target.applies(launch))
      for (auto& [node, name] : names_of(target, launch)) out.push_back(std::move(name));
  return out;
}

}  // namespace

std::string manifest(const PlacedLaunch& launch) {
  const LaunchRequest& request = launch.request;
  Json out;
  out["format"] = kLaunchFormat;
  out["model"] = request.model;
  out["vllm_version"] = to_string(request.engine.vllm_version);
  out["cluster"] = request.cluster.name;
  out.update(layout_json({0, request.engine.parallel, request.replicas}));
  out["gpus"] = launch.placement.gpus_used();
  out["files"] = file_names(launch);
  out["launch"] = Json::array();
  for (const auto& command : launch.commands) {
    Json one;
    one["node"] = launch.number(command.node);
    one["address"] = node_address(request, command.node).text();
    one["replica"] = command.replica;
    one["devices"] = launch.share(command).devices;
    one["data_parallel_start_rank"] = launch.share(command).first_dp_rank;
    one["data_parallel_size_local"] = launch.share(command).dp_ranks;
    if (command.serves_http) one["port"] = command.port;
    one["command"] = command.argv;
    one["env"] = command.env;
    one["note"] = command.note;
    out["launch"].push_back(std::move(one));
  }
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string readme(const PlacedLaunch& launch) {
  const LaunchRequest& request = launch.request;
  const ParallelConfig& parallel = request.engine.parallel;
  std::string out =
      "# " + markdown_text(request.model) + " on " + markdown_text(request.cluster.name) + "\n\n" + to_string(parallel);
  if (request.replicas > 1) out += ", " + std::to_string(request.replicas) + " replicas";
  out += ": " + std::to_string(launch.placement.gpus_used()) + " GPUs, vLLM " + to_string(request.engine.vllm_version) +
         ".\n\n";
  out += "| node | address | GPUs | command |\n|---|---|---|---|\n";
  for (const auto& command : launch.commands) {
    std::vector<std::string> devices;
    for (const int device : launch.share(command).devices) devices.push_back(std::to_string(device));
    out += "| " + std::to_string(launch.number(command.node)) + " | " + node_address(request, command.node).text() +
           " | " + join(devices, ",") + " | " + command.note + " |\n";
  }
  if (const auto& folder = request.model_folder)
    out += "\n**The model is a folder of the machine that planned this**: every node needs it at `" +
           markdown_text(folder->path) + "`; container files mount it there.\n";
  out += "\n## Start\n\n1. `./preflight.sh N` on every node N: GPUs, memory, vLLM version, ports.\n";
  if (launch.over_nodes())
    out +=
        "2. Set `NODE<i>_ADDRESS` to the address of node i where the table shows a placeholder (node0 ...), on all "
        "nodes.\n"
        "3. `./run-node<N>.sh` on every node, in any order; the head node waits for the others.\n";
  else
    out += "2. `./run-node<N>.sh` on every node.\n";
  out +=
      "\nEach server is ready when `curl http://ADDRESS:PORT/health` answers **and** a first completion has come back: "
      "vLLM reports\n"
      "health before the first request has run.\n\n## Files\n\n";
  for (const auto& target : launch_targets())
    if (!target.about.empty() && target.applies(launch))
      out += "- `" + std::string(target.file) + "`: " + std::string(target.about) + "\n";
  out +=
      "\nChange no flag without planning again: the sizes, `--max-model-len`, `--max-num-seqs`, "
      "`--max-num-batched-tokens`,\n"
      "`--gpu-memory-utilization` and `--kv-cache-dtype` are what memory and speed were predicted for.\n";
  return out;
}

namespace {

bool anywhere(const PlacedLaunch&) { return true; }
bool over_nodes(const PlacedLaunch& launch) { return launch.over_nodes(); }
bool replicated(const PlacedLaunch& launch) { return launch.request.replicas > 1; }
bool data_parallel_inside_nodes(const PlacedLaunch& launch) {
  return launch.request.engine.parallel.data_parallel_size > 1 &&
         launch.placement.replicas.front().nodes_per_dp_rank == 1;
}

// clang-format off
constexpr LaunchTarget kTargets[] = {
    {"compose.node<N>.yaml",     "Docker Compose, one file a node: `docker compose -f compose.node0.yaml up`", anywhere,                   compose_file},
    {"leader_worker_set.yaml",   "Kubernetes, LeaderWorkerSet and its Service",                                shares_alike,               leader_worker_set},
    {"manifest.json",            "the plan, every command, environment and GPU, for programs",                 anywhere,                   manifest},
    {"offline_data_parallel.py", "batch inference with the same layout, without a server",                     data_parallel_inside_nodes, offline_script},
    {"plan.sbatch",              "Slurm",                                                                      anywhere,                   slurm_script},
    {"preflight.sh",             "checks before the start",                                                    anywhere,                   preflight_script},
    {"ray.md",                   "the same with Ray",                                                          over_nodes,                 ray_notes},
    {"router.conf",              "nginx in front of the replicas",                                             replicated,                 router_conf},
    {"run-node<N>.sh",           "the commands of a node",                                                     anywhere,                   run_script},
    {"README.md",                "",                                                                           anywhere,                   readme},
};
// clang-format on

using Files = std::map<std::string, std::string>;

void write(const LaunchTarget& target, const PlacedLaunch& launch, Files& files) {
  for (const auto& [node, name] : names_of(target, launch)) {
    const auto* one = std::get_if<0>(&target.write);
    files[name] = one ? (*one)(launch) : std::get<1>(target.write)(launch, node);
  }
}

}  // namespace

std::span<const LaunchTarget> launch_targets() { return kTargets; }

std::map<std::string, std::string> launch_files(const LaunchRequest& request) {
  auto placed = place(request.cluster, request.engine.parallel, request.replicas);
  auto commands = launch_commands(request);
  if (std::holds_alternative<PlacementProblem>(placed)) return {};
  const PlacedLaunch launch{request, std::get<Placement>(std::move(placed)), std::get<0>(std::move(commands))};
  Files files;
  for (const auto& target : launch_targets())
    if (target.applies(launch)) write(target, launch, files);
  return files;
}

}  // namespace shardwise
