#include "parallel/experts.h"

#include <fmt/format.h>

#include <algorithm>

#include "parallel/resolve.h"

namespace shardwise {

bool sequence_parallel_backend(std::string_view b, VllmVersion v) {
  return b == "allgather_reducescatter" || b == "deepep_high_throughput" || b == "deepep_low_latency" ||
         b == "mori_high_throughput" || b == "mori_low_latency" || b == "mori" || b == "passthrough" ||
         (b == "naive" && v < VllmVersion{0, 19, 0}) || (b == "nixl_ep" && v >= VllmVersion{0, 18, 1}) ||
         (b == "flashinfer_nvlink_one_sided" && v >= VllmVersion{0, 29, 0}) ||
         (b == "deepep_v2" && v >= VllmVersion{0, 31, 0});
}

std::variant<ExpertMap, ExpertMapError> expert_map(const ParallelConfig& p, int num_experts,
                                                   std::optional<int> num_expert_group, VllmVersion version) {
  const int ranks = p.tensor_parallel_size * p.prefill_context_parallel_size * p.data_parallel_size;
  if (!p.enable_eplb && p.num_redundant_experts > 0)
    return ExpertMapError{"ValueError", fmt::format("num_redundant_experts is set to {} but EPLB is not enabled. "
                                                    "Either enable EPLB or unset num_redundant_experts.",
                                                    p.num_redundant_experts)};
  ExpertMap m;
  m.all2all_backend = p.all2all_backend;
  if ((p.all2all_backend == "pplx" && version >= VllmVersion{0, 17, 1}) ||
      (p.all2all_backend == "naive" && version >= VllmVersion{0, 19, 0}))
    m.all2all_backend = "allgather_reducescatter";
  m.use_ep = p.enable_expert_parallel && ranks > 1;
  m.ep_size = m.use_ep ? ranks : 1;
  m.moe_tp_size = m.use_ep ? 1 : ranks;
  m.num_physical = num_experts + p.num_redundant_experts;
  m.sequence_parallel = p.enable_expert_parallel && p.tensor_parallel_size > 1 && p.data_parallel_size > 1 &&
                        sequence_parallel_backend(m.all2all_backend, version);
  m.use_all2all_kernels =
      m.use_ep && (p.data_parallel_size > 1 || p.prefill_context_parallel_size > 1 || m.sequence_parallel);
  if (p.enable_eplb && m.num_physical % m.ep_size != 0)
    return ExpertMapError{
        "ValueError",
        fmt::format(
            "EPLB currently only supports even distribution of experts across ranks. Got {} experts and {} EP ranks.",
            m.num_physical, m.ep_size)};
  auto asked = p;
  asked.all2all_backend = m.all2all_backend;
  m.effective = effective_placement(asked, num_expert_group, version);
  const bool tables = m.all2all_backend == "deepep_low_latency" || m.all2all_backend == "nixl_ep";
  m.routing_tables = m.effective == ExpertPlacement::round_robin && m.use_all2all_kernels && tables;
  if (m.effective == ExpertPlacement::round_robin && m.ep_size - 1 > m.num_physical)
    return ExpertMapError{"RuntimeError", "upper bound and lower bound inconsistent with step sign"};

  const int base = m.num_physical / m.ep_size, rest = m.num_physical % m.ep_size;
  for (int rank = 0; rank < ranks; ++rank) {
    ExpertRank r;
    r.ep_rank = m.use_ep ? rank : 0;
    r.moe_tp_rank = m.use_ep ? 0 : rank;
    r.experts.count = base + (r.ep_rank < rest ? 1 : 0);
    if (m.effective == ExpertPlacement::round_robin)
      r.experts.first = r.ep_rank, r.experts.step = r.experts.count > 1 ? m.ep_size : 1;
    else
      r.experts.first = r.ep_rank * base + std::min(r.ep_rank, rest);
    m.ranks.push_back(r);
  }
  if (m.routing_tables) {
    // Logical expert e is the (e / ep)-th of rank e % ep; physical ids count rank by rank. Ranks beyond the rest start
    // as if every rank held `base` experts (expert_map_manager.py).
    m.global_to_physical.resize(static_cast<std::size_t>(m.num_physical));
    for (int e = 0; e < m.num_physical; ++e) {
      const int rank = e % m.ep_size;
      m.global_to_physical[static_cast<std::size_t>(e)] = rank * base + std::min(rank, rest) + e / m.ep_size;
    }
  }
  return m;
}

}  // namespace shardwise
