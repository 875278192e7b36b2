// Clusters, placement and launch commands: round trips and conservation over random inputs.
#include <rapidcheck.h>

#include <cctype>
#include <set>

#include "hardware/hardware.h"
#include "launch/launch.h"

using namespace shardwise;

namespace {

const Gpu& any_gpu() {
  const auto& gpus = gpu_catalogue();
  return gpus[*rc::gen::inRange<std::size_t>(0, gpus.size())];
}

std::string any_cluster_string() {
  std::string text;
  for (int parts = *rc::gen::inRange(1, 4); parts > 0; --parts) {
    if (!text.empty()) text += "+";
    text +=
        std::to_string(*rc::gen::inRange(1, 6)) + "x" + std::to_string(*rc::gen::inRange(1, 17)) + "x" + any_gpu().name;
    if (*rc::gen::inRange(0, 3) == 0) text += "@" + std::to_string(*rc::gen::inRange(1, 1601)) + "G";
  }
  return text;
}

/// A cluster with values that only a file can say.
Cluster any_cluster() {
  Cluster cluster = parse_cluster(any_cluster_string());
  for (Node& node : cluster.nodes) {
    if (*rc::gen::inRange(0, 2)) node.available = *rc::gen::inRange(1, node.gpus + 1);
    if (*rc::gen::inRange(0, 2)) node.price_per_gpu_hour = Dollars(*rc::gen::inRange(1, 100000) / 1000.0);
    if (*rc::gen::inRange(0, 2)) node.address = HostName::parse("10.0.0." + std::to_string(*rc::gen::inRange(1, 255)));
    if (*rc::gen::inRange(0, 3) == 0)
      node.network = {"fabric #1: fast", LinkClass::network,
                      BytesPerSecond(*rc::gen::inRange(200000, 2000000000) * 7.0),
                      microseconds(*rc::gen::inRange(1, 1000) / 7.0)};
    if (*rc::gen::inRange(0, 3) == 0) node.numa_domains = *rc::gen::inRange(1, 5);
  }
  return cluster;
}

ParallelConfig any_parallel() {
  ParallelConfig parallel;
  parallel.tensor_parallel_size = *rc::gen::inRange(1, 17);
  parallel.pipeline_parallel_size = *rc::gen::inRange(1, 5);
  parallel.data_parallel_size = *rc::gen::inRange(1, 9);
  return parallel;
}

}  // namespace

int main() {
  bool good = true;
  good &= rc::check("a cluster string reads back", [] {
    const Cluster cluster = parse_cluster(any_cluster_string());
    RC_ASSERT(parse_cluster(cluster_string(cluster)) == cluster);
  });
  good &= rc::check("a GPU has its published names in every spelling", [] {
    const Gpu& gpu = any_gpu();
    auto names = gpu_aliases(gpu.name);
    names.push_back(gpu.name);
    std::string text = names[*rc::gen::inRange<std::size_t>(0, names.size())];
    for (char& c : text) {
      if (c == ' ' || c == '-' || c == '_') c = *rc::gen::element(' ', '-', '_');
      if (*rc::gen::inRange(0, 2)) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    const std::string maker = *rc::gen::element<std::string>("", gpu.vendor + " ");
    const auto count = std::to_string(*rc::gen::inRange(1, 9));
    const auto sign = *rc::gen::element<std::string>("x", "X", "*", " x ", " * ", "\xC3\x97");
    const std::string part = *rc::gen::inRange(0, 2) ? count + sign + maker + text : maker + text + sign + count;
    RC_ASSERT(parse_cluster(part) == parse_cluster(count + "x" + gpu.name));
  });
  good &= rc::check("a cluster file reads back", [] {
    const Cluster cluster = any_cluster();
    RC_ASSERT(read_cluster_yaml(cluster_yaml(cluster), "c.yaml") == cluster);
  });
  good &= rc::check("links are symmetric, and stay inside a node between its GPUs", [] {
    const Cluster cluster = parse_cluster(any_cluster_string());
    auto any_at = [&] {
      const int node = *rc::gen::inRange(0, static_cast<int>(cluster.nodes.size()));
      return GpuAt{node, *rc::gen::inRange(0, cluster.nodes[static_cast<std::size_t>(node)].gpus)};
    };
    const GpuAt a = any_at(), b = any_at();
    const Link& there = link_between(cluster, a, b);
    RC_ASSERT(there == link_between(cluster, b, a));
    RC_ASSERT(there.bandwidth.value > 0);
    if (a.node == b.node) RC_ASSERT(there.kind != LinkClass::network);
  });
  good &= rc::check("a placement uses every GPU at most once, and just as many as the plan has", [] {
    const Cluster cluster = any_cluster();
    const ParallelConfig parallel = any_parallel();
    const int replicas = *rc::gen::inRange(1, 4);
    const auto placed = place(cluster, parallel, replicas);
    if (std::holds_alternative<PlacementProblem>(placed)) return;
    const Placement& placement = std::get<Placement>(placed);
    RC_ASSERT(placement.gpus_used() == parallel.gpus() * replicas);
    std::set<std::pair<int, int>> used;
    for (const auto& deployment : placement.replicas) {
      int ranks = 0;
      std::set<std::string> kinds;
      for (const auto& share : deployment.shares) {
        const Node& node = cluster.nodes[static_cast<std::size_t>(share.node)];
        kinds.insert(node.gpu);
        for (const int device : share.devices) {
          RC_ASSERT(device >= 0 && device < node.usable_gpus());
          RC_ASSERT(used.emplace(share.node, device).second);
        }
        if (share.node_rank_within_dp == 0) ranks += share.dp_ranks;
      }
      RC_ASSERT(ranks == parallel.data_parallel_size);
      RC_ASSERT(kinds.size() == 1u);
    }
  });
  good &= rc::check("one data-parallel rank on a node with enough GPUs can always be placed", [] {
    const Cluster cluster = parse_cluster(std::to_string(*rc::gen::inRange(1, 5)) + "x16xH100");
    ParallelConfig parallel = any_parallel();
    parallel.data_parallel_size = 1;
    RC_PRE(parallel.world_size() <= 16);
    RC_ASSERT(std::holds_alternative<Placement>(place(cluster, parallel, 1)));
  });
  good &= rc::check("every command reads back, and one per deployment serves HTTP", [] {
    LaunchRequest request;
    request.model = "org/model";
    request.cluster = any_cluster();
    request.engine.parallel = any_parallel();
    request.engine.parallel.enable_expert_parallel = request.is_moe = *rc::gen::arbitrary<bool>();
    request.engine.max_model_len = *rc::gen::inRange(1, 1000000);
    request.replicas = *rc::gen::inRange(1, 4);
    const auto launched = launch_commands(request);
    if (std::holds_alternative<PlacementProblem>(launched)) return;
    int servers = 0;
    std::set<std::pair<int, int>> ports;
    for (const auto& command : std::get<0>(launched)) {
      const std::vector<std::string> words(command.argv.begin() + 2, command.argv.end());
      const EngineArgs args = parse_vllm_flags(words);
      RC_ASSERT(to_argv(args) == to_argv(parse_vllm_flags(to_argv(args))));
      RC_ASSERT(args.headless.value_or(false) == !command.serves_http);
      if (!command.serves_http) continue;
      ++servers;
      RC_ASSERT(ports.emplace(command.node, command.port).second);
    }
    RC_ASSERT(servers == request.replicas);
  });
  return good ? 0 : 1;
}
