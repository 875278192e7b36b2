#pragma once
// Expert load balancing: vLLM's default policy, reproduced, and ours, which starts from it and never does worse.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace shardwise {

/// Token counts of one window, [layers][experts] row-major.
struct ExpertLoads {
  int layers = 0, experts = 0;
  std::vector<std::int64_t> counts;
  std::span<const std::int64_t> layer(int l) const {
    return std::span(counts).subspan(static_cast<std::size_t>(l) * static_cast<std::size_t>(experts),
                                     static_cast<std::size_t>(experts));
  }
};

/// Where replicas may go: `replicas` physical experts over `ranks` GPUs, evenly; expert groups packed to `nodes` when
/// groups divide by nodes.
struct EplbShape {
  int replicas = 0, groups = 1, nodes = 1, ranks = 1;
};

/// The shape that the policy works with: the given one if groups divide by nodes, else one group on one node.
EplbShape effective_shape(const EplbShape& shape);

/// Logical expert of every physical slot, [layers][replicas] row-major; slot r of a layer is on rank r / (replicas /
/// ranks).
using PhysicalToLogical = std::vector<int>;

/// The assertion that vLLM's policy fails on these sizes, as text.
std::optional<std::string> eplb_refusal(int experts, const EplbShape& shape);

/// distributed/eplb/policy/default.py rebalance_experts, with a stable descending sort. `old` = the map in force before
/// (experts that stay on a GPU keep their slot), empty = none. The sizes must pass eplb_refusal().
PhysicalToLogical eplb_vllm(const ExpertLoads& loads, const EplbShape& shape, std::span<const int> old = {});

/// Ours: vLLM's map improved layer by layer by exchanges between GPUs and by moving replicas to other experts, as long
/// as the most loaded GPU gets lighter. Same constraints. Deterministic; no randomness, no clock.
PhysicalToLogical eplb_ours(const ExpertLoads& loads, const EplbShape& shape, std::span<const int> old = {});

/// The map before any rebalancing (eplb_state.py build_initial_global_physical_to_logical_map).
PhysicalToLogical eplb_initial(int layers, int experts, int replicas);

struct Balancedness {
  double mean = 1, least = 1;  ///< over layers, of mean GPU load / largest GPU load; 1 = even
};
Balancedness balancedness(const ExpertLoads& loads, std::span<const int> physical_to_logical, int ranks);

/// Load of every GPU in one layer, a logical expert's tokens shared evenly by its replicas.
std::vector<double> rank_loads(const ExpertLoads& loads, std::span<const int> physical_to_logical, int ranks,
                               int layer);

/// Proven upper bound of the mean balancedness for any map under the constraints. Where each layer's most loaded GPU
/// cannot get below: the mean; the heaviest replica when spares go where they help most; that replica with the lightest
/// ones as company; k + 1 of the k * ranks + 1 heaviest replicas, which share a GPU; the same of groups on nodes.
double balancedness_bound(const ExpertLoads& loads, const EplbShape& shape);

}  // namespace shardwise
