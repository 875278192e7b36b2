#include "cost/layer_tables.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace shardwise {
namespace {

void add_gemm(OpTable& out, const LayerContext& c, const GemmType& type, double n, double k) {
  if (n < 1 || k < 1) return;
  const auto& times = c.gemms(type, n, k);
  for (std::size_t i = 0; i < kKnots; ++i) {
    out[i] += times[i];
    if (type.static_scale)
      out[i].seconds -=
          std::min(times[i].seconds / 2, c.constants[Coef::static_scale] * quantise_seconds(c.chip, kTokenKnots[i], k));
  }
}

/// What lies around the cores: GEMMs into `out`. Returns elements per token that element-wise kernels touch (q, k, v
/// and output heads of this rank); sparse cores were measured with theirs.
double add_projections(OpTable& out, const LayerContext& c, const MlaAttention& a) {
  const auto type = gemm_type(c.model.quantisation.attention, c.chip), plain = gemm_type(QuantScheme{}, c.chip);
  const double h = c.hidden, heads = std::ceil(a.num_heads / static_cast<double>(c.tp));
  const double q_in = a.q_lora_rank.value_or(static_cast<int>(h)), kv_a = a.kv_lora_rank + a.qk_rope_head_dim;
  const double qk = a.qk_nope_head_dim + a.qk_rope_head_dim;
  if (a.q_lora_rank) {
    add_gemm(out, c, type, q_in + kv_a, h);
    add_gemm(out, c, type, heads * qk, q_in);
  } else {
    add_gemm(out, c, type, heads * qk, h);
    add_gemm(out, c, type, kv_a, h);
  }
  if (a.compress_ratio) {  // DeepSeek-V4: output through low-rank groups; compressors in 16 bits
    const double groups = std::max(1.0, static_cast<double>(a.o_groups) / c.tp);
    add_gemm(out, c, type, groups * a.o_lora_rank, heads * a.v_head_dim / groups);
    add_gemm(out, c, type, h, groups * a.o_lora_rank);
    const double copies = *a.compress_ratio == 4 ? 2 : 1;  // neighbouring blocks overlap
    if (*a.compress_ratio > 0) add_gemm(out, c, plain, 2 * copies * kv_a, h);
    if (a.indexer) add_gemm(out, c, plain, 2 * copies * a.indexer->head_dim, h);
  } else {
    add_gemm(out, c, plain, heads * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank);
    add_gemm(out, c, type, h, heads * a.v_head_dim);
  }
  if (a.output_gate) add_gemm(out, c, type, heads * a.v_head_dim, h);
  if (a.indexer && !a.indexer->shared) {  // not sharded
    add_gemm(out, c, type, a.indexer->num_heads * a.indexer->head_dim, q_in);
    add_gemm(out, c, plain, (a.compress_ratio ? 0 : a.indexer->head_dim) + a.indexer->num_heads, h);
  }
  return a.indexer || a.compress_ratio ? 0 : heads * (qk + a.v_head_dim) + kv_a;
}

double add_projections(OpTable& out, const LayerContext& c, const LinearAttention& l) {
  using Kind = LinearAttention::Kind;
  const auto type = gemm_type(c.model.quantisation.attention, c.chip);
  const double h = c.hidden, tp = c.tp, heads = l.num_heads / tp;
  const double inner =
      (l.intermediate_size > 0 ? l.intermediate_size : std::max(1, l.num_heads) * std::max(1, l.head_dim)) / tp;
  double in = 4 * inner, from = inner;  // lightning: q, k, v, gate
  switch (l.kind) {
    case Kind::lightning:
      break;
    case Kind::mamba1:
      in = 2 * inner;
      break;
    case Kind::mamba2:
      in = 2 * inner + 2.0 * l.num_key_heads * l.state_size / tp + heads;
      break;
    case Kind::short_conv:
      in = 3 * h / tp, from = h / tp;
      break;
    case Kind::gated_delta_net:  // in_proj_qkvz and in_proj_ba
      in = 2 * inner + 2.0 * l.num_key_heads * l.key_head_dim / tp;
      add_gemm(out, c, type, 2 * heads, h);
      break;
    case Kind::kimi_delta: {  // in_proj_qkvgfab and f_b_proj; the gate is low-rank unless the model says otherwise
      in = (l.full_rank_gate ? 4 : 3) * inner + l.head_dim + heads;
      add_gemm(out, c, type, inner, l.head_dim);
      if (!l.full_rank_gate) {
        add_gemm(out, c, type, l.head_dim, h);
        add_gemm(out, c, type, inner, l.head_dim);
      }
      break;
    }
  }
  add_gemm(out, c, type, in, h);
  add_gemm(out, c, type, h, from);
  return in + inner;
}

double add_projections(OpTable& out, const LayerContext& c, const FullAttention& a) {
  const auto type = gemm_type(c.model.quantisation.attention, c.chip);
  const double heads = std::ceil(a.num_heads / static_cast<double>(c.tp)),
               kv = std::max(1.0, static_cast<double>(a.num_kv_heads) / c.tp);
  const double v = a.v_head_dim > 0 ? a.v_head_dim : a.head_dim;
  double n = heads * a.head_dim * (a.output_gate ? 2 : 1) + kv * (a.head_dim + (a.k_eq_v ? 0 : v));
  if (a.indexer) n += (kv + 1) * a.indexer->head_dim;  // index q as many heads as keys, one index k: the same GEMM
  add_gemm(out, c, type, n, c.hidden);
  add_gemm(out, c, type, c.hidden, heads * v);
  return a.indexer ? 0 : n + heads * v;
}

double add_projections(OpTable& out, const LayerContext& c, const CrossAttention& a) {
  return add_projections(out, c, a.shape);
}

double add_projections(OpTable&, const LayerContext&, const NoAttention&) { return 0; }

void add_dense(OpTable& out, const LayerContext& c, const QuantScheme& quant, double intermediate, bool gated) {
  if (intermediate <= 0) return;
  const auto type = gemm_type(quant, c.chip);
  add_gemm(out, c, type, (gated ? 2 : 1) * intermediate / c.tp, c.hidden);
  add_gemm(out, c, type, c.hidden, intermediate / c.tp);
}

void add_experts(KindTables& out, const LayerContext& c, const MoeFfn& ffn) {
  const auto& q = c.model.quantisation;
  out.moe = true;
  const bool ep_on = c.engine.parallel.enable_expert_parallel;
  const int shards = c.tp * c.dp * c.engine.parallel.prefill_context_parallel_size;
  const int ep = ep_on ? shards : 1, tp = ep_on ? 1 : shards;
  const double width = ffn.latent_size ? *ffn.latent_size : c.hidden;
  const bool hopper_or_older = c.chip.fp4 <= 0;
  const auto types = moe_types(q.routed_experts, c.chip, hopper_or_older);
  std::vector<Experts> decode, mixed;
  for (const auto& t : types.decode) decode.emplace_back(t, c.chip, ffn, width, tp, ep);
  for (const auto& t : types.mixed) mixed.emplace_back(t, c.chip, ffn, width, tp, ep);
  for (std::size_t i = 0; i < kKnots; ++i) {
    const double tokens = kTokenKnots[i] * c.dp;
    OpTime best = decode[0].time(tokens);
    for (std::size_t k = 1; k < decode.size(); ++k) {
      const auto t = decode[k].time(tokens);
      if (t.seconds < best.seconds) best = t;
    }
    out.experts_decode[i] += best;
    OpTime m = mixed[0].time(tokens);
    for (std::size_t k = 1; k < mixed.size(); ++k) {
      const double other = mixed[k].time(tokens).seconds;
      m.seconds = types.mixed_fastest ? std::min(m.seconds, other) : std::sqrt(m.seconds * other);
    }
    out.experts_mixed[i] += m;
  }
  add_gemm(out.router_shared, c, gemm_type(QuantScheme{}, c.chip), ffn.num_experts, c.hidden);
  add_dense(out.router_shared, c, q.shared_experts, ffn.shared_intermediate_size, ffn.gated);
  if (ffn.latent_size) {
    add_gemm(out.router_shared, c, gemm_type(q.shared_experts, c.chip), *ffn.latent_size, c.hidden);
    add_gemm(out.router_shared, c, gemm_type(q.shared_experts, c.chip), c.hidden, *ffn.latent_size);
  }
  if (ffn.parallel_dense)
    add_dense(out.dense_ffn, c, q.dense_mlp, ffn.parallel_dense->intermediate_size, ffn.parallel_dense->gated);
  if (c.dp <= 1) return;
  const auto& backend = c.engine.parallel.all2all_backend;
  const bool sparse =
      ep_on && (backend.find("deepep") != std::string::npos || backend.find("nixl") != std::string::npos ||
                backend.find("mori") != std::string::npos || backend.find("alltoall") != std::string::npos);
  for (std::size_t i = 0; i < kKnots; ++i) {
    const double tokens = kTokenKnots[i];
    if (sparse) {  // each token goes to the ranks of its experts: dispatch in 8 bits, combine in 16
      const double copies = std::min<double>(ffn.num_experts_per_tok, c.ep_group.size);
      const double bytes = tokens * copies * c.hidden;
      out.expert_comm[i] += collective_seconds(*c.chip.tables, c.ep_group, Collective::alltoall, bytes) +
                            collective_seconds(*c.chip.tables, c.ep_group, Collective::alltoall, 2 * bytes);
    } else {  // every rank gets every token of the DP group and returns partial sums
      const double bytes = tokens * c.dp * c.hidden * 2;
      out.expert_comm[i] += collective_seconds(*c.chip.tables, c.dp_group, Collective::all_gather, bytes) +
                            collective_seconds(*c.chip.tables, c.dp_group, Collective::reduce_scatter, bytes);
    }
  }
}

}  // namespace

std::size_t GemmTimes::Hash::operator()(const Key& key) const {
  std::size_t h = 0;
  for (const double x : {key.n, key.k, key.type.weight_bytes}) h = h * 1099511628211u ^ std::hash<double>{}(x);
  return h;
}

const OpTable& GemmTimes::operator()(const GemmType& type, double n, double k) {
  const auto [it, fresh] = known_.try_emplace({type, n, k});
  if (fresh) {
    const Gemm gemm(type, chip_, n, k);
    for (std::size_t i = 0; i < kKnots; ++i) it->second[i] = gemm.time(kTokenKnots[i]);
  }
  return it->second;
}

KindTables compile_kind(const LayerContext& c, const Layer& layer) {
  KindTables out;
  double heads = std::visit([&](const auto& a) { return add_projections(out.attention_proj, c, a); }, layer.attention);
  if (layer.parallel_state) heads += add_projections(out.attention_proj, c, *layer.parallel_state);
  const auto* latent = std::get_if<MlaAttention>(&layer.attention);
  const double streams = latent && latent->compress_ratio ? c.model.hc_mult.value_or(4) : 0;
  double ffn_width = 0;
  if (const auto* d = std::get_if<DenseFfn>(&layer.ffn)) {
    add_dense(out.dense_ffn, c, c.model.quantisation.dense_mlp, d->intermediate_size, d->gated);
    ffn_width = static_cast<double>(d->intermediate_size) / c.tp;
  } else if (const auto* m = std::get_if<MoeFfn>(&layer.ffn)) {
    add_experts(out, c, *m);
    ffn_width = static_cast<double>(m->shared_intermediate_size) / c.tp;
  }
  const int sums = (std::holds_alternative<NoAttention>(layer.attention) ? 0 : 1) +
                   (std::holds_alternative<NoFfn>(layer.ffn) ? 0 : 1);
  for (std::size_t i = 0; i < kKnots; ++i) {
    const double t = kTokenKnots[i];
    out.elementwise[i] =
        t * (8 * c.hidden + 3 * ffn_width + 2 * heads) * 2 / (fixed::stream.value * c.chip.bandwidth) * c.chip.slowdown;
    if (streams > 0) out.elementwise[i] += hyper_connection_seconds(c.chip, t, c.hidden, streams);
    if (c.tp > 1 && sums > 0)
      out.all_reduce[i] +=
          sums * collective_seconds(*c.chip.tables, c.tp_group, Collective::all_reduce, t * c.hidden * 2);
    // A norm over the heads of all ranks sums squares of q and k, fp32, before it can scale: one all-reduce of both
    // since 0.14 (vLLM #31493), two before.
    const auto* full = std::get_if<FullAttention>(&layer.attention);
    if (c.tp > 1 && full && full->qk_norm_full) {
      const bool joint = c.engine.vllm_version >= VllmVersion{0, 14, 0};
      out.norm_reduce[i] += (joint ? 1 : 2) * collective_seconds(*c.chip.tables, c.tp_group, Collective::all_reduce,
                                                                 t * sizeof(float) * (joint ? 2 : 1));
    }
    if (c.dcp > 1 && !std::holds_alternative<LinearAttention>(layer.attention) &&
        !std::holds_alternative<NoAttention>(layer.attention)) {
      CollectiveGroup g = c.tp_group;
      g.size = c.dcp, g.nodes = std::min(g.nodes, g.size);
      const double bytes = t * heads * 2 * c.dcp;
      out.all_reduce[i] += collective_seconds(*c.chip.tables, g, Collective::all_gather, bytes) +
                           collective_seconds(*c.chip.tables, g, Collective::reduce_scatter, bytes);
    }
  }
  return out;
}

}  // namespace shardwise
