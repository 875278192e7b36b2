#include "cost/operators.h"

#include <algorithm>
#include <cmath>

#include "cost/constants.h"

namespace shardwise {
namespace {

double peak_of(const Gpu& gpu, GpuDType dtype) {
  const auto it = gpu.peak.find(dtype);
  return it == gpu.peak.end() ? 0.0 : it->second.value;
}

std::pair<std::size_t, double> hat(double x, const std::vector<double>& knots) {
  x = std::clamp(x, knots.front(), knots.back());
  std::size_t i = 0;
  while (i + 2 < knots.size() && x >= knots[i + 1]) ++i;
  return {i, (x - knots[i]) / (knots[i + 1] - knots[i])};
}

double line(const std::vector<float>& v, const std::vector<double>& knots, double x) {
  const auto [i, w] = hat(x, knots);
  return v[i] + w * (v[i + 1] - v[i]);
}

double plane(const float* v, const std::vector<double>& a, const std::vector<double>& b, double x, double y) {
  const auto [i, u] = hat(x, a);
  const auto [j, w] = hat(y, b);
  const float* p = v + i * b.size() + j;
  const double low = p[0] + w * (p[1] - p[0]);
  const double high = p[b.size()] + w * (p[b.size() + 1] - p[b.size()]);
  return low + u * (high - low);
}

const std::vector<double> kShapeAxis = {0, 2, 4, 6, 8, 10, 12, 14, 17};
const std::vector<double> kShardAxis = {0, 1, 2, 3, 5};

}  // namespace

Chip chip_of(const Gpu& gpu) {
  const auto& kin = kernel_kin(gpu);
  Chip c;
  c.tables = kin.tables;
  c.slowdown = kin.slowdown;
  c.bandwidth = gpu.memory_bandwidth.value;
  c.bf16 = std::max(peak_of(gpu, GpuDType::bf16), peak_of(gpu, GpuDType::fp16));
  if (c.bf16 <= 0) c.bf16 = std::max(1e9, peak_of(gpu, GpuDType::fp32));
  c.fp8 = peak_of(gpu, GpuDType::fp8);
  c.fp4 = peak_of(gpu, GpuDType::fp4);
  c.int8 = peak_of(gpu, GpuDType::int8);
  c.sms = gpu.sm_count > 0 ? gpu.sm_count : c.tables->sms;
  return c;
}

GemmType gemm_type(const QuantScheme& q, const Chip& c) {
  using M = QuantScheme::Method;
  const auto& g = c.tables->gemm;
  const Grid *bf16 = &g[0], *fp8 = g[1].empty() ? &g[0] : &g[1], *fp4 = g[2].empty() ? fp8 : &g[2];
  const auto weight_only = [&](double bytes) { return GemmType{bf16, bytes, 2, c.bf16, 1, 0}; };
  switch (q.method) {
    case M::none:
      return {bf16, 2, 2, c.bf16, 1, 0};
    case M::fp8_tensor:
      return c.fp8 > 0 ? GemmType{fp8, 1, 1, c.fp8, 1, 0, q.static_activations} : weight_only(1);
    case M::fp8_channel:
    case M::mxfp8:
      return c.fp8 > 0 ? GemmType{fp8, 1, 1, c.fp8, 1, 0} : weight_only(1);
    case M::fp8_block:
      return c.fp8 > 0 ? GemmType{fp8, 1, 1, c.fp8, fixed::block_fp8_scale.value, fixed::block_fp8_add.value}
                       : weight_only(1);
    case M::int8_channel:
      return c.int8 > 0 ? GemmType{fp8, 1, 1, c.int8, 1, 0} : weight_only(1);
    case M::nvfp4:
      return c.fp4 > 0 && q.activations ? GemmType{fp4, 0.5625, 0.5625, c.fp4, 1, 0} : weight_only(0.5625);
    case M::mxfp4:
      return weight_only(0.53125);
    case M::awq:
    case M::gptq:
    case M::int4_group:
      return weight_only((q.bits > 0 && q.bits < 16 ? q.bits : 4) / 8.0 + 0.03);
    case M::other:
      return weight_only((q.bits > 0 ? q.bits : 16) / 8.0);
  }
  return weight_only(2);
}

Gemm::Gemm(const GemmType& type, const Chip& chip, double n, double k)
    : type_(type),
      bandwidth_(chip.bandwidth),
      sms_(chip.sms),
      slowdown_(chip.slowdown),
      n_(std::max(n, 1.0)),
      k_(std::max(k, 1.0)),
      slice_(type.grid->slice(std::log2(n_), std::log2(k_))) {}

OpTime Gemm::time(double m) const {
  OpTime t;
  t.compute = 2 * m * n_ * k_ / type_.peak;
  t.memory = (m * k_ * type_.activation_bytes + n_ * k_ * type_.weight_bytes + 2 * m * n_) / bandwidth_;
  const double fc = t.compute / (t.compute + t.memory);
  const double tiles = std::ceil(m / 128) * std::ceil(n_ / 128) / sms_;
  double g = line(slice_, type_.grid->axes[0], std::log2(m));
  if (tiles > 1) g += type_.grid->z[0] * fc * std::log(std::ceil(tiles) / tiles);
  g += type_.grid->z[1] * fc * std::log(std::ceil(m / 64) * 64 / m);
  t.seconds =
      (std::max(t.compute, t.memory) + fixed::gemm_floor.value) * std::exp(g) * type_.scale * slowdown_ + type_.add;
  return t;
}

MoeTypes moe_types(const QuantScheme& q, const Chip& c, bool hopper_or_older) {
  using M = QuantScheme::Method;
  const auto of = [&](MoeKind kind, double bytes, double peak) {
    auto k = static_cast<std::size_t>(kind);
    // A kind this system has no table of: the nearest kernel with weights as narrow, then bf16.
    if (kind != MoeKind::fp8 && kind != MoeKind::fp8_block) {
      for (const auto next : {MoeKind::mxfp4, MoeKind::mxfp4_marlin, MoeKind::int4}) {
        if (!c.tables->moe[k].empty()) break;
        k = static_cast<std::size_t>(next);
      }
    }
    if (c.tables->moe[k].empty()) k = static_cast<std::size_t>(MoeKind::fp8);
    if (c.tables->moe[k].empty()) k = static_cast<std::size_t>(MoeKind::bf16);
    return MoeType{&c.tables->moe[k], &c.tables->moe_shapes[k], bytes, peak};
  };
  const auto one = [](MoeType t) { return MoeTypes{{t}, {t}, false}; };
  switch (q.method) {
    case M::none:
      return one(of(MoeKind::bf16, 2, c.bf16));
    case M::fp8_tensor:
    case M::fp8_channel:
    case M::int8_channel:
    case M::mxfp8:
      return one(c.fp8 > 0 ? of(MoeKind::fp8, 1, c.fp8) : of(MoeKind::bf16, 1, c.bf16));
    case M::fp8_block:
      return one(c.fp8 > 0 ? of(MoeKind::fp8_block, 1, c.fp8) : of(MoeKind::bf16, 1, c.bf16));
    case M::nvfp4:
      return one(c.fp4 > 0 ? of(MoeKind::nvfp4, 0.5625, c.fp4) : of(MoeKind::int4, 0.5625, c.bf16));
    case M::mxfp4: {
      const auto triton = of(MoeKind::mxfp4, 0.53125, c.bf16);
      if (hopper_or_older) return {{triton}, {triton, of(MoeKind::mxfp4_marlin, 0.53125, c.bf16)}, false};
      const auto wide = c.fp8 > 0 ? of(MoeKind::mxfp4_mxfp8, 0.53125, c.fp8) : triton;
      return {{triton, wide}, {triton, wide}, true};
    }
    default:
      return one(of(MoeKind::int4, (q.bits > 0 && q.bits < 16 ? q.bits : 4) / 8.0 + 0.03, c.bf16));
  }
}

double distinct_experts(double experts, double pairs) {
  if (experts <= 1) return 1;
  const double a = experts * (1 - std::exp(pairs * std::log1p(-1 / experts)));
  return std::min(std::max(a, std::min(1.0, pairs)), experts);
}

Experts::Experts(const MoeType& type, const Chip& chip, const MoeFfn& ffn, double width, int tp, int ep)
    : type_(type),
      bandwidth_(chip.bandwidth),
      slowdown_(chip.slowdown),
      h_(width),
      i_(ffn.moe_intermediate_size),
      topk_(std::max(1, ffn.num_experts_per_tok)),
      experts_(std::max(1, ffn.num_experts)),
      tp_(tp),
      ep_(ep),
      gated_(ffn.gated ? 1.0 : 2.0 / 3) {
  slice_ = type.grid->slice(std::log2(std::max(1.0, experts_ / ep_)), std::log2(std::max(1.0, h_ * i_ / tp_)));
  for (const auto& s : *type.shapes)
    if (s.hidden == static_cast<int>(h_) && s.intermediate == ffn.moe_intermediate_size &&
        s.topk == ffn.num_experts_per_tok && s.experts == ffn.num_experts)
      shape_ = &s;
  if (shape_) residual_ = &shape_->rows[ep > 1 ? 1 : 0];
}

OpTime Experts::time(double tokens) const {
  const double pairs = std::max(tokens * topk_ / ep_, 1e-9), local = experts_ / ep_;
  const double active = distinct_experts(local, pairs), ii = i_ / tp_;
  OpTime t;
  t.compute = 6 * pairs * h_ * ii / type_.peak * gated_;
  t.memory = (3 * active * h_ * ii * type_.weight_bytes * gated_ + 4 * pairs * h_) / bandwidth_;
  const double fc = t.compute / (t.compute + t.memory);
  const auto& z = type_.grid->z;
  const double per_expert = pairs / local;
  double g = line(slice_, type_.grid->axes[0], std::log2(std::max(pairs, 1.0)));
  g += z[0] * (std::log2(topk_) - 3) + z[1] * (std::log2(h_ / ii) - 2) + (ep_ > 1 ? z[2] : 0.0) + z[3] * std::log2(ep_);
  g += z[4] * fc * std::log(std::ceil(per_expert / 64) * 64 / std::max(per_expert, 1.0));
  if (residual_) {
    const auto [j, w] = hat(std::log2(std::max(tp_, ep_)), kShardAxis);
    const double x = std::log2(std::max(tokens * topk_, 1.0));
    g += (1 - w) * line((*residual_)[j], kShapeAxis, x) + w * line((*residual_)[j + 1], kShapeAxis, x);
  }
  t.seconds = (std::max(t.compute, t.memory) + fixed::moe_floor.value) * std::exp(g) * slowdown_;
  return t;
}

OpTime AttentionOp::decode_time(double sequences, double context) const {
  OpTime t;
  if (sequences <= 0) return t;
  if (kind == Kind::state) {
    t.memory = sequences * state_bytes / bandwidth;
    t.seconds = (t.memory / fixed::state_bandwidth.value + fixed::state_floor.value) * slowdown;
    return t;
  }
  double s = std::max(1.0, context * context_share);
  if (kind == Kind::mla) {
    double index = 0;
    if (sparse_topk > 0) {
      index = sequences * s * index_dim * 1.03 / (0.6 * bandwidth) +
              2 * sequences * s * index_heads * index_dim / (0.4 * peak);
      s = std::min(s, sparse_topk);
    }
    t.memory = (latent + rope) * s * sequences * kv_bytes / bandwidth;
    t.compute = 2 * sequences * heads * (2 * latent + rope) * s / peak;
    if (decode_b) {
      const double g = plane(decode.data(), *decode_b, *decode_s, std::log2(sequences), std::log2(s));
      t.seconds = (std::max(t.memory, t.compute) + fixed::mla_floor.value) * std::exp(g);
    } else {
      t.seconds = std::max(t.memory / fixed::mla_bandwidth.value, t.compute / fixed::mla_decode_flops.value) +
                  fixed::mla_floor.value;
    }
    t.seconds = (t.seconds + index) * slowdown;
    return t;
  }
  const double seen = window > 0 ? std::min(s, window) : s;
  t.compute = 2 * sequences * heads * (head_dim + value_dim) * seen / peak;
  t.memory =
      (sequences * seen * kv_heads * (head_dim + value_dim) * kv_bytes + 4 * sequences * heads * head_dim) / bandwidth;
  const double g = plane(decode.data(), *decode_b, *decode_s, std::log2(sequences), std::log2(s));
  t.seconds = (std::max(t.compute, t.memory) + fixed::decode_floor.value) * std::exp(g) * slowdown;
  return t;
}

OpTime AttentionOp::prefill_time(double chunks, double tokens, double pairs) const {
  OpTime t;
  if (chunks <= 0) return t;
  if (kind == Kind::state) {
    const double total = chunks * tokens;
    t.compute = total * state_flops / peak;
    t.memory = (chunks * state_bytes + total * conv_bytes) / bandwidth;
    t.seconds =
        (t.compute / fixed::state_prefill_flops.value + t.memory / 0.5 + fixed::state_prefill_floor.value) * slowdown;
    return t;
  }
  const double s = std::sqrt(2 * pairs);  // an uncached prompt with as many pairs
  if (kind == Kind::mla) {
    double index = 0;
    if (sparse_topk > 0) {
      index = 2 * chunks * pairs * index_heads * index_dim / (0.4 * peak);
      pairs = std::min(pairs, tokens * sparse_topk);
    }
    t.compute = 2 * heads * (head_dim + value_dim) * pairs * chunks / peak;
    t.memory = chunks * s * heads * 4 * head_dim * 2 / bandwidth;
    if (prefill_b) {
      const double g = plane(prefill.data(), *prefill_b, *prefill_s, std::log2(chunks), std::log2(std::max(s, 1.0)));
      t.seconds = (t.compute + fixed::mla_floor.value) * std::exp(g);
    } else {
      t.seconds = std::max(t.compute / fixed::mla_prefill_flops.value, t.memory / 0.7) + fixed::mla_floor.value;
    }
    t.seconds = (t.seconds + index) * slowdown;
    return t;
  }
  const double seen = window > 0 ? std::min(pairs, tokens * window) : pairs;
  t.compute = 2 * chunks * heads * (head_dim + value_dim) * seen / peak;
  t.memory = (2 * heads + 2 * kv_heads) * chunks * s * head_dim * 2 / bandwidth;
  const double g = plane(prefill.data(), *prefill_b, *prefill_s, std::log2(chunks), std::log2(std::max(s, 1.0)));
  t.seconds = (std::max(t.compute, t.memory) + fixed::prefill_floor.value) * std::exp(g) * slowdown;
  return t;
}

AttentionOp attention_op(const Attention& attention, const Chip& chip, int tp, int dcp, double kv_bytes,
                         double hidden) {
  AttentionOp op;
  op.bandwidth = chip.bandwidth, op.peak = chip.bf16, op.slowdown = chip.slowdown, op.kv_bytes = kv_bytes;
  op.context_share = 1.0 / dcp;
  const auto gqa = [&](const FullAttention& a) {
    op.heads = std::ceil(static_cast<double>(a.num_heads) / tp) * dcp;
    op.kv_heads = std::max(1.0, static_cast<double>(a.num_kv_heads) * dcp / tp);
    op.head_dim = a.head_dim;
    op.value_dim = a.v_head_dim > 0 ? a.v_head_dim : a.head_dim;
    op.window = a.sliding_window.value_or(a.attention_chunk_size.value_or(0));
    const double group = std::max(1.0, op.heads / op.kv_heads);
    const auto fill = [&](bool is_decode, std::array<float, 128>& out, double x) {
      const auto* g = chip.tables->find_attention(is_decode, a.head_dim, kv_bytes < 2, static_cast<int>(op.window));
      const auto v = g->grid.slice(std::log2(x), std::log2(group));
      std::copy_n(v.begin(), std::min(v.size(), out.size()), out.begin());
      (is_decode ? op.decode_b : op.prefill_b) = &g->grid.axes[0];
      (is_decode ? op.decode_s : op.prefill_s) = &g->grid.axes[1];
    };
    fill(true, op.decode, op.kv_heads);
    fill(false, op.prefill, op.heads);
  };
  if (const auto* a = std::get_if<FullAttention>(&attention)) {
    gqa(*a);
  } else if (const auto* x = std::get_if<CrossAttention>(&attention)) {
    gqa(x->shape);
  } else if (const auto* m = std::get_if<MlaAttention>(&attention)) {
    op.kind = AttentionOp::Kind::mla;
    op.heads = std::ceil(static_cast<double>(m->num_heads) / tp) * dcp;
    op.latent = m->kv_lora_rank, op.rope = m->qk_rope_head_dim;
    op.head_dim = m->qk_nope_head_dim + m->qk_rope_head_dim, op.value_dim = m->v_head_dim;
    const auto fill = [&](const Grid& grid, std::array<float, 128>& out, const std::vector<double>*& sequences,
                          const std::vector<double>*& lengths) {
      if (grid.empty()) return;
      const auto v = grid.slice(std::log2(op.heads), std::log2(kv_bytes));
      std::copy_n(v.begin(), std::min(v.size(), out.size()), out.begin());
      sequences = &grid.axes[0], lengths = &grid.axes[1];
    };
    fill(chip.tables->mla_decode, op.decode, op.decode_b, op.decode_s);
    fill(chip.tables->mla_prefill, op.prefill, op.prefill_b, op.prefill_s);
    if (m->indexer)
      op.sparse_topk = m->indexer->topk, op.index_heads = m->indexer->num_heads, op.index_dim = m->indexer->head_dim;
  } else if (const auto* l = std::get_if<LinearAttention>(&attention)) {
    op.kind = AttentionOp::Kind::state;
    const double heads = std::ceil(static_cast<double>(std::max(1, l->num_heads)) / tp);
    const double inner =
        l->intermediate_size > 0 ? static_cast<double>(l->intermediate_size) / tp : heads * std::max(1, l->head_dim);
    const double key = l->key_head_dim > 0 ? l->key_head_dim : std::max(1, l->state_size);
    const double elements = l->kind == LinearAttention::Kind::short_conv ? hidden / tp : inner * key;
    const double channels = inner + 2.0 * std::max(1, l->num_key_heads) * key / tp;
    op.state_bytes = 2 * 4 * elements +
                     2 * 2 * channels * std::max(1, l->conv_kernel);  // read and written: fp32 state, 16-bit window
    op.state_flops = 8 * elements;
    op.conv_bytes = 4 * channels;
  }
  return op;
}

}  // namespace shardwise
