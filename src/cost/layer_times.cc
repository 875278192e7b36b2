#include "cost/layer_times.h"

#include <algorithm>
#include <cmath>

#include "hardware/generations.h"

namespace shardwise {
namespace {

constexpr double kMib = 1024.0 * 1024.0;

/// Up to here vLLM's custom all-reduce of four ranks runs in one stage, bytes (csrc/custom_all_reduce.cuh).
constexpr double kOneStage = 512.0 * 1024;

/// vLLM fuses all-reduce, residual and RMSNorm by itself since 0.17 (#34299) on Hopper and Blackwell with NVSwitch;
/// with data-parallel attention or pipeline stages since 0.21 (#41458).
bool fuses_all_reduce(const EngineConfig& engine, const Gpu& gpu) {
  const auto& p = engine.parallel;
  const bool alone = p.data_parallel_size == 1 && p.pipeline_parallel_size == 1;
  return engine.vllm_version >= VllmVersion{0, 17, 0} && (alone || engine.vllm_version >= VllmVersion{0, 21, 0}) &&
         generation_of(gpu).fi_allreduce_fusion_max_size_mb.tp2 > 0;
}

/// Largest message of the fused kernel, bytes.
double fused_all_reduce_limit(const Gpu& gpu, int tp) {
  const auto& mib = generation_of(gpu).fi_allreduce_fusion_max_size_mb;
  return (tp == 2 ? mib.tp2 : tp == 4 ? mib.tp4 : tp == 8 ? mib.tp8 : 0) * kMib;
}

std::size_t last_latency_bound_knot(double hidden) {
  std::size_t i = 0;
  while (i + 1 < kKnots && kTokenKnots[i + 1] * hidden * 2 <= kOneStage) ++i;
  return i;
}

/// Experts cost `routing` as much, less so the more of them a batch touches anyway.
double routing_at(const StepFactors& f, const MoeFfn& moe, double tokens) {
  return std::pow(f.routing,
                  1 - std::min(1.0, tokens * moe.num_experts_per_tok / (4.0 * std::max(1, moe.num_experts))));
}

/// Kernels are timed in short bursts; back to back, power caps what a nearly full tensor core may do.
double held(const OpTime& op, double sustained) {
  const double u = op.seconds > 0 ? op.compute / (op.seconds * sustained) : 0;
  return op.seconds * std::sqrt(std::sqrt(1 + u * u * u * u));
}

/// Fusion saves launches, barriers and the pass over a short message, not the transfers of a long one.
double all_reduce_seconds(const LayerContext& c, const StepFactors& f, const KindTables& raw, std::size_t i) {
  const double share = f.short_reduce * (kTokenKnots[i] * c.hidden * 2 <= f.fused_bytes ? f.fused : 1.0);
  return raw.all_reduce[i] + (share - 1) * raw.all_reduce[std::min(i, f.latency_bound)] +
         f.short_reduce * raw.norm_reduce[i];
}

}  // namespace

StepFactors step_factors(const LayerContext& c, const Gpu& gpu, double routing, std::optional<bool> fused) {
  const auto& k = c.constants;
  const bool blackwell = c.chip.fp4 > 0;
  const auto by_generation = [&](Coef hopper, Coef after) { return k[blackwell ? after : hopper]; };
  const auto static_scales = [&](const QuantScheme& q) {
    return q.method == QuantScheme::Method::fp8_tensor
               ? by_generation(Coef::static_fp8_hopper, Coef::static_fp8_blackwell)
               : 1.0;
  };
  const auto& quantisation = c.model.quantisation;
  const bool old_moe = c.engine.vllm_version < VllmVersion{0, 18, 0} &&
                       quantisation.routed_experts.method == QuantScheme::Method::fp8_block;
  // Both are kernels of one switched domain; between nodes NCCL works as its curves say.
  const bool one_node = c.tp_group.nodes == 1;
  const bool fusion = fused.value_or(fuses_all_reduce(c.engine, gpu) && c.tp_group.switched) && c.tp > 1 && one_node;
  StepFactors f;
  f.gemm = k[Coef::gemm];
  f.prefill = by_generation(Coef::prefill_hopper, Coef::prefill_blackwell);
  f.sustained = by_generation(Coef::sustained_hopper, Coef::sustained_blackwell);
  f.routing = k[Coef::moe] * routing;
  f.static_attention = static_scales(quantisation.attention), f.static_mlp = static_scales(quantisation.dense_mlp);
  f.gap = by_generation(Coef::gap_hopper, Coef::gap_blackwell);
  f.moe_gap = k[Coef::moe_gap] + (old_moe ? k[Coef::old_block_moe] : 0.0);
  f.short_reduce = one_node ? k[Coef::all_reduce] : 1.0;
  f.fused = k[Coef::fused_all_reduce], f.fused_bytes = fusion ? fused_all_reduce_limit(gpu, c.tp) : 0;
  f.latency_bound = last_latency_bound_knot(c.hidden);
  return f;
}

LayerTimes layer_times(const LayerContext& c, const StepFactors& f, const KindTables& raw, const Layer& layer) {
  LayerTimes out;
  const auto* moe = std::get_if<MoeFfn>(&layer.ffn);
  const double layer_gap = f.layer_gap(moe != nullptr);
  for (std::size_t i = 0; i < kKnots; ++i) {
    const double tokens = kTokenKnots[i], w = 1 / (1 + 64 / tokens);
    const double r = moe ? routing_at(f, *moe, tokens * c.dp) : 1;
    const double scale = std::pow(f.prefill, w), gemm_mixed = std::pow(f.gemm, 1 - w);
    const double proj = raw.attention_proj[i].seconds, dense = raw.dense_ffn[i].seconds,
                 router = raw.router_shared[i].seconds, experts = raw.experts_decode[i].seconds;
    const double proj_held = held(raw.attention_proj[i], f.sustained), dense_held = held(raw.dense_ffn[i], f.sustained),
                 router_held = held(raw.router_shared[i], f.sustained);
    const double all_reduce = all_reduce_seconds(c, f, raw, i);
    const double comm = all_reduce + raw.expert_comm[i];
    out.decode_total[i] = f.gemm * (proj + dense + router) + experts * r + comm + raw.elementwise[i] + layer_gap;
    out.mixed_total[i] = gemm_mixed * (f.static_attention * proj_held + f.static_mlp * dense_held + router_held) +
                         scale * raw.experts_mixed[i].seconds * r + comm + raw.elementwise[i] + layer_gap;
    const auto put = [&](TokenOp op, double decode, double mixed) {
      out.decode[static_cast<std::size_t>(op)][i] = decode, out.mixed[static_cast<std::size_t>(op)][i] = mixed;
    };
    put(TokenOp::attention_proj, f.gemm * proj, gemm_mixed * f.static_attention * proj_held);
    put(TokenOp::dense_ffn, f.gemm * dense, gemm_mixed * f.static_mlp * dense_held);
    put(TokenOp::router_shared, f.gemm * router, gemm_mixed * router_held);
    put(TokenOp::experts, r * experts, scale * r * raw.experts_mixed[i].seconds);
    put(TokenOp::all_reduce, all_reduce, all_reduce);
    put(TokenOp::expert_comm, raw.expert_comm[i], raw.expert_comm[i]);
    put(TokenOp::elementwise, raw.elementwise[i], raw.elementwise[i]);
  }
  return out;
}

}  // namespace shardwise
