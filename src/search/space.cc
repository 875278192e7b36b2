// The space: every layout whose GPUs are there. Legality is not decided here.
#include <algorithm>

#include "search/search.h"

namespace shardwise {
namespace {

template <class T>
bool matches(const std::optional<T>& pin, const T& value) {
  return !pin || *pin == value;
}

/// vLLM's default split (empty) and, where that gives every stage as many layers, one with a layer fewer on the last
/// stage, which also holds the head (VLLM_PP_LAYER_PARTITION). Where the layers do not divide, vLLM's own split already
/// spares the last stage (get_pp_indices: the remainder goes to the stages before it).
std::vector<std::vector<int>> partitions(int layers, int stages) {
  std::vector<std::vector<int>> result{{}};
  if (stages < 2 || layers % stages != 0 || layers < 2 * stages) return result;
  std::vector<int> lighter(static_cast<std::size_t>(stages), layers / stages);
  --lighter.back();
  ++lighter.front();
  result.push_back(lighter);
  return result;
}

}  // namespace

int budget_gpus(const SearchRequest& request) {
  int total = 0;
  for (const auto& group : request.groups) total = std::max(total, group.total());
  return request.max_gpus ? std::min(total, *request.max_gpus) : total;
}

void enumerate_layouts(const SearchRequest& request, const std::function<void(const Layout&)>& visit) {
  const Model& model = *request.model;
  const auto& pins = request.pins;
  const int layers = model.num_hidden_layers();
  const bool moe = model.is_moe();
  for (std::size_t g = 0; g < request.groups.size(); ++g) {
    const auto& group = request.groups[g];
    const int budget = std::min(group.total(), request.max_gpus.value_or(group.total()));
    for (int tp = 1; tp <= budget; ++tp) {
      if (!matches(pins.tensor_parallel_size, tp)) continue;
      for (int pp = 1; tp * pp <= budget && pp <= std::max(1, layers); ++pp) {
        if (!matches(pins.pipeline_parallel_size, pp)) continue;
        const int pcp_last = pins.prefill_context_parallel_size.value_or(1);
        const int pcp = pcp_last;
        const int world = tp * pp * pcp;
        if (world > budget) continue;
        const int capacity = std::min(engine_capacity(group, world), budget / world);
        if (capacity < 1) continue;
        const auto span = engine_span(world, *std::max_element(group.free_gpus.begin(), group.free_gpus.end()),
                                      static_cast<int>(group.free_gpus.size()));
        for (int dcp = 1; dcp <= tp; ++dcp) {
          if (tp % dcp != 0 || !matches(pins.decode_context_parallel_size, dcp)) continue;
          for (int ep = 0; ep <= (moe ? 1 : 0); ++ep) {
            if (!matches(pins.enable_expert_parallel, ep == 1)) continue;
            for (const auto& partition : partitions(layers, pp)) {
              Layout layout;
              layout.group = static_cast<int>(g);
              auto& p = layout.parallel;
              p = request.fixed;
              p.tensor_parallel_size = tp;
              p.pipeline_parallel_size = pp;
              p.prefill_context_parallel_size = pcp;
              p.decode_context_parallel_size = dcp;
              p.enable_expert_parallel = ep == 1;
              p.pp_layer_partition = partition;
              for (int dp = 1; dp <= capacity; ++dp) {
                if (!matches(pins.data_parallel_size, dp)) continue;
                if (ep == 1 && tp * pcp * dp == 1 && !pins.enable_expert_parallel)
                  continue;  // the same plan as without it
                if (!moe && dp > 1 && span.nodes > 1)
                  continue;  // no data parallel over engines that span nodes: replicas
                // Copies of a dense model are data parallel ranks of one deployment; separate deployments only where
                // that is not possible, or asked for.
                const bool may_replicate = moe || span.nodes > 1 || request.allow_replicas || pins.replicas;
                for (int replicas = 1; replicas <= (may_replicate ? capacity / dp : 1); ++replicas) {
                  if (!matches(pins.replicas, replicas)) continue;
                  layout.replicas = replicas;
                  p.data_parallel_size = dp;
                  for (const auto placement : {ExpertPlacement::linear, ExpertPlacement::round_robin}) {
                    p.expert_placement_strategy = placement;
                    if (!matches(pins.expert_placement_strategy, placement)) continue;
                    // A round_robin that vLLM silently turns into linear is the linear plan: listed once.
                    if (placement == ExpertPlacement::round_robin && !pins.expert_placement_strategy &&
                        request.effective_placement(p) != placement)
                      continue;
                    if (placement == ExpertPlacement::round_robin && ep == 0 && !pins.expert_placement_strategy)
                      continue;
                    visit(layout);
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace shardwise
