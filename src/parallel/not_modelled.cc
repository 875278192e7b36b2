#include "parallel/not_modelled.h"

#include <algorithm>

#include "base/text.h"

namespace shardwise {
namespace {

/// Read for the rules of what vLLM accepts alone.
constexpr std::string_view kNotComputed[] = {
    "attention_backend",   "attention_config",   "default_mm_loras",   "disable_chunked_mm_input",
    "enable_sleep_mode",   "kv_offloading_size", "kv_transfer_config", "enable_tower_connector_lora",
    "limit_mm_per_prompt", "mamba_cache_dtype",  "moe_backend",        "num_gpu_blocks_override",
    "swap_space"};

/// Leave memory as it is, or are counted there; what they do to the time of a step has no measured source.
constexpr std::string_view kNoSpeed[] = {"dbo_decode_token_threshold", "dbo_prefill_token_threshold", "enable_dbo",
                                         "ubatch_size"};

/// Fields of EngineArgs that leave memory and speed of the engine as they are: names, files, logs, formats, limits of
/// the front end, how weights are read.
constexpr std::string_view kHarmless[] = {"aggregate_engine_logging",
                                          "allowed_local_media_path",
                                          "allowed_media_domains",
                                          "code_revision",
                                          "collect_detailed_traces",
                                          "config_format",
                                          "cpu_distributed_timeout_seconds",
                                          "cudagraph_metrics",
                                          "custom_histogram_buckets",
                                          "disable_log_stats",
                                          "distributed_timeout_seconds",
                                          "download_dir",
                                          "enable_logging_iteration_details",
                                          "enable_mfu_metrics",
                                          "enable_mm_embeds",
                                          "enable_prompt_embeds",
                                          "fail_on_environ_validation",
                                          "hf_config_path",
                                          "hf_token",
                                          "ignore_patterns",
                                          "interleave_mm_strings",
                                          "io_processor_plugin",
                                          "jit_monitor_mode",
                                          "jit_monitor_verbose",
                                          "kv_cache_metrics",
                                          "kv_cache_metrics_sample",
                                          "kv_events_config",
                                          "log_config_file",
                                          "log_level",
                                          "logging_config",
                                          "logprobs_mode",
                                          "max_logprobs",
                                          "max_num_queued_reqs",
                                          "max_num_queued_tokens",
                                          "max_parallel_loading_workers",
                                          "media_io_kwargs",
                                          "mm_hasher_algorithm",
                                          "mm_processor_cache_gb",
                                          "mm_processor_cache_type",
                                          "mm_shm_cache_max_object_size_mb",
                                          "model_loader_extra_config",
                                          "otlp_traces_endpoint",
                                          "override_generation_config",
                                          "per_request_spec_decode_metrics",
                                          "prefix_caching_hash_algo",
                                          "profiler_config",
                                          "pt_load_map_location",
                                          "ray_workers_use_nsight",
                                          "reasoning_config",
                                          "reasoning_parser",
                                          "reasoning_parser_plugin",
                                          "revision",
                                          "safetensors_load_strategy",
                                          "safetensors_prefetch_block_size",
                                          "safetensors_prefetch_num_threads",
                                          "seed",
                                          "served_model_name",
                                          "show_hidden_metrics_for_version",
                                          "shutdown_timeout",
                                          "skip_mm_profiling",
                                          "stream_interval",
                                          "structured_outputs_config",
                                          "guided_decoding_backend",
                                          "tokenizer",
                                          "tokenizer_mode",
                                          "tokenizer_revision",
                                          "tokens_only",
                                          "use_tqdm_on_load",
                                          "watchdog_config"};

bool listed(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool is_not_modelled(const FlagRow& row) {
  if (!std::holds_alternative<std::monostate>(row.member)) return listed(kNotComputed, row.name);
  return row.part == FlagPart::other && !listed(kHarmless, row.name);
}

}  // namespace

std::string not_modelled_note(const EngineArgs& args) {
  std::vector<std::string> neither, no_speed, parts;
  for (const auto& flag : given_flags(args)) {
    if (is_not_modelled(*flag.row)) neither.push_back(join(to_argv(flag), " "));
    if (listed(kNoSpeed, flag.row->name)) no_speed.push_back(join(to_argv(flag), " "));
  }
  if (!neither.empty()) parts.push_back("not modelled, neither in memory nor in speed: " + join(neither, ", "));
  if (!no_speed.empty()) parts.push_back("not modelled in speed: " + join(no_speed, ", "));
  return join(parts, "; ");
}

}  // namespace shardwise
