#include "parallel/ranks.h"

#include <array>

namespace shardwise {
namespace {

/// Ranks 0.. as an array [dp][pp][pcp][tp], read in another order of its axes and cut into pieces of `size`.
std::vector<std::vector<int>> cut(const std::array<int, 4>& shape, const std::array<int, 4>& order, int size) {
  std::array<int, 4> stride{}, n{};
  int step = 1;
  for (int axis = 3; axis >= 0; --axis)
    stride[static_cast<std::size_t>(axis)] = step, step *= shape[static_cast<std::size_t>(axis)];
  std::array<int, 4> strides{};
  for (std::size_t k = 0; k < 4; ++k)
    n[k] = shape[static_cast<std::size_t>(order[k])], strides[k] = stride[static_cast<std::size_t>(order[k])];
  std::vector<std::vector<int>> out;
  std::vector<int> group;
  for (int a = 0; a < n[0]; ++a)
    for (int b = 0; b < n[1]; ++b)
      for (int c = 0; c < n[2]; ++c)
        for (int d = 0; d < n[3]; ++d) {
          group.push_back(a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3]);
          if (static_cast<int>(group.size()) == size) {
            out.push_back(std::move(group));
            group.clear();
          }
        }
  return out;
}

}  // namespace

RankGroups rank_groups(const ParallelConfig& p, bool is_moe, VllmVersion version) {
  // Dense replicas are engines of their own (ParallelConfig.reconfigure_for_independent_dp_rank).
  const int dp = is_moe ? p.data_parallel_size : 1;
  const int pp = p.pipeline_parallel_size, pcp = p.prefill_context_parallel_size, tp = p.tensor_parallel_size;
  const int dcp = p.decode_context_parallel_size;
  const std::array<int, 4> shape{dp, pp, pcp, tp};
  RankGroups out;
  out.torch_world_size = dp * pp * pcp * tp;
  out.groups.push_back({"tp", cut(shape, {0, 1, 2, 3}, tp)});
  // DCP runs over PCP first, then TP, from 0.26 on.
  const bool pcp_first = dcp > 1 && version >= VllmVersion{0, 26, 0};
  out.groups.push_back({"dcp", cut(shape, pcp_first ? std::array{0, 1, 3, 2} : std::array{0, 1, 2, 3}, dcp)});
  out.groups.push_back({"pcp", cut(shape, {0, 1, 3, 2}, pcp)});
  out.groups.push_back({"pp", cut(shape, {0, 3, 2, 1}, pp)});
  out.groups.push_back({"dp", cut(shape, {3, 1, 2, 0}, dp)});
  if (is_moe) {
    auto experts = cut(shape, {1, 0, 2, 3}, dp * pcp * tp);
    if (p.enable_eplb) out.groups.push_back({"eplb", experts});
    out.groups.push_back({"ep", std::move(experts)});
  }
  return out;
}

std::vector<WorkerRank> worker_ranks(const Resolved& r) {
  std::vector<WorkerRank> out;
  for (const auto& [dp_rank, devices] : r.launch.worker_devices)
    for (std::size_t local = 0; local < devices.size(); ++local) {
      WorkerRank w;
      w.dp_rank = dp_rank;
      w.device = devices[local];
      w.global_rank = static_cast<int>(r.local_world_size * r.node_rank_within_dp) + static_cast<int>(local);
      w.torch_world_size =
          static_cast<int>(r.is_moe || r.launch.headless_workers_only ? r.world_size_across_dp : r.world_size);
      if (r.is_moe || r.launch.headless_workers_only) w.global_rank += dp_rank * static_cast<int>(r.world_size);
      out.push_back(w);
    }
  return out;
}

}  // namespace shardwise
