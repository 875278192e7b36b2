#include "app/resolved_rows.h"

#include <fmt/format.h>

#include <numeric>

#include "base/text.h"

namespace shardwise {
namespace {

std::string shown(bool value) { return value ? "true" : "false"; }
std::string shown(const std::string& value) { return value; }
std::string shown(double value) { return number_text(value); }
std::string shown(std::int64_t value) { return std::to_string(value); }

template <class T>
std::string shown(const std::optional<T>& value) {
  return value ? shown(*value) : std::string();
}

/// "1 2 4 8 ... 512 (51 sizes)"
std::string shown(const std::vector<int>& sizes) {
  if (sizes.empty()) return "none";
  std::vector<std::string> words;
  for (std::size_t i = 0; i < std::min<std::size_t>(sizes.size(), 4); ++i) words.push_back(std::to_string(sizes[i]));
  if (sizes.size() > 5) words.emplace_back("...");
  if (sizes.size() > 4) words.push_back(std::to_string(sizes.back()));
  return join(words, " ") + (sizes.size() > 5 ? fmt::format(" ({} sizes)", sizes.size()) : "");
}

std::string batch_default(const EngineArgs& a, const Resolved& r, const NodeFacts& node, bool tokens) {
  const double gib = static_cast<double>(node.memory_bytes) / double(std::int64_t{1} << 30);
  if ((r.all2all_backend == "deepep_low_latency" || r.all2all_backend == "nixl_ep") && r.enable_expert_parallel &&
      r.data_parallel_size > 1)
    return r.all2all_backend + " with data parallelism: its buffers are made for 256 tokens";
  if (tokens && r.max_num_batched_tokens == r.max_num_seqs * r.max_model_len)
    return "no more than max_num_seqs x max_model_len";
  if (tokens && !r.enable_chunked_prefill) return "without chunked prefill at least max_model_len";
  if (!tokens && r.max_num_seqs == r.max_num_batched_tokens && a.max_num_batched_tokens)
    return "no more than max_num_batched_tokens";
  return fmt::format("default of a GPU of {:.0f} GiB{}", gib, tokens && r.launch.served ? ", served" : "");
}

std::string cudagraph_why(const EngineArgs& a, const Resolved& r, const ModelFacts& model) {
  if (r.enforce_eager) return "--enforce-eager";
  if (r.cudagraph_mode == "NONE" && r.data_parallel_size > 1 &&
      (r.all2all_backend == "deepep_high_throughput" || r.all2all_backend == "moonep"))
    return r.all2all_backend + " with data parallelism turns CUDA graphs off";
  if (a.compilation_config) return "from --compilation-config";
  if (a.optimization_level) return fmt::format("optimisation level {}", *a.optimization_level);
  if (model.is_encoder_decoder) return "encoder-decoder models: decode steps only";
  return "default";
}

std::string capture_why(const EngineArgs& a, const Resolved& r) {
  if (r.cudagraph_capture_sizes.empty()) return "no CUDA graphs";
  if (a.cudagraph_capture_sizes) return "the given sizes up to max_num_batched_tokens";
  if (r.max_cudagraph_capture_size == r.max_num_batched_tokens) return "no more than max_num_batched_tokens";
  return a.max_cudagraph_capture_size ? "up to the given size"
                                      : "up to 2 x max_num_seqs, no more than this version's ceiling";
}

std::string async_why(const Resolved& r) {
  if (r.async_scheduling) return "default";
  if (r.speculative_method) return "speculative method " + *r.speculative_method + " does not allow it";
  return "the executor or model runner does not allow it";
}

}  // namespace

std::vector<ResolvedRow> resolved_rows(const EngineArgs& a, const Resolved& r, const ModelFacts& model,
                                       const NodeFacts& node) {
  std::vector<ResolvedRow> rows;
  const auto row = [&](const char* name, std::string given, std::string resolved, std::string why) {
    if (given == resolved) why = "";
    rows.push_back({name, std::move(given), std::move(resolved), std::move(why)});
  };
  row("world_size", "", shown(r.world_size), "TP x PP x PCP");
  row("world_size_across_dp", "", shown(r.world_size_across_dp), "TP x PP x PCP x DP = GPUs");
  if (r.is_moe)
    row("ep_size", "", shown(r.ep_size),
        r.enable_expert_parallel ? "TP x PCP x DP; adds no GPUs"
                                 : "expert parallel is off: experts are split over TP x PCP x DP");
  if (r.data_parallel_size > 1) {
    row("data_parallel_size_local", shown(a.data_parallel_size_local), shown(r.data_parallel_size_local),
        a.data_parallel_size_local ? "this process is one external rank" : "all ranks start here");
    const char* mode = r.data_parallel_external_lb ? "external" : r.data_parallel_hybrid_lb ? "hybrid" : "internal";
    row("load balancing", "", mode,
        r.data_parallel_external_lb ? "a rank, or a local size of 1, was given"
        : r.data_parallel_hybrid_lb ? "each node balances over its own ranks"
        : a.data_parallel_hybrid_lb ? "all ranks are local: nothing is left to balance outside"
                                    : "one front end balances over all ranks");
  }
  row("distributed_executor_backend", shown(a.distributed_executor_backend), r.distributed_executor_backend,
      r.world_size_across_dp > 1 ? "mp with more than one rank" : "uni with one rank");
  if (r.distributed_executor_backend == "ray" || r.data_parallel_backend == "ray")
    row("Ray placement group", "",
        fmt::format("{} bundles of 1 GPU{}", r.world_size,
                    r.data_parallel_backend == "ray"
                        ? fmt::format(", one group for each of {} DP ranks", r.data_parallel_size)
                        : ""),
        "Ray chooses the nodes when it starts");
  row("max_model_len", shown(a.max_model_len), shown(r.max_model_len),
      a.max_model_len ? "the longest that fits, found when it starts" : "from config.json (" + model.max_len_key + ")");
  row("max_num_batched_tokens", shown(a.max_num_batched_tokens), shown(r.max_num_batched_tokens),
      batch_default(a, r, node, true));
  row("max_num_seqs", shown(a.max_num_seqs), shown(r.max_num_seqs), batch_default(a, r, node, false));
  row("block_size", shown(a.block_size), shown(r.block_size), "default; the attention backend may still raise it");
  row("kv_cache_dtype", shown(a.kv_cache_dtype), r.cache_dtype,
      r.cache_dtype == "auto" ? "default: the model's dtype" : "the checkpoint or the model's own default says so");
  row("dtype", shown(a.dtype), r.dtype, "from config.json");
  if (r.quantization) row("quantization", shown(a.quantization), *r.quantization, "from the checkpoint");
  row("gpu_memory_utilization", shown(a.gpu_memory_utilization), number_text(r.gpu_memory_utilization),
      "default of vLLM " + to_string(r.version));
  row("enable_chunked_prefill", shown(a.enable_chunked_prefill), shown(r.enable_chunked_prefill),
      model.is_encoder_decoder ? "encoder-decoder models have none" : "default");
  row("enable_prefix_caching", shown(a.enable_prefix_caching), shown(r.enable_prefix_caching),
      r.enable_prefix_caching ? "default" : "off by default for this kind of model");
  if (model.is_hybrid || model.has_inner_state)
    row("mamba_cache_mode", shown(a.mamba_cache_mode), r.mamba_cache_mode,
        r.enable_prefix_caching ? "prefix caching of states" : "no prefix caching");
  row("async_scheduling", shown(a.async_scheduling), shown(r.async_scheduling), async_why(r));
  row("cudagraph_mode", "", r.cudagraph_mode, cudagraph_why(a, r, model));
  std::string sizes;
  if (a.cudagraph_capture_sizes)
    sizes = shown(std::vector<int>(a.cudagraph_capture_sizes->begin(), a.cudagraph_capture_sizes->end()));
  row("cudagraph_capture_sizes", sizes, shown(r.cudagraph_capture_sizes), capture_why(a, r));
  if (r.is_moe) {
    const auto parallel = engine_config(r).parallel;
    const char* fallback = placement_fallback(parallel, model.num_expert_group, r.version);
    row("expert_placement_strategy", shown(a.expert_placement_strategy),
        fallback ? "linear" : r.expert_placement_strategy,
        fallback ? std::string("vLLM falls back and logs a warning: ") + fallback : "default");
    row("all2all_backend", shown(a.all2all_backend), r.all2all_backend,
        a.all2all_backend ? "the given one is no longer there" : "default");
    if (r.enable_eplb) row("eplb communicator", "", r.eplb_communicator.value_or("none"), "by what is installed");
  }
  if (micro_batches(a) > 1)
    row("micro-batches of a step", shown(micro_batches(a)), shown(r.data_parallel_size > 1 ? micro_batches(a) : 1),
        "one data parallel rank never splits a step");
  if (r.pp_layers.size() > 1) {
    std::vector<std::string> counts;
    for (const auto& [first, last] : r.pp_layers) counts.push_back(std::to_string(last - first));
    row("layers per stage", "", join(counts, " + "),
        r.pp_layer_partition.empty() ? "what is left over goes to the stages before the last"
                                     : "VLLM_PP_LAYER_PARTITION");
  }
  return rows;
}

}  // namespace shardwise
