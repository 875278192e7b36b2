// `verify kernels`: the kernels of linear, expert and attention layers, against what real vLLM chose.
#include <set>

#include "config/json.h"
#include "memory/kv_specs.h"
#include "memory/weights.h"
#include "model/requantise.h"
#include "parallel/expert_kernels.h"
#include "parallel/experts.h"
#include "parallel/linear_kernels.h"
#include "parallel/resolve.h"
#include "verify/recorded.h"
#include "verify/topics.h"

namespace shardwise {
namespace {

/// Fields of config.json that name the layers one by one.
constexpr std::string_view kLayerLists[] = {"layer_types", "layers_block_type", "hybrid_override_pattern",
                                            "moe_layer_freq"};

/// A model that recordings cut to its first layers: at least four, two of them behind the dense ones. Models that name
/// their layers one by one were left whole.
Model recorded_layers(const Model& model) {
  Model out = model;
  const auto named = [&](std::string_view field) {
    return std::ranges::find(model.fields_used, field) != model.fields_used.end();
  };
  if (model.nested_text || std::ranges::any_of(kLayerLists, named)) return out;
  const auto dense = static_cast<std::size_t>(
      std::ranges::find_if(model.layers, [](const Layer& l) { return std::holds_alternative<MoeFfn>(l.ffn); }) -
      model.layers.begin());
  const auto kept = std::max<std::size_t>(4, model.is_moe() ? dense + 2 : 0);
  out.layers.resize(std::min(out.layers.size(), kept));
  return out;
}

/// Linear layers and experts as the weights' program lists them, kind by kind.
template <class Visit>
void for_each_module(const WeightProgram& program, const Visit& visit) {
  const auto in = [&](const LayerProgram& layer) {
    for (const auto& m : layer.modules) visit(m);
  };
  for (const auto& kind : program.kinds) in(kind);
  for (const LayerProgram* part : {&program.first, &program.last, &program.every, &program.vision}) in(*part);
}

bool is_linear(const WeightModule& m) {
  using K = WeightModule::Kind;
  return m.kind == K::column || m.kind == K::row || m.kind == K::full || m.kind == K::kda_in;
}

/// What a rank of `tp` holds of a linear layer.
LinearShape rank_shape(const WeightModule& m, int tp) {
  const bool split = m.kind == WeightModule::Kind::column || m.kind == WeightModule::Kind::kda_in;
  LinearShape shape{0, m.kind == WeightModule::Kind::row ? m.in / tp : m.in};
  for (int i = 0; i < m.num_parts; ++i) {
    const auto& part = m.parts[static_cast<std::size_t>(i)];
    const int units = !split ? part.units : part.kv ? std::max(part.units / tp, 1) : part.units / tp;
    shape.out += std::int64_t{units} * part.unit;
  }
  return shape;
}

std::set<std::string> linear_kernels(const Model& model, const WeightProgram& program, std::string_view quantisation,
                                     int capability, int tp) {
  std::set<std::string> out;
  // DeepGEMM's scales lose accuracy there on Blackwell (utils/deep_gemm.py should_auto_disable_deep_gemm).
  const bool without_deep_gemm = model.model_type.starts_with("qwen3_5") && quantisation == "fp8" && capability >= 100;
  const int kernels_of = without_deep_gemm ? 89 : capability;
  for_each_module(program, [&](const WeightModule& m) {
    if (is_linear(m)) out.insert(linear_kernel(m.scheme, quantisation, kernels_of, rank_shape(m, tp)));
  });
  if (model.is_moe()) out.insert(linear_kernel({}, quantisation, capability, {}));  // the router
  const bool low_latency = capability / 10 == 9 || capability / 10 == 10;
  if (model.architectures.front().starts_with("KimiK3") && low_latency) out.insert("KimiK3LowLatencyLinearMethod:None");
  return out;
}

/// States, indexers and what DeepSeek-V4's layers bring of their own are no attention backends in a recording.
constexpr std::string_view kNoAttention[] = {"MAMBA",   "GDN",        "KDA",  "LINEAR",    "SHORT_CONV",
                                             "INDEXER", "Compressor", "DSV4", "SPARSE_SWA"};

std::vector<std::string> attention_backends(std::vector<std::string> names) {
  std::erase_if(names, [](const std::string& name) {
    return std::ranges::any_of(kNoAttention, [&](auto part) { return name.find(part) != std::string::npos; });
  });
  return names;
}

Json kernel_json(const ExpertKernel& k) {
  return {{"method", k.method},
          {"moe_backend", k.moe_backend},
          {"experts", k.experts},
          {"use_all2all_kernels", k.use_all2all_kernels},
          {"use_batched_activation_format", k.use_batched_activation_format}};
}

Json predict_kernels(const Json& input, VerifyModels& models) {
  const auto version = recorded_version(input);
  const auto name = input.at("model").get<std::string>();
  const auto whole = models.get(name);
  const auto online = quantised_online(*whole, input.at("args").value("quantization", ""), version);
  const Model model = recorded_layers(online ? *online : *whole);
  const ModelFacts facts = model_facts(model, version);
  const int capability = recorded_capability(input);
  const auto args = read_engine_args(input.at("args"), "input.args");
  const auto result = resolve(args, facts, recorded_node(capability, 1 << 20), {}, version, EntryMode::offline);
  if (const auto* refusal = std::get_if<Refusal>(&result))
    return {{"ok", false}, {"refused_by", refusal->rule->id}, {"message", refusal->message}};
  const auto& r = std::get<Resolved>(result);
  if (const auto refusal = check_layout(facts, engine_config(r).parallel, version); refusal && online)
    return {{"ok", false}, {"refused_by", refusal->rule->id}, {"message", refusal->message}};

  const auto program = weight_program(model);
  const std::string quantisation = r.quantization.value_or("");
  Json experts = Json::array();
  std::optional<ExpertKernelQuery> unserved;
  std::set<std::string> seen;
  for_each_module(program, [&](const WeightModule& m) {
    if (m.kind != WeightModule::Kind::experts || unserved || !facts.experts) return;
    auto query = expert_query(facts, engine_config(r).parallel, r.sequence_parallel_moe, quantisation, capability);
    query.scheme = m.scheme;
    if (const auto kernel = choose_expert_kernel(query)) {
      if (const auto json = kernel_json(*kernel); seen.insert(json.dump()).second) experts.push_back(json);
    } else {
      unserved = query;
    }
  });
  if (unserved) return {{"ok", false}, {"refused_by", expert_kernel_oracle(*unserved)}};

  KvSpecOptions options;
  options.version = version;
  options.generation = &generation_of("nvidia", capability);
  options.parallel = engine_config(r).parallel;
  options.cache_dtype = resolved_cache_dtype(model, r.cache_dtype, *options.generation);
  options.max_model_len = r.max_model_len;
  return {{"ok", true},
          {"linear", linear_kernels(model, program, quantisation, capability, options.parallel.tensor_parallel_size)},
          {"experts", std::move(experts)},
          {"attention", attention_backends(kv_specs(model, options, true).backends)}};
}

}  // namespace

VerifyTopic kernels_topic() {
  return {"kernels",
          "kernels of linear, expert and attention layers (kernels.jsonl)",
          {"where", "message"},
          [](const std::string&, const Json& input, VerifyModels& models) { return predict_kernels(input, models); }};
}

}  // namespace shardwise
