#include "cost/step_compiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "cost/adapters.h"
#include "cost/bands.h"
#include "cost/host_weights.h"
#include "cost/layer_times.h"
#include "cost/widening.h"
#include "memory/kv_specs.h"
#include "memory/kv_state.h"
#include "memory/weights.h"

namespace shardwise {
namespace {

constexpr std::size_t kMeasure = 8;  ///< the knot, 64 tokens, at which stages are compared
static_assert(kTokenKnots[kMeasure] == 64);

double routing_factor(const CostConstants& k, const Model& model) {
  std::string name = to_lower(model.shape_name());
  for (const auto& a : model.architectures) name += " " + to_lower(a);
  for (const auto& r : k.routing)
    if (name.find(r.pattern) != std::string::npos) return r.factor;
  return 1;
}

/// dense | moe | moe-mla | hybrid
const char* architecture_class(const Model& model) {
  const bool hybrid = std::any_of(model.layers.begin(), model.layers.end(),
                                  [](const Layer& l) { return std::holds_alternative<LinearAttention>(l.attention); });
  return hybrid ? "hybrid" : !model.is_moe() ? "dense" : model.is_mla() ? "moe-mla" : "moe";
}

/// Sizes and weight types of a model, which decide its times: what a measurement of it also says of its kin.
std::string shape_of(const Model& model) {
  const auto& q = model.quantisation;
  std::string out = fmt::format("{} {}x{}", architecture_class(model), model.hidden_size, model.num_hidden_layers());
  const QuantScheme* weights = &q.dense_mlp;
  for (const auto& layer : model.layers)
    if (const auto* moe = std::get_if<MoeFfn>(&layer.ffn)) {
      out += fmt::format(" e{}k{}", moe->num_experts, moe->num_experts_per_tok);
      weights = &q.routed_experts;
      break;
    }
  return out + fmt::format(" w{}a{}", weights->bits, weights->activations ? weights->bits : 16);
}

LayerKinds kinds_of(const Model& model) {
  LayerKinds out;
  for (const auto& layer : model.layers) {
    std::size_t kind = 0;
    while (kind < out.layers.size() && *out.layers[kind] != layer) ++kind;
    if (kind == out.layers.size()) out.layers.push_back(&layer);
    out.of.push_back(kind);
  }
  return out;
}

/// What an element of the caches takes, bytes.
CacheTypes cache_types(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  const auto kv = resolved_cache_dtype(model, engine.kv_cache_dtype, generation_of(gpu));
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

LayerContext layer_context(const Model& model, const EngineConfig& engine, const Cluster& cluster,
                           const EnginePlacement& where, const CostConstants& constants, GemmTimes& gemms) {
  const auto& p = engine.parallel;
  const int tp = p.tensor_parallel_size, pp = std::max(1, p.pipeline_parallel_size),
            dp = model.is_moe() ? p.data_parallel_size : 1;
  const auto group = [&](int size, int stride) { return rank_group(cluster, where.gpus_per_node, size, stride); };
  return {model,
          engine,
          cluster.first_gpu(),
          constants,
          gemms,
          gemms.chip(),
          group(tp, 1),
          group(dp, tp * pp),
          group(tp * dp, pp > 1 && dp > 1 ? pp : 1),
          static_cast<double>(model.hidden_size),
          tp,
          pp,
          dp,
          std::max(1, p.decode_context_parallel_size)};
}

/// Tables of every kind of layer, and its attention: one operator for all layers with the same.
std::vector<KindTables> kind_tables(const LayerContext& c, const LayerKinds& kinds, const CacheTypes& cache,
                                    std::vector<AttentionOp>& ops) {
  std::vector<KindTables> out;
  std::vector<Attention> timed;
  const auto op_of = [&](const Attention& attention) {
    std::size_t op = 0;
    while (op < timed.size() && timed[op] != attention) ++op;
    if (op == timed.size()) {
      timed.push_back(attention);
      ops.push_back(attention_op(attention, c.chip, c.tp, c.dcp, cache, c.hidden));
      ops.back().decodes_as_prompts = decodes_as_prompts(attention, c.engine.vllm_version);
    }
    return op;
  };
  for (const auto* layer : kinds.layers) {
    auto& tables = out.emplace_back(compile_kind(c, *layer));
    if (!std::holds_alternative<NoAttention>(layer->attention)) tables.attention.push_back(op_of(layer->attention));
    if (layer->parallel_state) tables.attention.push_back(op_of(*layer->parallel_state));
  }
  return out;
}

/// Head and sampler over sequences whose logits are wanted.
TokenTable head_times(const LayerContext& c, OperatorTables& operators) {
  const double vocab = std::ceil(static_cast<double>(c.model.vocab_size) / c.tp);
  const auto& lm = c.gemms(gemm_type(c.model.quantisation.lm_head, c.chip), vocab, c.hidden);
  constexpr auto op = static_cast<std::size_t>(TokenOp::lm_head);
  TokenTable out{};
  for (std::size_t i = 0; i < kKnots; ++i) {
    const double elements = kTokenKnots[i] * c.model.vocab_size;
    const double gather =
        c.tp > 1 ? collective_seconds(*c.chip.tables, c.tp_group, Collective::all_gather, elements * 2) : 0;
    out[i] =
        lm[i].seconds + 12 * kTokenKnots[i] * c.model.vocab_size / c.chip.bandwidth + fixed::sampler.value + gather;
    operators.decode[op][i] = operators.mixed[op][i] = out[i];
    operators.compute[op][i] = lm[i].compute, operators.memory[op][i] = lm[i].memory;
  }
  return out;
}

/// Adds up the layers of all kinds, `n` of each.
KernelTimes::Tables sum_layers(const std::vector<double>& n, const std::vector<LayerTimes>& times) {
  KernelTimes::Tables out;
  for (std::size_t j = 0; j < n.size(); ++j) {
    if (n[j] == 0) continue;
    for (std::size_t i = 0; i < kKnots; ++i) {
      out.decode[i] += n[j] * times[j].decode_total[i];
      out.mixed[i] += n[j] * times[j].mixed_total[i];
    }
  }
  return out;
}

void add_operators(OperatorTables& out, double n, const LayerTimes& times, const KindTables& raw) {
  const auto add_roof = [&](TokenOp op, const OpTable& table) {
    for (std::size_t i = 0; i < kKnots; ++i) {
      out.compute[static_cast<std::size_t>(op)][i] += n * table[i].compute;
      out.memory[static_cast<std::size_t>(op)][i] += n * table[i].memory;
    }
  };
  add_roof(TokenOp::attention_proj, raw.attention_proj);
  add_roof(TokenOp::dense_ffn, raw.dense_ffn);
  add_roof(TokenOp::router_shared, raw.router_shared);
  add_roof(TokenOp::experts, raw.experts_decode);
  for (std::size_t i = 0; i < kKnots; ++i)
    out.memory[static_cast<std::size_t>(TokenOp::elementwise)][i] += n * raw.elementwise[i];
  for (std::size_t op = 0; op < kTokenOps; ++op)
    for (std::size_t i = 0; i < kKnots; ++i)
      out.decode[op][i] += n * times.decode[op][i], out.mixed[op][i] += n * times.mixed[op][i];
}

/// Hidden states and residual, split over TP ranks and gathered on the other side, from stage to stage.
StageTransfers stage_transfers(const LayerContext& c, const Cluster& cluster, const EnginePlacement& where) {
  StageTransfers out;
  for (int s = 0; s + 1 < c.pp; ++s) {
    const auto send = [&](double bytes) { return send_seconds(cluster, where.gpus_per_node, s * c.tp, c.tp, bytes); };
    const double base = send(0), per_token = send(4 * c.hidden / c.tp) - base;
    out.all.base += base, out.all.per_token += per_token;
    out.slowest.base = std::max(out.slowest.base, base);
    out.slowest.per_token = std::max(out.slowest.per_token, per_token);
  }
  return out;
}

/// The CPU's time for `n` layers of each kind, kernel by kernel: compiled code, or the model's own Python.
double launch_seconds(const LayerContext& c, const std::vector<double>& n, const std::vector<KindTables>& tables) {
  const bool eager = c.engine.enforce_eager;
  const double layer = eager ? fixed::eager_layer.value : c.constants[Coef::eager_dense];
  const double moe = eager ? fixed::eager_moe_layer.value : c.constants[Coef::eager_moe];
  double s = 0;
  for (std::size_t j = 0; j < n.size(); ++j) s += n[j] * (layer + (tables[j].moe ? moe : 0.0));
  return s;
}

/// padded[b] for b = 0 .. largest captured size.
std::vector<double> padded_sizes(const std::vector<int>& captured) {
  std::vector<double> out(static_cast<std::size_t>(captured.back()) + 1);
  std::size_t s = 0;
  for (std::size_t b = 0; b < out.size(); ++b) {
    while (captured[s] < static_cast<int>(b)) ++s;
    out[b] = captured[s];
  }
  return out;
}

/// `uncaptured`: launches of all layers, and of the busiest stage.
LaunchTimes launch_times(const LayerContext& c, const StepParts& uncaptured,
                         const std::vector<AttentionOp>& attention) {
  const auto& sizes = c.engine.cudagraph_capture_sizes;
  const bool graphs = !c.engine.enforce_eager && c.engine.cudagraph_mode != CudagraphMode::none && !sizes.empty();
  const bool piecewise = c.engine.cudagraph_mode == CudagraphMode::piecewise;
  LaunchTimes out;
  out.uncaptured = uncaptured;
  out.full_graphs = graphs && !piecewise;
  if (graphs) {
    out.largest_graph = sizes.back();
    out.padded = padded_sizes(sizes);
    out.pieces.all = piecewise ? c.model.num_hidden_layers() * fixed::piecewise_layer.value : 0.0;
    out.pieces.busiest = out.pieces.all / c.pp;
  }
  for (const auto& op : attention)
    if (op.chunk > 0) {
      out.scan.all += op.layers * fixed::mamba_launch.value;
      out.scan.busiest += op.layers_busiest * fixed::mamba_launch.value;
    }
  return out;
}

HostTimes host_times(const LayerContext& c) {
  const auto& k = c.constants;
  const bool old_engine = c.engine.vllm_version < VllmVersion{0, 13, 0};
  HostTimes out;
  out.step = k[Coef::host] + (old_engine ? k[Coef::old_engine] : 0.0) + (c.pp > 1 ? c.pp * fixed::pp_host.value : 0.0);
  out.mixed = k[Coef::mixed];
  out.per_sequence = k[c.engine.async_scheduling ? Coef::sequence : Coef::no_async];
  out.async_scheduling = c.engine.async_scheduling;
  out.http = k[Coef::http], out.first_token = k[Coef::first_token];
  out.front_end = k[Coef::front_end], out.stream = k[Coef::stream];
  return out;
}

/// One engine on its way to a CompiledStepData.
struct Compilation {
  const LayerContext& c;
  const LayerKinds& kinds;
  const StepFactors factors;
  const std::vector<double> all;  // layers of each kind
  std::vector<KindTables> tables;
  std::vector<LayerTimes> times;
  CompiledStepData& d;

  void add_all_layers() {
    d.kernels.all = sum_layers(all, times);
    for (std::size_t j = 0; j < tables.size(); ++j) {
      add_operators(d.operators, all[j], times[j], tables[j]);
      d.operators.gaps += all[j] * factors.layer_gap(tables[j].moe);
      for (const auto op : tables[j].attention) d.kernels.attention[op].layers += all[j];
    }
  }

  /// About what a decode step takes in a stage of `n` layers of each kind.
  double stage_seconds(const std::vector<double>& n, bool last) const {
    double t = last ? d.kernels.lm_head[kMeasure] : 0.0;
    for (std::size_t j = 0; j < tables.size(); ++j) {
      const auto& raw = tables[j];
      t += n[j] * (raw.attention_proj[kMeasure].seconds + raw.dense_ffn[kMeasure].seconds +
                   raw.router_shared[kMeasure].seconds + raw.experts_decode[kMeasure].seconds +
                   raw.all_reduce[kMeasure] + factors.gap + 2e-5);
    }
    return t;
  }

  /// The busiest stage, decode of 64 sequences with the head on the last one decides; returns its layers of each kind.
  std::vector<double> add_busiest_stage() {
    auto& attention = d.kernels.attention;
    if (c.pp == 1) {
      d.kernels.busiest = d.kernels.all;
      for (auto& op : attention) op.layers_busiest = op.layers;
      return all;
    }
    const auto stages = pp_layers(c.model.num_hidden_layers(), c.engine.parallel);
    double worst = -1;
    bool last = false;
    std::vector<double> chosen = all;
    for (std::size_t s = 0; s < stages.size(); ++s) {
      auto n = kinds.count(stages[s]);
      const bool has_head = s + 1 == stages.size();
      if (const double t = stage_seconds(n, has_head); t > worst) worst = t, last = has_head, chosen = std::move(n);
    }
    d.kernels.busiest = sum_layers(chosen, times);
    const auto& head = d.kernels.lm_head;
    for (std::size_t i = 0; last && i < kKnots; ++i)
      d.kernels.busiest.decode[i] += head[i], d.kernels.busiest.mixed[i] += head[std::min(i, kMeasure)];
    for (std::size_t j = 0; j < tables.size(); ++j)
      for (const auto op : tables[j].attention) attention[op].layers_busiest += chosen[j];
    return chosen;
  }

  void add_launches(const std::vector<double>& busiest) {
    d.launches =
        launch_times(c, {launch_seconds(c, all, tables), launch_seconds(c, busiest, tables)}, d.kernels.attention);
  }
};

}  // namespace

std::vector<double> LayerKinds::count(std::pair<int, int> range) const {
  std::vector<double> n(layers.size(), 0.0);
  for (int l = range.first; l < range.second; ++l) n[of[static_cast<std::size_t>(l)]] += 1;
  return n;
}

StepCompiler::StepCompiler(const Model& model, const Cluster& cluster, const CostConstants& constants)
    : model_(model),
      cluster_(cluster),
      constants_(constants),
      kin_(kernel_kin(cluster.first_gpu())),
      kinds_(kinds_of(model)),
      routing_(routing_factor(constants, model)),
      shape_(shape_of(model)),
      combination_(combination_of(cluster.first_gpu().name, shape_)),
      gemms_(chip_of(cluster.first_gpu())) {}

const WeightProgram& StepCompiler::weights() {
  if (!weights_) weights_ = weight_program(model_);
  return *weights_;
}

CompiledStep StepCompiler::compile(const EngineConfig& engine, const EnginePlacement& where,
                                   std::optional<bool> fused_all_reduce) {
  auto data = std::make_shared<CompiledStepData>();
  auto& d = *data;
  const Gpu& gpu = cluster_.first_gpu();
  const auto& k = constants_;
  const auto c = layer_context(model_, engine, cluster_, where, k, gemms_);
  d.layout = {c.pp, c.dp, 1 + engine.num_speculative_tokens};

  Compilation step{
      c,  kinds_, step_factors(c, gpu, routing_, fused_all_reduce), kinds_.count({0, model_.num_hidden_layers()}), {},
      {}, d};
  step.tables = kind_tables(c, kinds_, cache_types(model_, engine, gpu), d.kernels.attention);
  for (std::size_t j = 0; j < step.tables.size(); ++j)
    step.times.push_back(layer_times(c, step.factors, step.tables[j], *kinds_.layers[j]));
  d.kernels.lm_head = head_times(c, d.operators);
  d.kernels.decode_attention_scale = k[Coef::decode_attention];
  d.kernels.prefill_attention_scale = k[Coef::prefill_attention];
  step.add_all_layers();
  step.add_launches(step.add_busiest_stage());
  d.transfers = stage_transfers(c, cluster_, where);
  d.host = host_times(c);
  d.weight_options = engine.lora.has_value() || engine.offload.backend != OffloadConfig::Backend::none;
  if (engine.lora) d.adapters = adapter_times(c, weights());
  if (engine.offload.backend != OffloadConfig::Backend::none) d.host_weights = host_weights(c, weights());
  d.step_scale = k.step;

  d.band = {kin_.widen, k.ttft_band, k.tpot_band, kin_.reason, gpu.name, shape_, combination_};
  widen(d.band, {model_, engine, d.layout, d.kernels.attention, std::max(c.tp_group.nodes, c.ep_group.nodes),
                 routing_ != 1, k.ttft_band != 1 || k.tpot_band != 1});
  return CompiledStep(std::move(data));
}

CompiledStep compile_step(const Model& model, const EngineConfig& engine, const Cluster& cluster,
                          const EnginePlacement& where, const CostConstants& constants,
                          std::optional<bool> fused_all_reduce) {
  return StepCompiler(model, cluster, constants).compile(engine, where, fused_all_reduce);
}

}  // namespace shardwise
