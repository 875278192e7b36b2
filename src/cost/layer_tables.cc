#include "cost/layer_tables.h"

#include <algorithm>
#include <cmath>
#include <vector>


namespace shardwise {
namespace {

constexpr std::size_t N = kTokenKnots.size();

bool same_shape(const FullAttention& a, const FullAttention& b) {
  return a.num_heads == b.num_heads && a.num_kv_heads == b.num_kv_heads && a.head_dim == b.head_dim &&
         a.v_head_dim == b.v_head_dim && a.sliding_window == b.sliding_window &&
         a.attention_chunk_size == b.attention_chunk_size && a.output_gate == b.output_gate &&
         a.qk_norm_full == b.qk_norm_full;
}
bool same_shape(const MlaAttention& a, const MlaAttention& b) {
  return a.num_heads == b.num_heads && a.q_lora_rank == b.q_lora_rank && a.kv_lora_rank == b.kv_lora_rank &&
         a.qk_nope_head_dim == b.qk_nope_head_dim && a.qk_rope_head_dim == b.qk_rope_head_dim &&
         a.v_head_dim == b.v_head_dim && a.indexer.has_value() == b.indexer.has_value();
}
bool same_shape(const LinearAttention& a, const LinearAttention& b) {
  return a.kind == b.kind && a.num_heads == b.num_heads && a.num_key_heads == b.num_key_heads &&
         a.head_dim == b.head_dim && a.key_head_dim == b.key_head_dim && a.state_size == b.state_size &&
         a.intermediate_size == b.intermediate_size;
}
bool same_shape(const CrossAttention& a, const CrossAttention& b) { return same_shape(a.shape, b.shape); }
bool same_shape(const NoAttention&, const NoAttention&) { return true; }
bool same_shape(const DenseFfn& a, const DenseFfn& b) {
  return a.intermediate_size == b.intermediate_size && a.gated == b.gated;
}
bool same_shape(const MoeFfn& a, const MoeFfn& b) {
  return a.num_experts == b.num_experts && a.num_experts_per_tok == b.num_experts_per_tok &&
         a.moe_intermediate_size == b.moe_intermediate_size &&
         a.shared_intermediate_size == b.shared_intermediate_size && a.latent_size == b.latent_size;
}
bool same_shape(const NoFfn&, const NoFfn&) { return true; }
template <class V>
bool same_alternative(const V& a, const V& b) {
  if (a.index() != b.index()) return false;
  return std::visit([&](const auto& x) { return same_shape(x, std::get<std::decay_t<decltype(x)>>(b)); }, a);
}

/// Seconds that dynamic quantisation of the activations takes inside the measured fp8 GEMM rows, by the scale_matrix
/// and computescale tables of aiconfigurator-core 0.12.0 (H100, B200): a static scale is folded into the kernel before.
double dynamic_scale_seconds(const Chip& chip, double m, double k) {
  return 3.4e-6 + 3 * m * k / (0.85 * chip.bandwidth);
}

void add_gemm(OpTable& out, const LayerContext& c, const GemmType& type, double n, double k) {
  if (n < 1 || k < 1) return;
  const auto& times = gemm_times(c.chip, type, n, k);
  for (std::size_t i = 0; i < N; ++i) {
    out[i] += times[i];
    if (type.static_scale)
      out[i].seconds -=
          std::min(times[i].seconds / 2, c.static_share * dynamic_scale_seconds(c.chip, kTokenKnots[i], k));
  }
}

/// Returns elements per token that element-wise kernels touch in attention (q, k, v and output heads of this rank).
double add_attention_proj(OpTable& out, const LayerContext& c, const Attention& attention) {
  const auto type = gemm_type(c.model.quantisation.attention, c.chip);
  const double h = c.hidden, tp = c.tp;
  if (const auto* m = std::get_if<MlaAttention>(&attention)) {
    const double heads = std::ceil(m->num_heads / tp), qk = m->qk_nope_head_dim + m->qk_rope_head_dim;
    const double kv_a = m->kv_lora_rank + m->qk_rope_head_dim;
    if (m->q_lora_rank) {
      add_gemm(out, c, type, *m->q_lora_rank + kv_a, h);
      add_gemm(out, c, type, heads * qk, *m->q_lora_rank);
    } else {
      add_gemm(out, c, type, heads * qk, h);
      add_gemm(out, c, type, kv_a, h);
    }
    add_gemm(out, c, gemm_type(QuantScheme{}, c.chip), heads * (m->qk_nope_head_dim + m->v_head_dim), m->kv_lora_rank);
    add_gemm(out, c, type, h, heads * m->v_head_dim);
    if (m->indexer) {
      add_gemm(out, c, type, m->indexer->num_heads * m->indexer->head_dim,
               m->q_lora_rank.value_or(static_cast<int>(h)));
      add_gemm(out, c, gemm_type(QuantScheme{}, c.chip), m->indexer->head_dim + m->indexer->num_heads, h);
    }
    return heads * (qk + m->v_head_dim) + kv_a;
  }
  if (const auto* l = std::get_if<LinearAttention>(&attention)) {
    const double inner =
        (l->intermediate_size > 0 ? l->intermediate_size : std::max(1, l->num_heads) * std::max(1, l->head_dim)) / tp;
    double in = 4 * inner;
    if (l->kind == LinearAttention::Kind::mamba2)
      in = 2 * inner + (2.0 * l->num_key_heads * l->state_size + l->num_heads) / tp;
    if (l->kind == LinearAttention::Kind::mamba1) in = 2 * inner;
    if (l->kind == LinearAttention::Kind::gated_delta_net)
      in = 2 * inner + 2.0 * l->num_key_heads * l->key_head_dim / tp + 2.0 * l->num_heads / tp;
    if (l->kind == LinearAttention::Kind::short_conv) in = 3 * h / tp;
    add_gemm(out, c, type, in, h);
    add_gemm(out, c, type, h, l->kind == LinearAttention::Kind::short_conv ? h / tp : inner);
    return in + inner;
  }
  const FullAttention* a = std::get_if<FullAttention>(&attention);
  if (const auto* x = std::get_if<CrossAttention>(&attention)) a = &x->shape;
  if (!a) return 0;
  const double heads = std::ceil(a->num_heads / tp), kv = std::max(1.0, a->num_kv_heads / tp);
  const double v = a->v_head_dim > 0 ? a->v_head_dim : a->head_dim;
  const double n = heads * a->head_dim * (a->output_gate ? 2 : 1) + kv * (a->head_dim + v);
  add_gemm(out, c, type, n, h);
  add_gemm(out, c, type, h, heads * v);
  return n + heads * v;
}

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
  for (std::size_t i = 0; i < N; ++i) {
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
  for (std::size_t i = 0; i < N; ++i) {
    const double tokens = kTokenKnots[i];
    if (sparse) {  // each token goes to the ranks of its experts: dispatch in 8 bits, combine in 16
      const double copies = std::min<double>(ffn.num_experts_per_tok, c.ep_group.size);
      const double bytes = tokens * copies * c.hidden;
      out.expert_comm[i] += collective_time(*c.chip.tables, c.ep_group, Collective::alltoall, bytes).seconds +
                            collective_time(*c.chip.tables, c.ep_group, Collective::alltoall, 2 * bytes).seconds;
    } else {  // every rank gets every token of the DP group and returns partial sums
      const double bytes = tokens * c.dp * c.hidden * 2;
      out.expert_comm[i] += collective_time(*c.chip.tables, c.dp_group, Collective::all_gather, bytes).seconds +
                            collective_time(*c.chip.tables, c.dp_group, Collective::reduce_scatter, bytes).seconds;
    }
  }
}

}  // namespace

bool same_kind(const Attention& a, const Attention& b) { return same_alternative(a, b); }
bool same_kind(const Ffn& a, const Ffn& b) { return same_alternative(a, b); }

const OpTable& gemm_times(const Chip& chip, const GemmType& type, double n, double k) {
  struct Entry {
    const Grid* grid = nullptr;
    std::array<double, 10> key{};
    OpTable times{};
  };
  static thread_local std::vector<Entry> kept(256);
  const std::array<double, 10> key = {
      type.weight_bytes, type.activation_bytes,         type.peak,     type.scale, type.add,
      chip.bandwidth,    static_cast<double>(chip.sms), chip.slowdown, n,          k};
  const auto hash = static_cast<std::size_t>(n) * 2654435761u ^ static_cast<std::size_t>(k) * 40503u ^
                    static_cast<std::size_t>(type.weight_bytes * 8);
  auto& entry = kept[(hash ^ hash >> 15) % kept.size()];
  if (entry.grid != type.grid || entry.key != key) {
    const Gemm gemm(type, chip, n, k);
    for (std::size_t i = 0; i < N; ++i) entry.times[i] = gemm.time(kTokenKnots[i]);
    entry.grid = type.grid;
    entry.key = key;
  }
  return entry.times;
}

KindTables compile_kind(const LayerContext& c, const Layer& layer, std::string& algorithm) {
  KindTables out;
  const double heads = add_attention_proj(out.attention_proj, c, layer.attention);
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
  for (std::size_t i = 0; i < N; ++i) {
    const double t = kTokenKnots[i];
    out.elementwise[i] =
        t * (8 * c.hidden + 3 * ffn_width + 2 * heads) * 2 / (fixed::stream.value * c.chip.bandwidth) * c.chip.slowdown;
    if (c.tp > 1 && sums > 0) {
      const auto ar = collective_time(*c.chip.tables, c.tp_group, Collective::all_reduce, t * c.hidden * 2);
      out.all_reduce[i] += sums * ar.seconds;
      if (i == 5)
        algorithm = ar.algorithm == Algorithm::custom_one_or_two_shot ? "custom all-reduce"
                    : ar.algorithm == Algorithm::hierarchical         ? "NCCL across nodes"
                                                                      : "NCCL ring or tree";
    }
    // A norm over the heads of all ranks sums squares of q and k, fp32, before it can scale: one all-reduce of both
    // since 0.14 (vLLM #31493), two before.
    const auto* full = std::get_if<FullAttention>(&layer.attention);
    if (c.tp > 1 && full && full->qk_norm_full) {
      const bool joint = c.engine.vllm_version >= VllmVersion{0, 14, 0};
      const auto ar =
          collective_time(*c.chip.tables, c.tp_group, Collective::all_reduce, t * sizeof(float) * (joint ? 2 : 1));
      out.norm_reduce[i] += (joint ? 1 : 2) * ar.seconds;
    }
    if (c.dcp > 1 && !std::holds_alternative<LinearAttention>(layer.attention) &&
        !std::holds_alternative<NoAttention>(layer.attention)) {
      CollectiveGroup g = c.tp_group;
      g.size = c.dcp, g.nodes = std::min(g.nodes, g.size);
      const double bytes = t * heads * 2 * c.dcp;
      out.all_reduce[i] += collective_time(*c.chip.tables, g, Collective::all_gather, bytes).seconds +
                           collective_time(*c.chip.tables, g, Collective::reduce_scatter, bytes).seconds;
    }
  }
  return out;
}

}  // namespace shardwise
