#pragma once
// Coefficients laid over the kernel times of a layer.
#include <optional>

#include "cost/layer_tables.h"

namespace shardwise {

/// The coefficients as one engine meets them on its GPU.
struct StepFactors {
  double gemm = 1;                              ///< decode; fades with the tokens of a step with prompts
  double prefill = 1;                           ///< experts of such a step; grows with its tokens
  double sustained = 1;                         ///< share of the dense peak
  double routing = 1;                           ///< on experts, while a batch does not touch them all
  double static_attention = 1, static_mlp = 1;  ///< GEMMs of steps with prompts
  double gap = 0, moe_gap = 0;                  ///< s a layer; a MoE layer, beside that
  double short_reduce = 1;                      ///< on what is bound by latency in an all-reduce
  double fused = 1, fused_bytes = 0;            ///< factor on that for messages of at most so many bytes
  std::size_t latency_bound = 0;                ///< the last knot whose all-reduce is all latency

  double layer_gap(bool moe) const { return gap + (moe ? moe_gap : 0.0); }
};
/// `routing`: RoutingRow::factor of the model. `fused`: whether all-reduces are fused; nullopt = the version's default.
StepFactors step_factors(const LayerContext& context, const Gpu& gpu, double routing, std::optional<bool> fused);

/// Seconds of one layer at every token knot, without its attention; gaps are in the totals alone.
struct LayerTimes {
  TokenTable decode_total{}, mixed_total{};
  std::array<TokenTable, kTokenOps> decode{}, mixed{};
};
LayerTimes layer_times(const LayerContext& context, const StepFactors& factors, const KindTables& raw,
                       const Layer& layer);

}  // namespace shardwise
