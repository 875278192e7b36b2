// `verify legality`: what vLLM accepts and resolves, against recorded runs of vLLM (three shapes of case).
#include <algorithm>

#include "base/input_error.h"
#include "config/json.h"
#include "parallel/resolve.h"
#include "parallel/rules.h"
#include "verify/recorded.h"
#include "verify/topics.h"

namespace shardwise {
namespace {

template <class T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json launch_json(const Launch& launch) {
  Json out = Json::object();
  if (launch.executor) out["executor"] = *launch.executor;
  if (launch.headless_workers_only) out["headless_workers_only"] = true;
  if (launch.dp_coordinator) out["dp_coordinator"] = true;
  if (launch.ray_actors) out["ray_actors"] = true;
  if (launch.local_engines) {
    Json engines{{"count", launch.local_engines->count}};
    if (launch.local_engines->start_dp_rank) engines["start_dp_rank"] = *launch.local_engines->start_dp_rank;
    if (launch.local_engines->local_start) engines["local_start"] = *launch.local_engines->local_start;
    out["local_engines"] = std::move(engines);
  }
  if (launch.served) out["api_server_count"] = optional_json(launch.api_server_count);
  if (launch.engine_core) out["engine_core"] = *launch.engine_core;
  if (!launch.worker_devices.empty()) {
    Json devices = Json::object();
    auto add = [&](const auto& entry) {
      const auto& [rank, list] = entry;
      devices[std::to_string(rank)] = list.empty() ? Json::array() : Json{list.front(), list.back()};
    };
    add(launch.worker_devices.front());
    if (launch.worker_devices.size() > 1) add(launch.worker_devices.back());
    out["worker_devices"] = std::move(devices);
  }
  return out;
}

Json sizes_json(const std::vector<int>& sizes) {
  if (sizes.size() < 4) return sizes;
  std::int64_t sum = 0;
  for (const int s : sizes) sum += s;
  return {{"n", sizes.size()}, {"max", sizes.back()}, {"min", sizes.front()}, {"sum", sum}};
}

Json layers_json(const Resolved& r) {
  if (!r.pp_layers_error.empty()) return r.pp_layers_error;
  Json out = Json::array();
  for (const auto& [first, last] : r.pp_layers) out.push_back({first, last});
  return out;
}

/// The name that recordings give a rule: its id, or "other:" and the first words of vLLM's message (48 letters, numbers
/// and quoted parts left out), ours where it is vLLM's.
std::string recorded_rule(const Refusal& refusal) {
  const auto& rule = *refusal.rule;
  if (rule.says.empty()) return std::string(rule.id);
  std::string words;
  for (const char c : refusal.message.starts_with(rule.says) ? std::string_view(refusal.message) : rule.says) {
    if (std::isalpha(static_cast<unsigned char>(c)))
      words += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!words.empty() && words.back() != '_')
      words += '_';
  }
  words.resize(std::min<std::size_t>(words.size(), 48));
  while (words.ends_with('_')) words.pop_back();
  return "other:" + words;
}

Json refusal_json(const Refusal& refusal) {
  // Exception class, location and exact wording are vLLM's own; ours is the rule, the stage and the numbers.
  return {{"accept", false},
          {"stage", refusal.rule->stage()},
          {"rule", recorded_rule(refusal)},
          {"where", refusal.rule->where},
          {"message", refusal.message}};
}

Json resolved_json(const Resolved& r) {
  Json out = Json::object();
  out["accept"] = true;
  out["world_size"] = r.world_size;
  out["world_size_across_dp"] = r.world_size_across_dp;
  out["is_moe"] = r.is_moe;
  out["ep_size"] = r.ep_size;
  out["data_parallel_size"] = r.data_parallel_size;
  out["data_parallel_size_local"] = r.data_parallel_size_local;
  out["data_parallel_rank"] = r.data_parallel_rank;
  out["data_parallel_rank_local"] = optional_json(r.data_parallel_rank_local);
  out["data_parallel_backend"] = r.data_parallel_backend;
  out["data_parallel_master_ip"] = r.data_parallel_master_ip;
  out["data_parallel_external_lb"] = r.data_parallel_external_lb;
  out["data_parallel_hybrid_lb"] = r.data_parallel_hybrid_lb;
  out["distributed_executor_backend"] = r.distributed_executor_backend;
  out["nnodes_within_dp"] = r.nnodes_within_dp;
  out["node_rank_within_dp"] = r.node_rank_within_dp;
  out["local_world_size"] = r.local_world_size;
  out["expert_placement_strategy"] = r.expert_placement_strategy;
  out["all2all_backend"] = r.all2all_backend;
  out["use_all2all"] = r.use_all2all;
  out["sequence_parallel_moe"] = r.sequence_parallel_moe;
  out["enable_eplb"] = r.enable_eplb;
  out["num_redundant_experts"] = r.num_redundant_experts;
  out["eplb_communicator"] = optional_json(r.eplb_communicator);
  out["dcp_comm_backend"] = r.dcp_comm_backend;
  out["dcp_q_replicate"] = r.dcp_q_replicate;
  out["cp_kv_cache_interleave_size"] = r.cp_kv_cache_interleave_size;
  out["disable_custom_all_reduce"] = r.disable_custom_all_reduce;
  out["max_model_len"] = r.max_model_len;
  out["max_num_batched_tokens"] = r.max_num_batched_tokens;
  out["max_num_seqs"] = r.max_num_seqs;
  out["enable_chunked_prefill"] = r.enable_chunked_prefill;
  out["async_scheduling"] = r.async_scheduling;
  out["disable_hybrid_kv_cache_manager"] = r.disable_hybrid_kv_cache_manager;
  out["max_num_scheduled_tokens"] = optional_json(r.max_num_scheduled_tokens);
  out["enable_prefix_caching"] = r.enable_prefix_caching;
  out["block_size"] = r.block_size;
  out["cache_dtype"] = r.cache_dtype;
  out["mamba_block_size"] = optional_json(r.mamba_block_size);
  out["mamba_cache_mode"] = r.mamba_cache_mode;
  out["dtype"] = r.dtype;
  out["quantization"] = optional_json(r.quantization);
  out["enforce_eager"] = r.enforce_eager;
  out["cudagraph_mode"] = r.cudagraph_mode;
  out["cudagraph_capture_sizes"] = sizes_json(r.cudagraph_capture_sizes);
  out["max_cudagraph_capture_size"] = r.max_cudagraph_capture_size;
  out["compilation_mode"] = r.compilation_mode;
  out["num_hidden_layers"] = r.num_hidden_layers;
  out["pp_layers"] = layers_json(r);
  out["speculative"] = r.speculative_method ? Json{{"method", *r.speculative_method},
                                                   {"num_speculative_tokens", r.num_speculative_tokens}}
                                            : Json(nullptr);
  out["launch"] = launch_json(r.launch);
  return out;
}

Json predict_sweep(const Json& input, VerifyModels& models) {
  const auto version = recorded_version(input);
  const auto facts = models.facts(input.at("model").get<std::string>(), version);
  EngineArgs args;
  args.tensor_parallel_size = input.at("tp").get<int>();
  args.pipeline_parallel_size = input.at("pp").get<int>();
  const auto result = resolve(args, *facts, recorded_node("B200", 128), {}, version, EntryMode::offline);
  if (const auto* refusal = std::get_if<Refusal>(&result))
    return {{"accept", false}, {"stage", refusal->rule->stage()}, {"rule", recorded_rule(*refusal)}};
  const auto& r = std::get<Resolved>(result);
  Json out{{"accept", true}};
  if (r.tensor_parallel_size == 1) {
    out["max_num_batched_tokens"] = r.max_num_batched_tokens;
    out["max_num_seqs"] = r.max_num_seqs;
    out["cudagraph_mode"] = r.cudagraph_mode;
    out["max_cudagraph_capture_size"] = r.max_cudagraph_capture_size;
    out["block_size"] = r.block_size;
    out["pp_layers"] = layers_json(r);
  }
  return out;
}

Json predict_start(const Json& input, VerifyModels& models) {
  const auto version = recorded_version(input);
  const auto facts = models.facts(input.at("model").get<std::string>(), version);
  const auto args = read_engine_args(input.at("args"), "input");
  Environment env;
  if (const auto it = input.find("env"); it != input.end())
    for (const auto& [key, value] : it->items()) env[key] = value.is_string() ? value.get<std::string>() : value.dump();
  auto node = recorded_node(input.at("node"));
  node.stateless_gpus = 0;  // recorded with CUDA_VISIBLE_DEVICES=""
  const auto mode = input.at("mode") == "offline" ? EntryMode::offline : EntryMode::serve;
  const auto result = resolve(args, *facts, node, env, version, mode);
  if (const auto* refusal = std::get_if<Refusal>(&result)) return refusal_json(*refusal);
  return resolved_json(std::get<Resolved>(result));
}

/// Third shape: the model class built for one rank, GPU count left open.
Json predict_construction(const Json& input, VerifyModels& models) {
  const auto args = read_engine_args(input.at("args"), "input");
  const auto version = recorded_version(input);
  const auto facts = models.facts(input.at("model").get<std::string>(), version, args.hf_overrides.value_or(""));
  const auto result =
      resolve(args, *facts, recorded_node(recorded_capability(input), 1 << 20), {}, version, EntryMode::offline);
  if (const auto* refusal = std::get_if<Refusal>(&result)) return refusal_json(*refusal);
  const auto& r = std::get<Resolved>(result);
  const auto parallel = engine_config(r).parallel;
  const int rank = input.value("global_rank", 0);
  const int stage =
      rank / (parallel.tensor_parallel_size * parallel.prefill_context_parallel_size) % parallel.pipeline_parallel_size;
  if (const auto refusal = check_construction(*facts, parallel, r.quantization.value_or(""), r.version, stage))
    return refusal_json(*refusal);
  return {{"accept", true}};
}

}  // namespace

VerifyTopic legality_topic() {
  return {"legality",
          "what vLLM accepts and what it resolves arguments to (legality.jsonl, sweep.jsonl, model_init.jsonl)",
          {"message", "error", "where", "parameters"},
          [](const std::string&, const Json& input, VerifyModels& models) {
            if (input.contains("tp")) return predict_sweep(input, models);
            if (input.contains("global_rank")) return predict_construction(input, models);
            return predict_start(input, models);
          }};
}

}  // namespace shardwise
