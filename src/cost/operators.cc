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

double line(const std::vector<float>& v, const std::vector<double>& knots, double x) {
  const auto [i, w] = hat(x, knots);
  return v[i] + w * (v[i + 1] - v[i]);
}

const std::vector<double> kShapeAxis = {0, 2, 4, 6, 8, 10, 12, 14, 17};
const std::vector<double> kShardAxis = {0, 1, 2, 3, 5};

}  // namespace

Chip chip_of(const Gpu& gpu) {
  const auto kin = kernel_kin(gpu);
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

double quantise_seconds(const Chip& c, double tokens, double k) {
  const double roof = 3 * tokens * k / c.bandwidth + fixed::quant_floor.value;
  const auto* grid = c.tables->find("quant_fp8");
  return roof * std::exp(grid ? grid->slice(std::log2(tokens), std::log2(k))[0] : 0.0) * c.slowdown;
}

double hyper_connection_seconds(const Chip& c, double tokens, double hidden, double streams) {
  // Two sites: before each the streams are read and mixed into one, after it they are read and written.
  const double elements = 2 * tokens * hidden * ((streams + 1) + (2 * streams + 1));
  const double roof = 2 * elements / c.bandwidth + fixed::mhc_floor.value;
  const auto* grid = c.tables->find("mhc");
  return roof * std::exp(grid ? grid->slice(std::log2(tokens), std::log2(hidden))[0] : 0.0) * c.slowdown;
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

}  // namespace shardwise
