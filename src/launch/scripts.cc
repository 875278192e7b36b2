// Shell scripts: a node's commands, checks before the start, Slurm, the router.
#include "base/printable.h"
#include "base/text.h"
#include "launch/parts.h"
#include "launch/quoting.h"

namespace shardwise {
namespace {

/// NODE<number>_ADDRESS where it is set, else `address`.
std::string address_default(int number, const std::string& address) {
  return shell_default("NODE" + std::to_string(number) + "_ADDRESS", address);
}

/// A command for a script: node addresses can be set from outside as NODE<i>_ADDRESS.
std::string script_command(const PlacedLaunch& launch, const LaunchCommand& command) {
  std::string out;
  if (!command.env.empty()) {
    out += "env";
    for (const auto& [name, value] : command.env) out += " " + name + "=" + shell_word(value);
    out += " ";
  }
  for (std::size_t i = 0; i < command.argv.size(); ++i) {
    const std::string& word = command.argv[i];
    if (i > 0) out += word.starts_with("--") ? " \\\n    " : " ";
    if (const auto node = address_at(launch, command, i))
      out += address_default(*node, word);
    else
      out += shell_word(word);
  }
  return out;
}

}  // namespace

std::string run_script(const PlacedLaunch& launch, int node) {
  const auto commands = launch.on_node(node);
  std::string out = "#!/usr/bin/env bash\n# Node " + std::to_string(launch.number(node)) + ": " +
                    std::to_string(launch.node(node).gpus) + " x " + printable(launch.node(node).gpu) +
                    ". Further arguments are handed to every command.\nset -euo pipefail\n\n";
  if (commands.size() == 1)
    return out + "# " + commands[0]->note + "\nexec " + script_command(launch, *commands[0]) + " \"$@\"\n";
  out += "pids=()\ntrap 'kill \"${pids[@]}\" 2>/dev/null || true; wait' EXIT INT TERM\n";
  for (const LaunchCommand* command : commands)
    out += "\n# " + command->note + "\n" + script_command(launch, *command) + " \"$@\" &\npids+=($!)\n";
  return out + "\n# Ends with the first server that ends.\nwait -n\n";
}

std::string preflight_script(const PlacedLaunch& launch) {
  const EngineConfig& engine = launch.request.engine;
  std::string out =
      "#!/usr/bin/env bash\n"
      "# Checks node N before the start: ./preflight.sh N. Exit status 0 if nothing stands in the way.\n"
      "set -uo pipefail\n"
      "node=${1:?which node? ./preflight.sh 0}\n"
      "bad=0\n"
      "fail() { echo \"FAIL  $*\"; bad=1; }\n"
      "good() { echo \"ok    $*\"; }\n\n"
      "case $node in\n";
  for (const int node : launch.nodes()) {
    int highest = 0;
    std::string ports;
    for (const LaunchCommand* command : launch.on_node(node)) {
      for (const int device : launch.share(*command).devices) highest = std::max(highest, device);
      if (command->serves_http) ports += (ports.empty() ? "" : " ") + std::to_string(command->port);
    }
    std::string head = "''";
    for (const LaunchCommand* command : launch.on_node(node))
      for (std::size_t i = 0; i < command->argv.size(); ++i)
        if (const auto at = address_at(launch, *command, i)) head = address_default(*at, command->argv[i]);
    out += "  " + std::to_string(launch.number(node)) + ") gpus=" + std::to_string(highest + 1) + " ports='" + ports +
           "' head=" + head + " ;;\n";
  }
  const Gpu& gpu = launch.request.cluster.gpu(launch.node(launch.commands.front().node));
  out += "  *) echo \"the plan does not use node $node\"; exit 2 ;;\nesac\n\n";
  if (launch.amd()) {
    out +=
        "have=$(rocm-smi --showid --csv 2>/dev/null | grep -c '^card')\n"
        "[ \"$have\" -ge \"$gpus\" ] && good \"$have GPUs\" || fail \"$have GPUs, the plan uses $gpus\"\n";
  } else {
    out +=
        "have=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | wc -l)\n"
        "[ \"$have\" -ge \"$gpus\" ] && good \"$have GPUs\" || fail \"$have GPUs, the plan uses $gpus\"\n"
        "# vLLM takes gpu_memory_utilization of all memory and refuses to start if less is free.\n"
        "nvidia-smi --query-gpu=index,name,memory.total,memory.used --format=csv,noheader,nounits 2>/dev/null | head "
        "-n \"$gpus\" |\n"
        "  planned=" +
        shell_word(gpu.name) + " awk -F', ' -v u=" + number_text(engine.gpu_memory_utilization) +
        " -v want=" + std::to_string(gpu.memory_total.value >> 20) +
        " '\n"
        "    $3 < want * 0.97 { print \"FAIL  GPU \" $1 \" (\" $2 \") has \" $3 \" MiB, planned for \" "
        "ENVIRON[\"planned\"] \" with \" want; bad = 1 }\n"
        "    $4 > $3 * (1 - u) { print \"FAIL  GPU \" $1 \": \" $4 \" MiB are in use, at most \" $3 * (1 - u) \" may "
        "be\"; bad = 1 }\n"
        "    END { exit bad }' && good 'GPU memory' || bad=1\n";
  }
  out +=
      "version=$(python3 -c 'import importlib.metadata as m; print(m.version(\"vllm\"))' 2>/dev/null)\n"
      "case $version in\n  " +
      to_string(engine.vllm_version) +
      "*) good \"vLLM $version\" ;;\n  '') fail 'vLLM is not installed for python3' ;;\n"
      "  *) fail \"vLLM $version, planned for " +
      to_string(engine.vllm_version) +
      "\" ;;\nesac\n"
      "for port in $ports; do\n"
      "  (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null && fail \"port $port is taken\" || good \"port $port is "
      "free\"\ndone\n"
      "if [ -n \"$head\" ]; then\n"
      "  getent hosts \"$head\" >/dev/null && good \"head node $head\" || fail \"head node '$head' has no address; set "
      "NODE<i>_ADDRESS\"\nfi\n"
      "shm=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)\n"
      "[ \"${shm:-0}\" -ge 1048576 ] && good '/dev/shm' || fail '/dev/shm has less than 1 GiB free'\n"
      "exit $bad\n";
  return out;
}

std::string slurm_script(const PlacedLaunch& launch) {
  const auto nodes = launch.nodes();
  int gpus = 0;
  std::vector<std::string> addresses;
  for (const int node : nodes) {
    gpus = std::max(gpus, launch.node(node).gpus);
    if (const auto& address = launch.node(node).address) addresses.push_back(address->text());
  }
  std::string out = "#!/usr/bin/env bash\n#SBATCH --job-name=" + plain_label(launch.request.model) +
                    "\n#SBATCH --nodes=" + std::to_string(nodes.size()) +
                    "\n#SBATCH --ntasks-per-node=1\n#SBATCH --gpus-per-node=" + std::to_string(gpus) +
                    "\n#SBATCH --exclusive\n";
  if (addresses.size() == nodes.size()) out += "#SBATCH --nodelist=" + join(addresses, ",") + "\n";
  out += "# Submit from this directory: sbatch plan.sbatch\nset -euo pipefail\ncd \"${SLURM_SUBMIT_DIR:-.}\"\n";
  if (addresses.empty()) {
    out += "mapfile -t hosts < <(scontrol show hostnames \"$SLURM_JOB_NODELIST\")\n";
    for (std::size_t i = 0; i < nodes.size(); ++i)
      out += "export NODE" + std::to_string(launch.number(nodes[i])) + "_ADDRESS=${hosts[" + std::to_string(i) + "]}\n";
  }
  out += "srun --kill-on-bad-exit=1 bash -c 'case $SLURM_NODEID in\n";
  for (std::size_t i = 0; i < nodes.size(); ++i)
    out += "  " + std::to_string(i) + ") exec bash run-node" + std::to_string(launch.number(nodes[i])) + ".sh ;;\n";
  return out + "esac'\n";
}

std::string router_conf(const PlacedLaunch& launch) {
  std::string out =
      "# nginx: spreads requests over the replicas, fewest open requests first. Include it in the http block.\n"
      "upstream vllm_replicas {\n    least_conn;\n";
  for (const auto& command : launch.commands)
    if (command.serves_http)
      out += "    server " + node_address(launch.request, command.node).before_port() + ":" +
             std::to_string(command.port) + ";\n";
  return out +
         "}\nserver {\n    listen 80;\n    location / {\n        proxy_pass http://vllm_replicas;\n        "
         "proxy_http_version 1.1;\n"
         "        proxy_buffering off;\n        proxy_read_timeout 1h;\n    }\n}\n";
}

}  // namespace shardwise
