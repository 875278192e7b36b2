#include "app/verify_kv.h"

#include "app/kv_json.h"
#include "base/input_error.h"
#include "config/json.h"
#include "memory/kv_plan.h"

namespace shardwise {

namespace {

Json plan_to_json(const KvPlan& plan) {
  Json out{{"num_blocks", plan.num_blocks}};
  if (!plan.groups.empty()) {
    out["kv_cache_size_tokens"] = plan.kv_tokens;
    out["max_concurrency"] = plan.max_concurrency;
    out["log"] = kv_log_lines(plan, kDefaultVllmVersion).front();
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
    out["stages"].push_back({{"allocated_bytes", stage.allocated_bytes}, {"tensors", stage.tensors}, {"kv_tp_replicas", stage.kv_tp_replicas}});
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
  options.version = parse_vllm_version(input.at("vllm_version").get<std::string>());
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
  Json out{{"num_blocks", plan.num_blocks}, {"groups", Json::array()}, {"max_concurrency", plan.max_concurrency},
           {"log", kv_log_lines(plan, options.version)}, {"max_model_len", plan.max_model_len}};
  for (const auto& group : plan.groups)
    out["groups"].push_back({{"type", group.uniform_type ? "UniformTypeKVCacheSpecs" : to_string(group.spec.type)},
                             {"block_size", group.spec.block_size},
                             {"page_size_bytes", group.page_size},
                             {"num_layers", group.num_layers.front()}});
  return out;
}

/// Scratch form for tests of the planner: stages and resolved values given.
Json predict_given_stages(const Json& input) {
  const auto& args = input.at("args");
  const auto& resolved = input.at("resolved");
  KvPlanOptions options;
  options.max_model_len = resolved.at("max_model_len").get<std::int64_t>();
  options.auto_fit_max_model_len = args.value("max_model_len", 0) == -1;
  options.tensor_parallel_size = args.value("tensor_parallel_size", 1);
  options.decode_context_parallel_size = args.value("decode_context_parallel_size", 1);
  options.disable_hybrid_kv_cache_manager = resolved.at("disable_hybrid_kv_cache_manager").get<bool>();
  options.enable_prefix_caching = resolved.at("enable_prefix_caching").get<bool>();
  options.extra_retained_tokens = std::max(0, resolved.value("num_prefill_lookahead_tokens", 0) - 1);
  options.block_size = resolved.at("block_size").get<int>();
  options.layout = parse_kv_layout(input.at("kv_cache_layout").get<std::string>());
  if (args.contains("num_gpu_blocks_override")) options.num_gpu_blocks_override = args["num_gpu_blocks_override"].get<std::int64_t>();
  const int pp = args.value("pipeline_parallel_size", 1);
  options.max_in_flight_tokens = (pp + 1) * resolved.at("max_num_batched_tokens").get<std::int64_t>();
  const auto layers = kv_layers_from_json(input.at("stages"), "stages");
  const auto result = plan_kv_cache(layers, options, input.at("available_memory").get<std::vector<std::int64_t>>());
  if (const auto* refusal = std::get_if<KvRefusal>(&result)) return refusal_to_json(*refusal);
  return plan_to_json(std::get<KvPlan>(result));
}

Json predict(const std::string&, const Json& input, VerifyModels&) {
  if (input.contains("specs")) return predict_given_specs(input);
  if (input.contains("stages")) return predict_given_stages(input);
  throw InputError("verify", 0, "", "models are not read yet");
}

}  // namespace

VerifyTopic verify_kv_topic() {
  return {"kv", "KV-cache specs per layer and plans for given memory, of models or of given specs", {}, predict};
}

}  // namespace shardwise
