#include <variant>

#include "base/input_error.h"
#include "config/json.h"
#include "memory/kv_plan.h"
#include "memory/kv_specs.h"
#include "parallel/resolve.h"
#include "verify/kv_json.h"
#include "verify/recorded.h"
#include "verify/topics.h"

namespace shardwise {

namespace {

Json plan_to_json(const KvPlan& plan, VllmVersion version) {
  Json out{{"num_blocks", plan.num_blocks}};
  if (!plan.groups.empty()) {
    out["kv_cache_size_tokens"] = plan.kv_tokens;
    out["max_concurrency"] = plan.max_concurrency;
    out["log"] = kv_log_lines(plan, version).front();
  }
  out["max_model_len"] = plan.max_model_len;
  out["block_size"] = plan.block_size;
  out["scheduler_block_size"] = plan.scheduler_block_size;
  out["hash_block_size"] = plan.hash_block_size;
  out["groups"] = Json::array();
  for (const auto& group : plan.groups)
    out["groups"].push_back({{"type", group.uniform_type ? "UniformTypeKVCacheSpecs" : to_string(group.spec.type)},
                             {"block_size", group.spec.block_size},
                             {"page_size_bytes", group.page_size},
                             {"num_layers", group.num_layers}});
  out["stages"] = Json::array();
  for (const auto& stage : plan.stages)
    out["stages"].push_back({{"allocated_bytes", stage.allocated_bytes},
                             {"tensors", stage.tensors},
                             {"kv_tp_replicas", stage.kv_tp_replicas}});
  return out;
}

Json refusal_to_json(const KvRefusal& refusal) {
  Json out{{"error", refusal.error}, {"message", refusal.message}};
  if (refusal.estimated_max_model_len) out["estimated_max_model_len"] = *refusal.estimated_max_model_len;
  return out;
}

/// Specs given, one stage, one version: what that version plans of them.
Json predict_given_specs(const Json& input) {
  const auto& args = input.at("args");
  KvPlanOptions options;
  options.version = recorded_version(input);
  options.max_model_len = input.at("max_model_len").get<std::int64_t>();
  options.auto_fit_max_model_len = args.value("max_model_len", 0) == -1;
  options.tensor_parallel_size = args.value("tensor_parallel_size", 1);
  options.decode_context_parallel_size = args.value("decode_context_parallel_size", 1);
  const int batches = options.version >= VllmVersion{0, 26, 0} ? 2 : 1;  // async scheduling: two steps in flight
  options.max_in_flight_tokens = batches * input.at("max_num_batched_tokens").get<std::int64_t>();
  const auto layers = kv_layers_from_json(Json::array({input.at("specs")}), "specs");
  const auto result = plan_kv_cache(layers, options, {input.at("available_memory").get<std::int64_t>()});
  if (const auto* refusal = std::get_if<KvRefusal>(&result)) return refusal_to_json(*refusal);
  const auto& plan = std::get<KvPlan>(result);
  Json out{{"num_blocks", plan.num_blocks},
           {"groups", Json::array()},
           {"max_concurrency", plan.max_concurrency},
           {"log", kv_log_lines(plan, options.version)},
           {"max_model_len", plan.max_model_len}};
  for (const auto& group : plan.groups)
    out["groups"].push_back({{"type", group.uniform_type ? "UniformTypeKVCacheSpecs" : to_string(group.spec.type)},
                             {"block_size", group.spec.block_size},
                             {"page_size_bytes", group.page_size},
                             {"num_layers", group.num_layers.front()}});
  return out;
}

/// What vLLM's argument handling makes of a case, as far as the KV cache depends on it.
struct Engine {
  KvSpecOptions specs;
  KvPlanOptions plan;
  Json resolved;  // the fields that a specs row records
};

std::variant<Refusal, Engine> resolve_case(const Json& input, const Model& model, const ModelFacts& facts) {
  Json args = input.at("args");
  args.erase("hf_overrides");  // the model is shortened already
  const auto override_blocks = args.find("num_gpu_blocks_override");
  Engine e;
  if (override_blocks != args.end()) e.plan.num_gpu_blocks_override = override_blocks->get<std::int64_t>();
  args.erase("num_gpu_blocks_override");
  constexpr int kEnough = 1024;  // GPU counts are not what is asked here
  const int capability = recorded_capability(input);
  const auto result = resolve(read_engine_args(args, "input.args"), facts, recorded_node(capability, kEnough), {},
                              recorded_version(input));
  if (const auto* refusal = std::get_if<Refusal>(&result)) return *refusal;
  const auto& r = std::get<Resolved>(result);
  auto& s = e.specs;
  s.version = e.plan.version = recorded_version(input);
  s.generation = &generation_of("nvidia", capability);
  s.parallel = engine_config(r).parallel;
  s.cache_dtype = resolved_cache_dtype(model, r.cache_dtype, *s.generation);
  if (r.block_size_given) s.block_size = static_cast<int>(r.block_size);
  s.enable_prefix_caching = r.enable_prefix_caching;
  s.max_model_len = r.max_model_len;
  s.num_speculative_tokens = static_cast<int>(r.num_speculative_tokens);
  s.draft_is_mtp = r.speculative_method.value_or("mtp") == "mtp";
  auto& p = e.plan;
  p.max_model_len = r.max_model_len;
  p.auto_fit_max_model_len = args.value("max_model_len", 0) == -1;
  // Asynchronous scheduling keeps one batch more in flight than there are stages (VllmConfig.max_concurrent_batches).
  p.max_in_flight_tokens = (r.pipeline_parallel_size + (r.async_scheduling ? 1 : 0)) * r.max_num_batched_tokens;
  p.tensor_parallel_size = s.parallel.tensor_parallel_size;
  p.decode_context_parallel_size = s.parallel.decode_context_parallel_size;
  p.prefill_context_parallel_size = s.parallel.prefill_context_parallel_size;
  p.disable_hybrid_kv_cache_manager = r.disable_hybrid_kv_cache_manager;
  p.enable_prefix_caching = s.enable_prefix_caching;
  e.resolved = {{"max_model_len", r.max_model_len},
                {"max_num_batched_tokens", r.max_num_batched_tokens},
                {"max_num_seqs", r.max_num_seqs},
                {"dtype", r.dtype},
                {"enable_prefix_caching", r.enable_prefix_caching},
                {"mamba_cache_dtype", "auto"},
                {"disable_hybrid_kv_cache_manager", r.disable_hybrid_kv_cache_manager},
                {"enable_chunked_prefill", r.enable_chunked_prefill},
                {"enable_expert_parallel", r.enable_expert_parallel},
                {"quantization", r.quantization ? Json(*r.quantization) : Json()},
                {"num_prefill_lookahead_tokens", r.num_speculative_tokens > 0 ? 1 : 0}};
  return e;
}

template <class T>
Json maybe(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json predict_model(const Json& input, const Model& model, const ModelFacts& facts) {
  const auto answer = resolve_case(input, model, facts);
  if (const auto* refusal = std::get_if<Refusal>(&answer))
    return {{"error", "ValueError"}, {"message", refusal->message}};
  Engine e = std::get<Engine>(answer);
  const auto specs = kv_specs(model, e.specs, true);
  if (!input.contains("available_memory")) {
    auto resolved = e.resolved;
    resolved["cache_dtype"] = specs.cache_dtype;
    resolved["block_size"] = specs.block_size;
    resolved["mamba_block_size"] = maybe(specs.mamba_block_size);
    resolved["mamba_page_size_padded"] = maybe(specs.mamba_page_size_padded);
    resolved["mamba_cache_mode"] = specs.mamba_align ? "align" : "none";
    resolved["mamba_ssm_cache_dtype"] = specs.mamba_ssm_cache_dtype;
    return {{"resolved", resolved},
            {"attention_backends", specs.backends},
            {"kv_cache_layout", to_string(specs.layout)},
            {"stages", kv_stages_to_json(specs.layers)}};
  }
  e.plan.layout = specs.layout;
  e.plan.block_size = specs.block_size;
  const auto result =
      plan_kv_cache(specs.layers, e.plan, input.at("available_memory").get<std::vector<std::int64_t>>());
  if (const auto* refusal = std::get_if<KvRefusal>(&result)) return refusal_to_json(*refusal);
  return plan_to_json(std::get<KvPlan>(result), e.plan.version);
}

Json predict_kv(const std::string&, const Json& input, VerifyModels& models) {
  if (input.contains("specs")) return predict_given_specs(input);
  const auto name = input.at("model").get<std::string>();
  auto model = models.get(name);
  if (const auto& args = input.at("args"); args.contains("hf_overrides")) {
    auto shorter = std::make_shared<Model>(*model);
    shorter->layers.resize(
        std::min(shorter->layers.size(), args["hf_overrides"].at("num_hidden_layers").get<std::size_t>()));
    model = shorter;
  }
  return predict_model(input, *model, *models.facts(name, recorded_version(input)));
}

}  // namespace

VerifyTopic kv_topic() {
  return {"kv", "KV-cache specs per layer and plans for given memory, of models or of given specs", {}, predict_kv};
}

}  // namespace shardwise
