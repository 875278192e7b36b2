// Docker Compose and Kubernetes files.
#include <algorithm>

#include "base/text.h"
#include "config/yaml.h"
#include "launch/parts.h"
#include "launch/quoting.h"

namespace shardwise {
namespace {

std::string service_name(const LaunchCommand& command) {
  return "replica" + std::to_string(command.replica) + (command.serves_http ? "" : "-engines");
}

}  // namespace

std::string compose_file(const PlacedLaunch& launch, int node) {
  std::string out = "# docker compose -f compose.node" + std::to_string(launch.number(node)) + ".yaml up\nservices:\n";
  for (const LaunchCommand* command : launch.on_node(node)) {
    out += "  " + service_name(*command) + ":  # " + command->note + "\n    image: " + container_image(launch) +
           "\n    entrypoint: [\"vllm\", \"serve\"]\n    command:\n";
    for (std::size_t i = 2; i < command->argv.size(); ++i) {
      const std::string& word = command->argv[i];
      const auto address = address_at(launch, *command, i);
      out += "      - " +
             (address ? "\"${NODE" + std::to_string(*address) + "_ADDRESS:-" + word + "}\"" : compose_text(word)) +
             "\n";
    }
    out +=
        "    network_mode: host\n    ipc: host\n    ulimits: {memlock: -1}\n    environment:\n      HF_TOKEN: "
        "${HF_TOKEN:-}\n";
    // The container sees only its own GPUs, numbered from 0: CUDA_VISIBLE_DEVICES would count them twice.
    for (const auto& [name, value] : command->env)
      if (name != "CUDA_VISIBLE_DEVICES" || launch.amd()) out += "      " + name + ": " + compose_text(value) + "\n";
    out += "    volumes:\n      - ${HF_HOME:-~/.cache/huggingface}:/root/.cache/huggingface\n";
    if (const auto& folder = launch.request.model_folder) {
      const auto path = compose_text(folder->path);
      out += "      - {type: bind, source: " + path + ", target: " + path + ", read_only: true}\n";
      if (!launch.request.model.starts_with("/")) out += "    working_dir: " + compose_text(folder->from) + "\n";
    }
    if (launch.amd()) {
      out += "    devices: [/dev/kfd, /dev/dri]\n    group_add: [video]\n    security_opt: [\"seccomp=unconfined\"]\n";
    } else {
      std::vector<std::string> devices;
      for (const int device : launch.share(*command).devices) devices.push_back("\"" + std::to_string(device) + "\"");
      if (launch.over_nodes())
        out += "    devices: [/dev/infiniband]  # leave out without RDMA\n    cap_add: [IPC_LOCK]\n";
      out +=
          "    deploy:\n      resources:\n        reservations:\n          devices:\n            - driver: nvidia\n    "
          "          device_ids: [" +
          join(devices, ", ") + "]\n              capabilities: [gpu]\n";
    }
    out += "    restart: unless-stopped\n";
  }
  return out;
}

namespace {

/// The command as one bash line inside a pod: the leader's address and the pod's index come from LeaderWorkerSet.
std::string pod_command(const LaunchCommand& command, int dp_ranks_per_node) {
  std::vector<std::string> argv = command.argv;
  const std::map<std::string, std::string> raw = {
      {"--data-parallel-address", "\"$LWS_LEADER_ADDRESS\""},
      {"--master-addr", "\"$LWS_LEADER_ADDRESS\""},
      {"--node-rank", "\"$LWS_WORKER_INDEX\""},
      {"--data-parallel-start-rank", "\"$((LWS_WORKER_INDEX * " + std::to_string(dp_ranks_per_node) + "))\""}};
  std::string out = "exec";
  for (std::size_t i = 0; i < argv.size(); ++i) {
    const auto at = i > 0 ? raw.find(argv[i - 1]) : raw.end();
    out += " " + (at != raw.end() ? at->second : pod_text(shell_word(argv[i])));
  }
  return out;
}

std::string pod_spec(const PlacedLaunch& launch, const LaunchCommand& command, const std::string& indent) {
  const NodeShare& share = launch.share(command);
  std::string out;
  auto line = [&](const std::string& text) { out += indent + text + "\n"; };
  line("containers:");
  line("  - name: vllm");
  line("    image: " + container_image(launch));
  line("    command: [\"/bin/bash\", \"-c\"]");
  line("    args: [" + yaml_quoted(pod_command(command, share.dp_ranks)) + "]");
  line("    env:");
  line("      - name: HF_TOKEN");
  line("        valueFrom: {secretKeyRef: {name: hf-token, key: token, optional: true}}");
  for (const auto& [name, value] : command.env) {
    // Devices and addresses are the pod's own.
    if (name == "CUDA_VISIBLE_DEVICES" || name == "VLLM_HOST_IP") continue;
    line("      - {name: " + name + ", value: " + yaml_quoted(pod_text(value)) + "}");
  }
  line("    resources:");
  const std::string gpus =
      std::string(launch.amd() ? "amd.com/gpu: " : "nvidia.com/gpu: ") + std::to_string(share.devices.size());
  line("      limits: {" + gpus + "}");
  line("      requests: {" + gpus + "}");
  if (command.serves_http) {
    line("    ports: [{containerPort: " + std::to_string(command.port) + "}]");
    line("    readinessProbe:");
    line("      httpGet: {path: /health, port: " + std::to_string(command.port) + "}");
    line("      periodSeconds: 10");
  }
  std::string mounts = "{name: shm, mountPath: /dev/shm}", volumes = "{name: shm, emptyDir: {medium: Memory}}";
  if (const auto& folder = launch.request.model_folder) {
    mounts += ", {name: model, mountPath: " + yaml_quoted(folder->path) + ", readOnly: true}";
    volumes += ", {name: model, hostPath: {path: " + yaml_quoted(folder->path) + ", type: Directory}}";
    if (!launch.request.model.starts_with("/")) line("    workingDir: " + yaml_quoted(folder->from));
  }
  line("    volumeMounts: [" + mounts + "]");
  line("volumes: [" + volumes + "]");
  return out;
}

}  // namespace

bool shares_alike(const PlacedLaunch& launch) {
  const auto& replicas = launch.placement.replicas;
  const auto& first = replicas.front().shares;
  const auto alike = [&](const NodeShare& share) {
    return share.devices.size() == first.front().devices.size() &&
           launch.node(share.node).gpu == launch.node(first.front().node).gpu;
  };
  return std::all_of(replicas.begin(), replicas.end(), [&](const DeploymentPlacement& replica) {
    return replica.shares.size() == first.size() && std::all_of(replica.shares.begin(), replica.shares.end(), alike);
  });
}

std::string leader_worker_set(const PlacedLaunch& launch) {
  const auto& replicas = launch.placement.replicas;
  const DeploymentPlacement& first = replicas.front();
  const std::string name = plain_label(launch.request.model);
  const LaunchCommand& leader = launch.commands.front();
  std::string out =
      "# kubectl apply -f leader_worker_set.yaml (needs LeaderWorkerSet in the cluster). One group of pods a replica.\n"
      "apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata:\n  name: " +
      name + "\nspec:\n  replicas: " + std::to_string(replicas.size()) +
      "\n  leaderWorkerTemplate:\n    size: " + std::to_string(first.shares.size()) +
      "\n    restartPolicy: RecreateGroupOnPodRestart\n    leaderTemplate:\n      metadata:\n        labels: {app: " +
      name + ", role: leader}\n      spec:\n" + pod_spec(launch, leader, "        ");
  const LaunchCommand& worker = first.shares.size() > 1 ? launch.commands[1] : leader;
  out += "    workerTemplate:\n      metadata:\n        labels: {app: " + name + ", role: worker}\n      spec:\n" +
         pod_spec(launch, worker, "        ");
  out += "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + "\nspec:\n  selector: {app: " + name +
         ", role: leader}\n  ports: [{port: " + std::to_string(leader.port) +
         ", targetPort: " + std::to_string(leader.port) + "}]\n";
  return out;
}

}  // namespace shardwise
