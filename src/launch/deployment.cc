#include "launch/deployment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "base/input_error.h"
#include "base/text.h"
#include "launch/launch.h"

namespace shardwise {
namespace {

using Nodes = std::vector<DeploymentNode*>;

std::vector<std::string> texts(const std::vector<PlacedWord>& words, std::size_t count) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(words[i].text);
  return out;
}

/// What stands behind an argument on the command line; nullopt if it was not given.
std::optional<std::string> given_text(const EngineArgs& args, std::string_view name) {
  for (const auto& flag : given_flags(args))
    if (flag.row->name == name) return join(flag.words, " ");
  return std::nullopt;
}

/// The line that gives an argument; that of the command if none does.
int line_of(const DeploymentNode& node, std::string_view name) {
  const auto& words = node.command.words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].text.starts_with('-')) continue;
    const bool value =
        i + 1 < words.size() && (!words[i + 1].text.starts_with('-') || std::isdigit(words[i + 1].text.c_str()[1]));
    for (std::size_t end = i + 1; end <= (value ? i + 2 : i + 1); ++end) {
      try {
        if (given_text(parse_vllm_flags(texts(words, end), node.version), name)) return words[i].line;
      } catch (const InputError&) {
      }
    }
  }
  return node.command.line;
}

class Findings {
 public:
  explicit Findings(std::vector<DeploymentProblem>& problems) : problems_(problems) {}
  void add(const DeploymentNode& node, std::string_view argument, std::string message, std::string instead) {
    problems_.push_back({node.command.file, argument.empty() ? node.command.line : line_of(node, argument),
                         std::move(message), std::move(instead)});
  }

 private:
  std::vector<DeploymentProblem>& problems_;
};

std::string shown(const std::optional<std::string>& value) { return value ? *value : "not given"; }

std::string flag_of(std::string_view name) {
  std::string out = "--" + std::string(name);
  std::ranges::replace(out, '_', '-');
  return out;
}

/// All nodes must give an argument alike: those that differ from the most, of two from the first.
void all_alike(const Nodes& nodes, std::string_view name, const char* why, Findings& findings) {
  std::map<std::string, int> counts;
  for (const auto* node : nodes) ++counts[shown(given_text(*node->args, name))];
  if (counts.size() < 2) return;
  const auto* usual = nodes.front();
  for (const auto* node : nodes)
    if (counts[shown(given_text(*node->args, name))] > counts[shown(given_text(*usual->args, name))]) usual = node;
  const auto right = shown(given_text(*usual->args, name));
  for (const auto* node : nodes)
    if (const auto here = shown(given_text(*node->args, name)); here != right)
      findings.add(*node, name,
                   fmt::format("{} is {} here, {} at {}: {}", flag_of(name), here, right,
                               place_text(usual->command.file, line_of(*usual, name)), why),
                   "the same on every node");
}

void same_engines(const Nodes& nodes, Findings& findings) {
  std::set<std::string_view> names;
  for (const auto* node : nodes)
    for (const auto& flag : given_flags(*node->args))
      if (flag.row->part == FlagPart::layout || flag.row->part == FlagPart::engine || flag.row->part == FlagPart::model)
        names.insert(flag.row->name);
  for (const auto name : names) all_alike(nodes, name, "the engines of one deployment are configured alike", findings);
  const auto& head = *nodes.front();
  for (const auto* node : nodes)
    if (node->args->model != head.args->model)
      findings.add(*node, "",
                   fmt::format("the model is {} here, {} at {}", shown(node->args->model), shown(head.args->model),
                               place_text(head.command.file, head.command.line)),
                   "the same model on every node");
}

void same_version(const Nodes& nodes, Findings& findings) {
  for (const auto* node : nodes)
    if (node->command.image != nodes.front()->command.image)
      findings.add(*node, "",
                   fmt::format("the image is {} here, {} at {}: engines and front end of different releases",
                               shown(node->command.image), shown(nodes.front()->command.image),
                               place_text(nodes.front()->command.file, nodes.front()->command.line)),
                   "one image on every node");
}

bool loopback(const std::string& address) {
  return address == "localhost" || address.starts_with("127.") || address == "::1";
}

/// Commands of a script or a Compose file run on one machine; pods and what srun starts do not.
bool one_machine(const Nodes& nodes) {
  return std::ranges::all_of(nodes, [&](const DeploymentNode* n) {
    return n->command.file == nodes.front()->command.file && n->command.form != "Slurm" &&
           n->command.form != "Kubernetes";
  });
}

void addresses(const Nodes& nodes, std::string_view name, Findings& findings) {
  if (one_machine(nodes)) return;
  for (const auto* node : nodes) {
    const auto address = given_text(*node->args, name);
    if (!address)
      findings.add(*node, "",
                   fmt::format("{} is not given: 127.0.0.1, which is another machine on every node", flag_of(name)),
                   flag_of(name) + " with the first node's address");
    else if (loopback(*address))
      findings.add(*node, name, fmt::format("{} {} is another machine on every node", flag_of(name), *address),
                   "the first node's address");
  }
}

/// The default of data_parallel_address is master_addr.
std::string_view head_address(const Nodes& nodes) {
  const bool master =
      std::ranges::none_of(nodes, [](const auto* n) { return n->args->data_parallel_address.has_value(); }) &&
      std::ranges::any_of(nodes, [](const auto* n) { return n->args->master_addr.has_value(); });
  return master ? "master_addr" : "data_parallel_address";
}

std::string ranks_text(std::int64_t first, std::int64_t count) {
  return count == 1 ? fmt::format("rank {}", first) : fmt::format("ranks {} to {}", first, first + count - 1);
}

/// The arguments that say which ranks a node starts, as given.
std::string rank_flags(const DeploymentNode& node) {
  std::string out;
  for (const char* name : {"data_parallel_rank", "data_parallel_start_rank", "data_parallel_size_local"})
    if (const auto value = given_text(*node.args, name)) out += flag_of(name) + " " + *value + " ";
  return out;
}

/// Every data-parallel rank is started once.
void every_rank_once(const Nodes& nodes, Findings& findings) {
  const auto size = nodes.front()->launch.data_parallel_size;
  std::vector<const DeploymentNode*> started(static_cast<std::size_t>(std::clamp<std::int64_t>(size, 1, 1 << 16)));
  for (const auto* node : nodes) {
    const auto& l = node->launch;
    const std::string_view argument = node->args->data_parallel_start_rank ? "data_parallel_start_rank"
                                      : node->args->data_parallel_rank     ? "data_parallel_rank"
                                                                           : "data_parallel_size_local";
    if (l.first_rank < 0 || l.first_rank + l.ranks > static_cast<std::int64_t>(started.size())) {
      findings.add(*node, argument,
                   fmt::format("{}starts data-parallel {}, of {}: the head dies of a message from an unexpected rank",
                               rank_flags(*node), ranks_text(l.first_rank, l.ranks), size),
                   "--data-parallel-start-rank + --data-parallel-size-local no more than --data-parallel-size");
      continue;
    }
    for (auto rank = l.first_rank; rank < l.first_rank + l.ranks; ++rank) {
      auto& other = started[static_cast<std::size_t>(rank)];
      if (other) {
        findings.add(*node, argument,
                     fmt::format("{}starts data-parallel rank {}, which {} starts", rank_flags(*node), rank,
                                 place_text(other->command.file, other->command.line)),
                     "--data-parallel-start-rank behind the ranks of the nodes before");
        break;
      }
      other = node;
    }
  }
  for (std::size_t rank = 0; rank < started.size(); ++rank) {
    if (started[rank]) continue;
    auto last = rank;
    while (last + 1 < started.size() && !started[last + 1]) ++last;
    const auto count = static_cast<std::int64_t>(last - rank + 1);
    findings.add(*nodes.front(), "data_parallel_size",
                 fmt::format("nobody starts data-parallel {} of {}: the head waits for ever",
                             ranks_text(static_cast<std::int64_t>(rank), count), size),
                 "a node with --data-parallel-start-rank " + std::to_string(rank));
    break;
  }
}

const char* balancing(const NodeLaunch& l) { return l.external_lb ? "external" : l.hybrid_lb ? "hybrid" : "internal"; }

/// Engines of other nodes are headless if and only if the first front end balances over all ranks.
void modes(const Nodes& nodes, Findings& findings) {
  const auto& head = *nodes.front();
  for (std::size_t i = 1; i < nodes.size(); ++i) {
    const auto& node = *nodes[i];
    if (node.launch.headless && !head.launch.internal_lb())
      findings.add(
          node, "headless",
          fmt::format("--headless, but the head at {} has {} load balancing: it dies of a headless remote engine",
                      place_text(head.command.file, head.command.line), balancing(head.launch)),
          head.args->data_parallel_start_rank ? "a head without --data-parallel-start-rank" : "no --headless");
    else if (!node.launch.headless && head.launch.internal_lb())
      findings.add(node, "",
                   fmt::format("no --headless, but the head at {} balances over all ranks",
                               place_text(head.command.file, head.command.line)),
                   "--headless");
    else if (!node.launch.headless && balancing(node.launch) != std::string_view(balancing(head.launch)))
      findings.add(node, "",
                   fmt::format("{} load balancing here, {} at {}", balancing(node.launch), balancing(head.launch),
                               place_text(head.command.file, head.command.line)),
                   "one way of load balancing on all nodes");
  }
}

void ranks_over_nodes(const Nodes& nodes, Findings& findings) {
  all_alike(nodes, "data_parallel_size", "ranks beyond it are not known to the head", findings);
  every_rank_once(nodes, findings);
  modes(nodes, findings);
  const auto address = head_address(nodes);
  addresses(nodes, address, findings);
  all_alike(nodes, address, "the engines look for the head there", findings);
  all_alike(nodes, "data_parallel_rpc_port", "the head listens on one port", findings);
}

/// One rank's workers on several nodes: --nnodes.
void rank_over_nodes(const Nodes& nodes, Findings& findings) {
  all_alike(nodes, "nnodes", "torch.distributed waits for that many nodes", findings);
  all_alike(nodes, "data_parallel_size", "the ranks are counted by it", findings);
  const auto nnodes = std::ranges::max(nodes, {}, [](const auto* n) { return n->launch.nnodes; })->launch.nnodes;
  std::map<std::int64_t, const DeploymentNode*> ranks;
  for (const auto* node : nodes) {
    const auto rank = node->launch.node_rank;
    if (rank >= nnodes)
      findings.add(*node, "node_rank", fmt::format("--node-rank {} of {} nodes", rank, nnodes),
                   "from 0 to --nnodes - 1");
    else if (!ranks.emplace(rank, node).second)
      findings.add(*node, "node_rank",
                   fmt::format("--node-rank {} is here and at {}", rank,
                               place_text(ranks[rank]->command.file, ranks[rank]->command.line)),
                   "each node its own, from 0");
    const auto& l = node->launch;
    const auto within = std::max<std::int64_t>(1, l.nnodes / std::max<std::int64_t>(1, l.data_parallel_size));
    const bool workers = rank % within > 0 || (rank > 0 && l.internal_lb());
    if (workers && !l.headless)
      findings.add(*node, "node_rank", fmt::format("node {} serves nobody: its engine runs on another node", rank),
                   "--headless");
    if (rank == 0 && l.headless)
      findings.add(*node, "headless", "the first node is headless: nobody serves", "no --headless");
  }
  for (std::int64_t rank = 0; rank < nnodes; ++rank)
    if (!ranks.contains(rank)) {
      findings.add(*nodes.front(), "nnodes",
                   fmt::format("no command has --node-rank {} of {} nodes: all wait for it for ever", rank, nnodes),
                   "a command for each node");
      break;
    }
  addresses(nodes, "master_addr", findings);
  all_alike(nodes, "master_addr", "the workers meet there", findings);
  all_alike(nodes, "master_port", "the workers meet there", findings);
  all_alike(nodes, "data_parallel_address", "the engines look for the head there", findings);
  all_alike(nodes, "data_parallel_rpc_port", "the head listens on one port", findings);
}

void room(const DeploymentNode& node, Findings& findings) {
  const auto& l = node.launch;
  if (!node.command.gpus || l.ray) return;
  const auto need = l.nnodes > 1 ? l.world_size * l.data_parallel_size / l.nnodes : l.world_size * l.ranks;
  if (need > *node.command.gpus)
    findings.add(node, "", fmt::format("needs {} GPUs, its container asks for {}", need, *node.command.gpus),
                 "as many GPUs as ranks x TP x PP");
}

void together(const Nodes& nodes, Findings& findings) {
  for (const auto* node : nodes) room(*node, findings);
  if (nodes.size() == 1) {
    const auto& l = nodes.front()->launch;
    if (l.ray) return;
    if (l.nnodes > 1) return rank_over_nodes(nodes, findings);
    if (l.ranks < l.data_parallel_size || l.headless) every_rank_once(nodes, findings);
    return;
  }
  same_engines(nodes, findings);
  same_version(nodes, findings);
  const auto& head = *nodes.front();
  if (head.launch.ray)
    return findings.add(*nodes[1], "", "Ray starts the ranks of other nodes itself: its command runs on one node",
                        "only the head's command");
  const bool spans = std::ranges::any_of(nodes, [](const auto* n) { return n->launch.nnodes > 1; });
  spans ? rank_over_nodes(nodes, findings) : ranks_over_nodes(nodes, findings);
}

bool leads(const DeploymentNode& node) {
  return !node.launch.headless && node.launch.node_rank == 0 && node.launch.first_rank == 0;
}

/// Where a command's nodes meet.
std::string meeting_point(const DeploymentNode& node) {
  const auto& a = *node.args;
  return node.launch.nnodes > 1 ? shown(a.master_addr) + ":" + shown(given_text(a, "master_port"))
                                : shown(a.data_parallel_address) + ":" + shown(given_text(a, "data_parallel_rpc_port"));
}

/// Every command that leads, with those that meet at its address; the rest goes to the first that lacks nodes.
std::vector<Nodes> deployments_of(std::vector<DeploymentNode>& nodes, Findings& findings) {
  std::vector<Nodes> out;
  Nodes rest;
  for (auto& node : nodes)
    if (node.args && leads(node)) out.push_back({&node});
  for (auto& node : nodes) {
    if (!node.args || leads(node)) continue;
    const auto at =
        std::ranges::find_if(out, [&](const Nodes& d) { return meeting_point(*d.front()) == meeting_point(node); });
    at == out.end() ? rest.push_back(&node) : at->push_back(&node);
  }
  const auto lacks = [](const Nodes& d) {
    std::int64_t ranks = 0;
    for (const auto* n : d) ranks += n->launch.ranks;
    const auto& l = d.front()->launch;
    return l.nnodes > 1 ? static_cast<std::int64_t>(d.size()) < l.nnodes : ranks < l.data_parallel_size;
  };
  for (auto* node : rest) {
    auto at = std::ranges::find_if(out, lacks);
    if (at == out.end() && !out.empty()) at = out.begin();
    if (at == out.end())
      findings.add(*node, node->launch.headless ? "headless" : "",
                   "no command leads: a node that serves, with data-parallel rank 0 and --node-rank 0",
                   "one command without --headless");
    else
      at->push_back(node);
  }
  return out;
}

/// Servers of one machine on one port, engines on one GPU.
void shared_machine(const std::vector<DeploymentNode>& nodes, Findings& findings) {
  std::map<std::pair<std::string, std::string>, const DeploymentNode*> ports, devices;
  for (const auto& node : nodes) {
    if (!node.args || node.command.form == "Slurm" || node.command.form == "Kubernetes") continue;
    if (!node.launch.headless) {
      const auto port = given_text(*node.args, "port").value_or(std::to_string(kPort));
      const auto [at, fresh] = ports.emplace(std::pair(node.command.file, port), &node);
      if (!fresh)
        findings.add(node, "port",
                     fmt::format("port {} is that of {}, too", port,
                                 place_text(at->second->command.file, at->second->command.line)),
                     "--port, each server its own");
    }
    const auto visible = node.command.env.find("CUDA_VISIBLE_DEVICES");
    if (visible == node.command.env.end()) continue;
    for (const auto& device : split(visible->second, ',')) {
      const auto [at, fresh] = devices.emplace(std::pair(node.command.file, device), &node);
      if (!fresh && at->second != &node) {
        findings.add(node, "",
                     fmt::format("GPU {} is used at {}, too", device,
                                 place_text(at->second->command.file, at->second->command.line)),
                     "GPUs of its own in CUDA_VISIBLE_DEVICES");
        break;
      }
    }
  }
}

std::string role(const DeploymentNode& node) {
  const auto& l = node.launch;
  std::string out = l.headless ? "headless" : "serves HTTP";
  if (l.nnodes > 1) out += fmt::format(", node {} of {}", l.node_rank, l.nnodes);
  if (l.data_parallel_size > 1)
    out += fmt::format(", data-parallel {} of {}", ranks_text(l.first_rank, l.ranks), l.data_parallel_size);
  if (l.data_parallel_size > 1 && !l.headless) out += fmt::format(", {} load balancing", balancing(l));
  return out;
}

Environment environment_of(const StartCommand& command) { return {command.env.begin(), command.env.end()}; }

/// vLLM's rules for the command alone.
void alone(const DeploymentNode& node, const DeploymentModel& model, Findings& findings) {
  auto facts = node_facts(model.gpu, node.command.gpus.value_or(model.gpus_per_node));
  facts.host_ip = node.args->master_addr.value_or(node.args->data_parallel_address.value_or(facts.host_ip));
  const auto resolution = resolve(*node.args, model.facts, facts, environment_of(node.command), node.version);
  if (const auto* refusal = std::get_if<Refusal>(&resolution))
    findings.add(node, "", fmt::format("{} (rule {})", refusal->message, refusal->rule->id),
                 std::string(refusal->rule->instead));
}

DeploymentNode read_node(StartCommand command, VllmVersion version, Findings& findings) {
  DeploymentNode node;
  node.version = version;
  node.command = std::move(command);
  const auto tag = node.command.image ? version_of_image(*node.command.image) : std::nullopt;
  try {
    if (tag) node.version = parse_vllm_version(*tag);
    node.args = parse_vllm_flags(texts(node.command.words, node.command.words.size()), node.version);
    node.launch = node_launch(*node.args, environment_of(node.command), node.version);
    node.role = role(node);
  } catch (const InputError& e) {
    findings.add(node, "", e.path.empty() ? e.message : e.path + ": " + e.message,
                 e.hint.empty() ? "`vllm serve --help=all` of that version" : e.hint);
  }
  return node;
}

}  // namespace

std::string place_text(const std::string& file, int line) { return line > 0 ? fmt::format("{}:{}", file, line) : file; }

int DeploymentCheck::deployments() const {
  int count = 0;
  for (const auto& node : nodes) count = std::max(count, node.deployment + 1);
  return count;
}

DeploymentCheck check_deployment(std::vector<StartCommand> commands, VllmVersion version,
                                 const DeploymentModel* model) {
  DeploymentCheck out;
  Findings findings(out.problems);
  if (!commands.empty()) out.form = commands.front().form;
  for (auto& command : commands) out.nodes.push_back(read_node(std::move(command), version, findings));
  const auto deployments = deployments_of(out.nodes, findings);
  for (std::size_t i = 0; i < deployments.size(); ++i) {
    for (auto* node : deployments[i]) node->deployment = static_cast<int>(i);
    together(deployments[i], findings);
  }
  shared_machine(out.nodes, findings);
  if (model)
    for (const auto& node : out.nodes)
      if (node.args) alone(node, *model, findings);
  std::ranges::stable_sort(out.problems, {}, [](const auto& p) { return std::pair(p.file, p.line); });
  return out;
}

}  // namespace shardwise
