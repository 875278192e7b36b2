#include "launch/launch_files.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "config/json.h"
#include "launch/parts.h"
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

void replace_value(std::vector<std::string>& argv, const std::string& flag, const std::string& value) {
  for (std::size_t i = 0; i + 1 < argv.size(); ++i)
    if (argv[i] == flag) argv[i + 1] = value;
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
  LaunchRequest single = launch.request;
  std::string out =
      "# With Ray instead of one command a node\n\n"
      "The run scripts start every node by itself and need no Ray. Where a Ray cluster is there already:\n\n"
      "1. on the first node: `ray start --head --port 6379`; on every other node: `ray start --address NODE0:6379`;\n"
      "2. then one command, on the first node only:\n\n```\n";
  LaunchCommand command;
  EngineArgs args = plan_args(single);
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
  out += shell_line(command, true) + "\n```\n\n";
  out +=
      "Ray decides at run time which GPUs a rank gets, so the placement that was predicted (TP inside a node) is "
      "likely but not\n"
      "enforced. `--nnodes`, `--node-rank` and `--headless` do not go together with Ray.\n";
  return out;
}

std::string manifest(const PlacedLaunch& launch) {
  const LaunchRequest& request = launch.request;
  Json out;
  out["format"] = "shardwise launch 1";
  out["model"] = request.model;
  out["vllm_version"] = to_string(request.engine.vllm_version);
  out["cluster"] = request.cluster.name;
  out.update(layout_json({0, request.engine.parallel, request.replicas}));
  out["gpus"] = launch.placement.gpus_used();
  out["launch"] = Json::array();
  for (const auto& command : launch.commands) {
    Json one;
    one["node"] = launch.number(command.node);
    one["address"] = node_address(request, command.node);
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

std::string readme(const PlacedLaunch& launch, const std::map<std::string, std::string>& files) {
  const LaunchRequest& request = launch.request;
  const ParallelConfig& parallel = request.engine.parallel;
  std::string out = "# " + request.model + " on " + request.cluster.name + "\n\n" + to_string(parallel);
  if (request.replicas > 1) out += ", " + std::to_string(request.replicas) + " replicas";
  out += ": " + std::to_string(launch.placement.gpus_used()) + " GPUs, vLLM " + to_string(request.engine.vllm_version) +
         ".\n\n";
  out += "| node | address | GPUs | command |\n|---|---|---|---|\n";
  for (const auto& command : launch.commands) {
    std::vector<std::string> devices;
    for (const int device : launch.share(command).devices) devices.push_back(std::to_string(device));
    out += "| " + std::to_string(launch.number(command.node)) + " | " + node_address(request, command.node) + " | " +
           join(devices, ",") + " | " + command.note + " |\n";
  }
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
  const std::map<std::string, std::string> about = {
      {"compose", "Docker Compose, one file a node: `docker compose -f compose.node0.yaml up`"},
      {"leader_worker_set.yaml", "Kubernetes, LeaderWorkerSet and its Service"},
      {"manifest.json", "the plan, every command, environment and GPU, for programs"},
      {"offline_data_parallel.py", "batch inference with the same layout, without a server"},
      {"plan.sbatch", "Slurm"},
      {"preflight.sh", "checks before the start"},
      {"ray.md", "the same with Ray"},
      {"router.conf", "nginx in front of the replicas"},
      {"run-node", "the commands of a node"}};
  for (const auto& [prefix, text] : about) {
    const auto at =
        std::find_if(files.begin(), files.end(), [&, p = prefix](const auto& f) { return f.first.starts_with(p); });
    if (at == files.end()) continue;
    out += "- `" +
           (at->first == prefix    ? prefix
            : prefix == "run-node" ? "run-node<N>.sh"
                                   : "compose.node<N>.yaml") +
           "`: " + text + "\n";
  }
  out +=
      "\nChange no flag without planning again: the sizes, `--max-model-len`, `--max-num-seqs`, "
      "`--max-num-batched-tokens`,\n"
      "`--gpu-memory-utilization` and `--kv-cache-dtype` are what memory and speed were predicted for.\n";
  return out;
}

std::map<std::string, std::string> launch_files(const LaunchRequest& request) {
  auto placed = place(request.cluster, request.engine.parallel, request.replicas);
  auto commands = launch_commands(request);
  if (std::holds_alternative<PlacementProblem>(placed)) return {};
  const PlacedLaunch launch{request, std::get<Placement>(std::move(placed)), std::get<0>(std::move(commands))};
  std::map<std::string, std::string> files;
  for (const int node : launch.nodes()) {
    files["run-node" + std::to_string(launch.number(node)) + ".sh"] = run_script(launch, node);
    files["compose.node" + std::to_string(launch.number(node)) + ".yaml"] = compose_file(launch, node);
  }
  files["preflight.sh"] = preflight_script(launch);
  files["plan.sbatch"] = slurm_script(launch);
  if (std::string lws = leader_worker_set(launch); !lws.empty()) files["leader_worker_set.yaml"] = std::move(lws);
  if (request.engine.parallel.data_parallel_size > 1 && launch.placement.replicas.front().nodes_per_dp_rank == 1)
    files["offline_data_parallel.py"] = offline_script(launch);
  if (launch.over_nodes()) files["ray.md"] = ray_notes(launch);
  if (request.replicas > 1) files["router.conf"] = router_conf(launch);
  files["manifest.json"] = manifest(launch);
  files["README.md"] = readme(launch, files);
  return files;
}

}  // namespace shardwise
