#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/text.h"
#include "cost/bands.h"
#include "cost/compiled_step.h"
#include "cost/layer_tables.h"
#include "memory/kv_specs.h"
#include "memory/kv_state.h"

namespace shardwise {
namespace {

constexpr std::size_t N = kTokenKnots.size();

/// What an element of the caches takes, bytes.
CacheTypes cache_types(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  const auto kv = resolved_cache_dtype(model, engine.kv_cache_dtype, gpu.compute_capability);
  const auto state = model.ssm_cache_dtype;
  return {kv.starts_with("fp8") ? 1.0
          : kv == "nvfp4"       ? 0.5625
                                : 2.0,
          state == "float32" ? 4.0
          : state == "auto"  ? bytes_per_element(model.dtype)
                             : 2.0};
}

/// Steps that hold prompts take the sequences in decode through the chunk kernel as well: Kimi's layers (0.32,
/// models/kimi_k3/nvidia/kda.py), Qwen's until vLLM #44700 of June 2026 split them.
bool decodes_as_prompts(const Attention& attention, const VllmVersion& version) {
  const auto* l = std::get_if<LinearAttention>(&attention);
  using Kind = LinearAttention::Kind;
  return l && (l->kind == Kind::kimi_delta || (l->kind == Kind::gated_delta_net && version < VllmVersion{0, 24, 0}));
}

/// vLLM fuses all-reduce, residual and RMSNorm by itself since 0.17 (#34299) on Hopper and Blackwell with NVSwitch;
/// with data-parallel attention or pipeline stages since 0.21 (#41458).
bool fuses_all_reduce(const EngineConfig& engine, const Gpu& gpu) {
  const auto& p = engine.parallel;
  const bool alone = p.data_parallel_size == 1 && p.pipeline_parallel_size == 1;
  return engine.vllm_version >= VllmVersion{0, 17, 0} && (alone || engine.vllm_version >= VllmVersion{0, 21, 0}) &&
         (gpu.compute_capability == 90 || gpu.compute_capability / 10 == 10);
}

/// Up to here vLLM's custom all-reduce of four ranks runs in one stage, bytes (csrc/custom_all_reduce.cuh).
constexpr double kOneStage = 512.0 * 1024;

/// Largest message of the fused kernel, bytes (FI_ALLREDUCE_FUSION_MAX_SIZE_MB of compilation/passes/fusion).
double fused_all_reduce_limit(const Gpu& gpu, int tp) {
  constexpr double mib = 1024.0 * 1024.0;
  const bool hopper = gpu.compute_capability == 90;
  if (tp == 2) return 64 * mib;
  if (tp == 4) return (hopper ? 2 : 32) * mib;
  return tp == 8 ? (hopper ? 0.5 : 1) * mib : 0;
}

double routing_factor(const CostConstants& k, const Model& model) {
  std::string name = to_lower(model.name);
  for (const auto& a : model.architectures) name += " " + to_lower(a);
  for (const auto& r : k.routing)
    if (name.find(r.pattern) != std::string::npos) return r.factor;
  return 1;
}

/// Sizes and weight types of a model, which decide its times: what a measurement of it also says of its kin.
std::string shape_of(const Model& model, const std::string& architecture) {
  const auto& q = model.quantisation;
  std::string out = fmt::format("{} {}x{}", architecture, model.hidden_size, model.num_hidden_layers());
  const QuantScheme* weights = &q.dense_mlp;
  for (const auto& layer : model.layers)
    if (const auto* moe = std::get_if<MoeFfn>(&layer.ffn)) {
      out += fmt::format(" e{}k{}", moe->num_experts, moe->num_experts_per_tok);
      weights = &q.routed_experts;
      break;
    }
  return out + fmt::format(" w{}a{}", weights->bits, weights->activations ? weights->bits : 16);
}

}  // namespace

CompiledStep compile_step(const Model& model, const EngineConfig& engine, const Cluster& cluster,
                          const EnginePlacement& where) {
  return compile_step(model, engine, cluster, where, CostOptions{});
}

CompiledStep compile_step(const Model& model, const EngineConfig& engine, const Cluster& cluster,
                          const EnginePlacement& where, const CostOptions& options) {
  const CostConstants& k = options.constants ? *options.constants : default_constants();
  auto data = std::make_shared<CompiledStepData>();
  auto& d = *data;
  const auto& p = engine.parallel;
  const Gpu& gpu = cluster.first_gpu();
  const auto& kin = kernel_kin(gpu);
  const bool moe_model = std::any_of(model.layers.begin(), model.layers.end(),
                                     [](const Layer& l) { return std::holds_alternative<MoeFfn>(l.ffn); });
  const int dp = moe_model ? p.data_parallel_size : 1;  // dense engines are independent
  const int tp = p.tensor_parallel_size, pp = std::max(1, p.pipeline_parallel_size),
            dcp = std::max(1, p.decode_context_parallel_size);
  LayerContext c{model,
                 engine,
                 chip_of(gpu),
                 rank_group(cluster, where.gpus_per_node, tp, 1),
                 rank_group(cluster, where.gpus_per_node, dp, tp * pp),
                 rank_group(cluster, where.gpus_per_node, tp * dp, 1),
                 static_cast<double>(model.hidden_size),
                 tp,
                 dp,
                 dcp,
                 k[Coef::static_scale]};
  if (pp > 1 && dp > 1) c.ep_group = rank_group(cluster, where.gpus_per_node, tp * dp, pp);
  d.pp = pp, d.dp = dp, d.tp = tp, d.tokens_per_sequence = 1 + engine.num_speculative_tokens;
  d.lockstep = dp > 1;
  d.blackwell = c.chip.fp4 > 0;
  const bool old_engine = engine.vllm_version < VllmVersion{0, 13, 0};

  // One table per distinct kind of layer; how many of each in all, and in every stage.
  std::vector<const Layer*> kinds;
  std::vector<KindTables> tables;
  std::vector<Attention> timed;
  const auto cache = cache_types(model, engine, gpu);
  std::vector<int> kind_of(model.layers.size());
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const auto& layer = model.layers[l];
    std::size_t at = kinds.size();
    for (std::size_t j = kinds.size(); j-- > 0;)
      if (*kinds[j] == layer) at = j;
    if (at == kinds.size()) {
      kinds.push_back(&layer);
      tables.push_back(compile_kind(c, layer, d.all_reduce_algorithm));
      const auto add = [&](const Attention& attention) {
        if (std::holds_alternative<NoAttention>(attention)) return;
        std::size_t op = 0;
        while (op < timed.size() && timed[op] != attention) ++op;
        if (op == timed.size()) {
          timed.push_back(attention);
          d.attention.push_back(attention_op(attention, c.chip, tp, dcp, cache, c.hidden));
          d.attention.back().decodes_as_prompts = decodes_as_prompts(attention, engine.vllm_version);
        }
        tables.back().attention.push_back(op);
      };
      add(layer.attention);
      if (layer.parallel_state) add(*layer.parallel_state);
    }
    kind_of[l] = static_cast<int>(at);
  }
  const auto stages = pp_layers(model.num_hidden_layers(), p);
  const auto count = [&](std::pair<int, int> range) {
    std::vector<double> n(kinds.size(), 0.0);
    for (int l = range.first; l < range.second; ++l)
      n[static_cast<std::size_t>(kind_of[static_cast<std::size_t>(l)])] += 1;
    return n;
  };
  const auto all = count({0, model.num_hidden_layers()});

  // Head and sampler.
  const double vocab = std::ceil(static_cast<double>(model.vocab_size) / tp);
  const auto& lm = gemm_times(c.chip, gemm_type(model.quantisation.lm_head, c.chip), vocab, c.hidden);
  for (std::size_t i = 0; i < N; ++i) {
    const auto& t = lm[i];
    double gather = tp > 1 ? collective_time(*c.chip.tables, c.tp_group, Collective::all_gather,
                                             kTokenKnots[i] * model.vocab_size * 2)
                                 .seconds
                           : 0;
    d.lm_head[i] =
        t.seconds + 12 * kTokenKnots[i] * model.vocab_size / c.chip.bandwidth + fixed::sampler.value + gather;
    const auto op = static_cast<std::size_t>(TokenOp::lm_head);
    d.op_decode[op][i] = d.op_mixed[op][i] = d.lm_head[i];
    d.op_compute[op][i] = t.compute, d.op_memory[op][i] = t.memory;
  }

  // Coefficients.
  const bool bw = d.blackwell;
  const double gap = k[bw ? Coef::gap_blackwell : Coef::gap_hopper],
               prefill = k[bw ? Coef::prefill_blackwell : Coef::prefill_hopper],
               sustained = k[bw ? Coef::sustained_blackwell : Coef::sustained_hopper];
  const double routing = k[Coef::moe] * routing_factor(k, model);
  // Both are kernels of one switched domain; between nodes NCCL works as its curves say.
  const bool one_node = c.tp_group.nodes == 1;
  const bool fusion =
      options.fused_all_reduce.value_or(fuses_all_reduce(engine, gpu) && c.tp_group.switched) && tp > 1 && one_node;
  const double short_reduce = one_node ? k[Coef::all_reduce] : 1.0;
  // Fusion saves launches, barriers and the pass over a short message, not the transfers of a long one.
  std::size_t latency_bound = 0;
  while (latency_bound + 1 < N && kTokenKnots[latency_bound + 1] * c.hidden * 2 <= kOneStage) ++latency_bound;
  const double fused_bytes = fusion ? fused_all_reduce_limit(gpu, tp) : 0;
  const auto fp8_static = [&](const QuantScheme& q) {
    return q.method == QuantScheme::Method::fp8_tensor ? k[bw ? Coef::static_fp8_blackwell : Coef::static_fp8_hopper]
                                                       : 1.0;
  };
  const double static_attention = fp8_static(model.quantisation.attention),
               static_mlp = fp8_static(model.quantisation.dense_mlp);
  const bool old_moe = engine.vllm_version < VllmVersion{0, 18, 0} &&
                       model.quantisation.routed_experts.method == QuantScheme::Method::fp8_block;
  const double moe_gap = k[Coef::moe_gap] + (old_moe ? k[Coef::old_block_moe] : 0.0);
  d.decode_attention_scale = k[Coef::decode_attention];
  d.prefill_attention_scale = k[Coef::prefill_attention];
  d.prefill_scale = prefill;
  d.host = k[Coef::host] + (old_engine ? k[Coef::old_engine] : 0.0) + (pp > 1 ? pp * fixed::pp_host.value : 0.0);
  d.host_mixed = k[Coef::mixed];
  d.per_sequence = engine.async_scheduling ? k[Coef::sequence] : k[Coef::no_async];
  d.http = k[Coef::http], d.first_token = k[Coef::first_token], d.front_end = k[Coef::front_end],
  d.stream = k[Coef::stream];
  d.async_scheduling = engine.async_scheduling;

  const auto combine = [&](const std::vector<double>& n, TokenTable& decode, TokenTable& mixed, bool keep) {
    for (std::size_t j = 0; j < tables.size(); ++j) {
      if (n[j] == 0) continue;
      const auto& t = tables[j];
      const auto* moe = std::get_if<MoeFfn>(&kinds[j]->ffn);
      for (std::size_t i = 0; i < N; ++i) {
        const double tokens = kTokenKnots[i], w = 1 / (1 + 64 / tokens);
        double r = 1;
        if (moe)
          r = std::pow(routing, 1 - std::min(1.0, tokens * dp * moe->num_experts_per_tok /
                                                      (4.0 * std::max(1, moe->num_experts))));
        const double scale = std::pow(prefill, w), gemm_mixed = std::pow(k[Coef::gemm], 1 - w);
        // Kernels are timed in short bursts; back to back, power caps what a nearly full tensor core may do.
        const auto held = [&](const OpTime& op) {
          const double u = op.seconds > 0 ? op.compute / (op.seconds * sustained) : 0;
          return op.seconds * std::sqrt(std::sqrt(1 + u * u * u * u));
        };
        const std::array<double, 3> gemms = {t.attention_proj[i].seconds, t.dense_ffn[i].seconds,
                                             t.router_shared[i].seconds};
        const double gemm = gemms[0] + gemms[1] + gemms[2];
        const double layer_gap = gap + (moe ? moe_gap : 0.0);
        const double share = short_reduce * (tokens * c.hidden * 2 <= fused_bytes ? k[Coef::fused_all_reduce] : 1.0);
        const double all_reduce =
            t.all_reduce[i] + (share - 1) * t.all_reduce[std::min(i, latency_bound)] + short_reduce * t.norm_reduce[i];
        const double comm = all_reduce + t.expert_comm[i];
        decode[i] +=
            n[j] * (k[Coef::gemm] * gemm + t.experts_decode[i].seconds * r + comm + t.elementwise[i] + layer_gap);
        mixed[i] += n[j] * (gemm_mixed * (static_attention * held(t.attention_proj[i]) +
                                          static_mlp * held(t.dense_ffn[i]) + held(t.router_shared[i])) +
                            scale * t.experts_mixed[i].seconds * r + comm + t.elementwise[i] + layer_gap);
        if (!keep) continue;
        const auto put = [&](TokenOp op, const OpTime& raw, double dec, double mix) {
          const auto o = static_cast<std::size_t>(op);
          d.op_decode[o][i] += n[j] * dec, d.op_mixed[o][i] += n[j] * mix;
          d.op_compute[o][i] += n[j] * raw.compute, d.op_memory[o][i] += n[j] * raw.memory;
        };
        put(TokenOp::attention_proj, t.attention_proj[i], k[Coef::gemm] * gemms[0],
            gemm_mixed * static_attention * held(t.attention_proj[i]));
        put(TokenOp::dense_ffn, t.dense_ffn[i], k[Coef::gemm] * gemms[1],
            gemm_mixed * static_mlp * held(t.dense_ffn[i]));
        put(TokenOp::router_shared, t.router_shared[i], k[Coef::gemm] * gemms[2],
            gemm_mixed * held(t.router_shared[i]));
        put(TokenOp::experts, t.experts_decode[i], r * t.experts_decode[i].seconds,
            scale * r * t.experts_mixed[i].seconds);
        put(TokenOp::all_reduce, {}, all_reduce, all_reduce);
        put(TokenOp::expert_comm, {}, t.expert_comm[i], t.expert_comm[i]);
        put(TokenOp::elementwise, {0, 0, t.elementwise[i]}, t.elementwise[i], t.elementwise[i]);
      }
    }
  };
  combine(all, d.decode_all, d.mixed_all, true);
  for (std::size_t j = 0; j < tables.size(); ++j) {
    d.gaps += all[j] * (gap + (tables[j].moe ? moe_gap : 0.0));
    for (const auto op : tables[j].attention) d.attention[op].layers += all[j];
  }

  // The busiest stage: decode of 64 sequences with the head on the last stage decides.
  const auto floor_of = [&](const std::vector<double>& n) {
    double s = 0;
    for (std::size_t j = 0; j < tables.size(); ++j)
      s += n[j] * (fixed::eager_layer.value + (tables[j].moe ? fixed::eager_moe_layer.value : 0.0));
    return s;
  };
  double eager = floor_of(all), eager_busiest = eager;
  if (pp == 1) {
    d.decode_busiest = d.decode_all, d.mixed_busiest = d.mixed_all;
    for (auto& op : d.attention) op.layers_busiest = op.layers;
  } else {
    double worst = -1;
    std::size_t busiest = 0;
    std::vector<double> chosen = all;
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const auto n = count(stages[s]);
      double t = s + 1 == stages.size() ? d.lm_head[8] : 0.0;
      for (std::size_t j = 0; j < tables.size(); ++j)
        t += n[j] * (tables[j].attention_proj[8].seconds + tables[j].dense_ffn[8].seconds +
                     tables[j].router_shared[8].seconds + tables[j].experts_decode[8].seconds +
                     tables[j].all_reduce[8] + gap + 2e-5);
      if (t > worst) worst = t, busiest = s, chosen = n;
    }
    combine(chosen, d.decode_busiest, d.mixed_busiest, false);
    if (busiest + 1 == stages.size())
      for (std::size_t i = 0; i < N; ++i)
        d.decode_busiest[i] += d.lm_head[i], d.mixed_busiest[i] += d.lm_head[std::min(i, std::size_t{8})];
    for (std::size_t j = 0; j < tables.size(); ++j)
      for (const auto op : tables[j].attention) d.attention[op].layers_busiest += chosen[j];
    eager_busiest = floor_of(chosen);
    for (int s = 0; s + 1 < pp; ++s) {
      // Hidden states and residual, split over TP ranks and gathered on the other side.
      const double base = send_seconds(cluster, where.gpus_per_node, s * tp, tp, 0);
      const double one = send_seconds(cluster, where.gpus_per_node, s * tp, tp, 4 * c.hidden / tp) - base;
      d.transfer_base += base, d.transfer_per_token += one;
      d.hop_base = std::max(d.hop_base, base), d.hop_per_token = std::max(d.hop_per_token, one);
    }
  }

  // A prompt step with more tokens than any graph is launched kernel by kernel; experts and MLA have the most of them.
  for (std::size_t j = 0; j < tables.size(); ++j)
    d.uncaptured_floor += all[j] * (k[Coef::eager_dense] + (tables[j].moe ? k[Coef::eager_moe] : 0.0));
  if (!engine.cudagraph_capture_sizes.empty()) d.largest_graph = engine.cudagraph_capture_sizes.back();

  // CUDA graphs.
  const bool graphs =
      !engine.enforce_eager && engine.cudagraph_mode != CudagraphMode::none && !engine.cudagraph_capture_sizes.empty();
  const bool piecewise_only = engine.cudagraph_mode == CudagraphMode::piecewise;
  d.full_graphs = graphs && !piecewise_only;
  if (graphs) {
    const auto& sizes = engine.cudagraph_capture_sizes;
    d.padded.resize(static_cast<std::size_t>(sizes.back()) + 1);
    std::size_t s = 0;
    for (std::size_t b = 0; b < d.padded.size(); ++b) {
      while (sizes[s] < static_cast<int>(b)) ++s;
      d.padded[b] = sizes[s];
    }
    d.eager_floor = piecewise_only ? model.num_hidden_layers() * fixed::piecewise_layer.value : 0.0;
    d.eager_floor_busiest = d.eager_floor / pp;
  } else {
    d.eager_floor = eager, d.eager_floor_busiest = eager_busiest;
  }

  for (const auto& op : d.attention)
    if (op.chunk > 0) {
      d.scan_floor += op.layers * fixed::mamba_launch.value;
      d.scan_floor_busiest += op.layers_busiest * fixed::mamba_launch.value;
    }

  d.step_scale = k.step;

  // Bands.
  d.ttft_band = k.ttft_band, d.tpot_band = k.tpot_band;
  d.widen = kin.widen;
  d.band_reason = kin.reason;
  const auto widen = [&](double factor, const std::string& why) {
    d.widen *= factor;
    d.band_reason += (d.band_reason.empty() ? "" : "; ") + why;
  };
  const bool mla = std::any_of(model.layers.begin(), model.layers.end(),
                               [](const Layer& l) { return std::holds_alternative<MlaAttention>(l.attention); });
  d.hybrid_or_linear = std::any_of(model.layers.begin(), model.layers.end(),
                                   [](const Layer& l) { return std::holds_alternative<LinearAttention>(l.attention); });
  d.architecture_class = d.hybrid_or_linear ? "hybrid" : moe_model ? (mla ? "moe-mla" : "moe") : "dense";
  d.gpu = gpu.name;
  d.shape = shape_of(model, d.architecture_class);
  d.combination = combination_of(d.gpu, d.shape);
  if (k.ttft_band != 1 || k.tpot_band != 1) widen(1, "calibrated by measurements of this machine");
  // Neither routing nor quantised kernels to be wrong about.
  const auto plain = [](const QuantScheme& q) { return q.method == QuantScheme::Method::none; };
  if (!moe_model && !d.hybrid_or_linear && plain(model.quantisation.dense_mlp) && plain(model.quantisation.attention))
    d.widen *= 0.8;
  if (pp > 1) widen(1.6, "hardly any pipeline-parallel measurement");
  if (c.tp_group.nodes > 1 || c.ep_group.nodes > 1) widen(1.6, "no measurement across nodes");
  if (dp > 1) widen(1.4, "few measurements of data-parallel attention with experts");
  const auto any_op = [&](auto&& has) { return std::any_of(d.attention.begin(), d.attention.end(), has); };
  if (any_op([](const AttentionOp& op) { return op.state && !(op.decode && op.prefill); }))
    widen(1.5, "linear-attention layers by roofline");
  else if (any_op([](const AttentionOp& op) { return op.state && op.lent; }))
    widen(1.4, "linear-attention kernels by those measured on an H100, hardly any served measurement");
  else if (any_op([](const AttentionOp& op) { return op.state; }))
    widen(1.25, "linear-attention kernels measured, hardly any served measurement");
  if (any_op([](const AttentionOp& op) { return op.token_wise; }))
    widen(1.5, "sparse-attention kernels measured, hardly any served measurement");
  if (moe_model && routing_factor(k, model) == 1) widen(1.6, "expert routing of this model not measured");
  if (dcp > 1) widen(1.5, "no measurement of decode context parallelism");
  if (model.generic) widen(1.5, "architecture unknown");
  if (engine.num_speculative_tokens > 0) widen(1.8, "acceptance of speculative tokens unknown");
  return CompiledStep(std::move(data));
}

}  // namespace shardwise
