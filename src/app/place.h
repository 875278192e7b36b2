#pragma once
// `place`: which rank gets which expert, given how many tokens each expert sees, and what rebalancing is worth.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/engine_config.h"
#include "parallel/eplb.h"

namespace shardwise {

/// A load file: token counts per layer and expert, and the groups of grouped top-k if it names them.
struct ExpertLoadFile {
  ExpertLoads loads;
  std::optional<int> num_groups;
};

/// JSON ({"load": [[layers x experts]], "num_logical_experts", "num_groups"}, or the matrix alone) or CSV (a row a
/// layer, an optional header). Throws InputError with line or path. docs/place.md.
ExpertLoadFile read_expert_loads(std::string_view text, const std::string& file);

enum class PlacePolicy { linear, round_robin, eplb, ours };
std::string to_string(PlacePolicy policy);

struct PlaceRequest {
  std::string load_name;  ///< for the report
  ExpertLoads loads;
  int ranks = 1;                 ///< expert-parallel size
  int nodes = 1;                 ///< of those ranks; 1 is used where ranks do not divide by it, as in vLLM
  int tensor_parallel_size = 1;  ///< the rest of the ranks is data parallel
  int redundant_experts = 0;
  std::optional<int> num_expert_group;  ///< groups of grouped top-k; nullopt = ungrouped
  std::string all2all_backend = "allgather_reducescatter";
  VllmVersion vllm_version = kDefaultVllmVersion;
  std::vector<PlacePolicy> policies;  ///< empty = all
  double least_gain = 0.03;           ///< rebalancing that takes less off the most loaded rank is not worth it
};

/// One policy's outcome. Loads are tokens, a logical expert's shared evenly by its replicas.
struct PlacedPolicy {
  PlacePolicy asked = PlacePolicy::linear, effective = PlacePolicy::linear;
  std::optional<std::string> refusal;  ///< what vLLM refuses it with; nothing below holds then
  std::optional<std::string> why;      ///< why asked and effective differ
  PhysicalToLogical map;               ///< [layers][physical], rank after rank
  std::vector<int> slots_of_rank;      ///< physical experts of each rank
  Balancedness balance;
  std::vector<double> rank_load;    ///< by rank, all layers
  std::vector<double> worst_layer;  ///< by rank: its load over the mean of all ranks in its worst layer
  double critical = 0;              ///< sum over layers of the most loaded rank's tokens: what the ranks wait for
};

struct PlaceAnswer {
  PlaceRequest request;
  int num_physical = 0;
  PlacedPolicy before;                 ///< the map that vLLM starts with
  std::vector<PlacedPolicy> policies;  ///< in the order asked
  std::optional<std::size_t> best;     ///< least `critical`; the earlier one on ties; nullopt: all are refused
  double bound = 1;                    ///< of mean balancedness, proven; of placements with equal slots per rank
  double gain = 0;                     ///< share of `before.critical` that the best takes off
  bool worth_it = false;               ///< gain >= least_gain
};

/// Throws InputError where ranks, nodes or redundant experts cannot be.
PlaceAnswer place_experts(const PlaceRequest& request);

}  // namespace shardwise
