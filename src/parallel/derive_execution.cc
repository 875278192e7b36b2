// How vLLM's values come about from the speculative configuration to the workers.
#include <algorithm>

#include "base/saturate.h"
#include "model/architectures.h"
#include "parallel/experts.h"
#include "parallel/python_text.h"
#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

using S = ResolveState;
constexpr std::int64_t GiB = std::int64_t{1} << 30;

void derive_speculative(S& s) {
  if (!s.has_spec) return;
  if (s.spec_method.empty())
    s.spec_method = s.spec_model == "ngram" || s.spec_model == "[ngram]" ? "ngram" : "draft_model";
  if (s.spec_method == "[ngram]") s.spec_method = "ngram";
  if (s.spec_method.ends_with("_mtp")) s.spec_method = "mtp";
  if (s.spec_method == "ngram" || s.spec_method == "ngram_gpu") {
    s.draft_supports_pp = s.m.supports_pp;
  } else {
    // The draft of MTP runs with the target's pipeline until 0.29 and needs support for it.
    s.draft_supports_pp = s.v >= VllmVersion{0, 29, 0};
  }
  s.r.speculative_method = s.spec_method;
  s.r.num_speculative_tokens = s.spec_tokens.value_or(0);
}

bool batched_dp_moe(const S& s) {
  return (s.r.all2all_backend == "deepep_low_latency" || s.r.all2all_backend == "nixl_ep") &&
         s.r.enable_expert_parallel && s.r.data_parallel_size > 1;
}

/// engine/arg_utils.py get_batch_defaults and _set_default_max_num_seqs_and_batched_tokens_args.
void derive_scheduler(S& s) {
  auto& r = s.r;
  std::string name = s.n.gpu_name;
  for (auto& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const bool offline = s.mode == EntryMode::offline;
  std::int64_t tokens, seqs;
  if (s.n.memory_bytes >= 160 * GiB && s.v >= VllmVersion{0, 28, 0}) {
    tokens = 16384, seqs = 1024;
  } else if (s.n.memory_bytes >= 70 * GiB && name.find("a100") == std::string::npos &&
             !(generation_of(s.n).unified_memory && s.v >= VllmVersion{0, 33, 0})) {
    tokens = offline ? 16384 : 8192, seqs = 1024;
  } else {
    tokens = offline ? 8192 : 2048, seqs = 256;
  }
  if (s.v >= VllmVersion{0, 20, 0} && batched_dp_moe(s)) tokens = 256;
  if (s.a.max_num_batched_tokens) tokens = *s.a.max_num_batched_tokens;
  if (s.a.max_num_seqs) seqs = *s.a.max_num_seqs;
  if (s.a.performance_mode.value_or("") == "throughput") {
    if (!s.a.max_num_batched_tokens) tokens *= 2;
    if (!s.a.max_num_seqs) seqs *= 2;
  }
  if (!s.a.max_num_batched_tokens) {
    if (!r.enable_chunked_prefill) tokens = std::max(tokens, r.max_model_len);
    // Models that see whole images both ways need their largest item in one step: Gemma 4, 32 video frames of 70 tokens
    // and 8 marks (gemma4_mm.py get_mm_max_tokens_per_item).
    if (s.v >= VllmVersion{0, 22, 1} && s.m.is_mm_prefix_lm && s.m.model_type.starts_with("gemma4") &&
        !s.a.language_model_only.value_or(false))
      tokens = std::max<std::int64_t>(tokens, 32 * (70 + 8));
    tokens = std::min(tokens, saturating_product(seqs, r.max_model_len));
  }
  if (!s.a.max_num_seqs) seqs = std::min(seqs, tokens);
  r.max_num_batched_tokens = tokens;
  r.max_num_seqs = seqs;
  r.max_num_scheduled_tokens = s.a.max_num_scheduled_tokens;
  if (s.m.is_encoder_decoder) r.enable_chunked_prefill = false;
}

/// model_executor/models/config.py: hooks by architecture, then vllm.py set_dcp_defaults.
void derive_hooks(S& s) {
  auto& r = s.r;
  const auto& arch = s.m.architecture;
  const Architecture& traits = find_traits(arch);
  r.dcp_comm_backend = s.a.dcp_comm_backend.value_or("ag_rs");
  r.dcp_q_replicate = s.a.dcp_q_replicate.value_or(false);
  if (traits.hook == Hook::deepseek_v32 && r.cache_dtype == "bfloat16") r.cache_dtype = "auto";
  if (traits.hook == Hook::glm_moe_dsa) {
    if (s.v >= VllmVersion{0, 31, 0} && r.cache_dtype == "auto" && generation_of(s.n).glm_dsa_fp8_cache)
      r.cache_dtype = "fp8_e4m3";
    if (s.v >= VllmVersion{0, 29, 0}) {
      if (!s.a.dcp_comm_backend) r.dcp_comm_backend = "a2a";
      if (!s.a.dcp_q_replicate) r.dcp_q_replicate = true;
    }
  }
  if (traits.hook == Hook::gpt_oss && !s.capture_sizes && !s.max_capture_size) s.max_capture_size = 1024;
  if (arch == "MambaForCausalLM" || arch == "Mamba2ForCausalLM" || arch == "FalconMambaForCausalLM" || s.m.is_hybrid) {
    if (r.enable_prefix_caching) {
      if (r.mamba_cache_mode == "none")
        r.mamba_cache_mode = s.v < VllmVersion{0, 28, 0} && traits.caches_every_block ? "all" : "align";
      if (!r.mamba_block_size) r.mamba_block_size = r.block_size;
    } else {
      r.mamba_cache_mode = "none";
      if (!r.mamba_block_size) r.mamba_block_size = r.max_model_len;
    }
  }
}

/// vllm.py _set_cudagraph_sizes.
void derive_capture_sizes(S& s) {
  auto& r = s.r;
  if (r.enforce_eager || r.cudagraph_mode == "NONE") {
    r.cudagraph_capture_sizes.clear();
    r.max_cudagraph_capture_size = 0;
    return;
  }
  const std::int64_t ceiling = s.v >= VllmVersion{0, 28, 0} ? generation_of(s.n).max_cudagraph_capture_size : 512;
  const std::int64_t query = s.has_spec ? 1 + r.num_speculative_tokens : 1;
  const auto seqs = r.max_num_seqs, tokens = r.max_num_batched_tokens;
  std::vector<std::int64_t> uniform;
  std::int64_t most;
  if (s.max_capture_size) {
    most = *s.max_capture_size;
  } else {
    most = std::min(seqs * query * 2, ceiling);
    if (query > 1 && s.v >= VllmVersion{0, 29, 0}) {
      const auto requests = std::min(seqs, ceiling);
      std::vector<std::int64_t> counts{requests};
      for (std::int64_t n : {1, 2, 4})
        if (n <= requests) counts.push_back(n);
      for (std::int64_t n = 8; n < std::min<std::int64_t>(requests + 1, 256); n += 8) counts.push_back(n);
      for (std::int64_t n = 256; n <= requests; n += 16) counts.push_back(n);
      for (const auto n : counts)
        if (n * query <= most) uniform.push_back(n * query);
    } else if (query == 1 && seqs <= most && s.v >= VllmVersion{0, 31, 0}) {
      uniform.push_back(seqs);
    }
  }
  most = std::min(tokens, most);
  std::vector<std::int64_t> sizes;
  if (s.capture_sizes) {
    for (const auto size : *s.capture_sizes)
      if (size <= tokens) sizes.push_back(size);
  } else {
    if (s.a.performance_mode.value_or("") == "interactivity") {
      for (std::int64_t n = 1; n <= std::min<std::int64_t>(most, 32); ++n) sizes.push_back(n);
    } else {
      for (std::int64_t n : {1, 2, 4})
        if (n <= most) sizes.push_back(n);
    }
    if (most >= 8)
      for (std::int64_t n = 8; n < std::min<std::int64_t>(most + 1, 256); n += 8) sizes.push_back(n);
    if (most >= 256)
      for (std::int64_t n = 256; n <= most; n += 16) sizes.push_back(n);
    if (tokens <= most && s.v >= VllmVersion{0, 20, 2}) sizes.push_back(tokens);
    for (const auto size : uniform)
      if (size <= tokens) sizes.push_back(size);
  }
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  r.cudagraph_capture_sizes.assign(sizes.begin(), sizes.end());
  r.max_cudagraph_capture_size = sizes.empty() ? 0 : sizes.back();
}

bool has_piecewise(const std::string& mode) { return mode == "PIECEWISE" || mode == "FULL_AND_PIECEWISE"; }

std::string without_piecewise(const std::string& mode) {
  return mode == "PIECEWISE" ? "NONE" : mode == "FULL_AND_PIECEWISE" ? "FULL_DECODE_ONLY" : mode;
}

bool sequence_parallel_moe(const S& s) {
  return sequence_parallel_backend(s.r.all2all_backend, s.v) && s.r.enable_expert_parallel &&
         s.r.tensor_parallel_size > 1 && s.r.data_parallel_size > 1;
}

/// What Model Runner V2 lacks to split steps (config/vllm.py _get_dbo_unsupported_features). Before 0.30, and where the
/// environment does not ask for it, micro-batches at all.
std::optional<std::string> overlap_lacks(const S& s) {
  if (micro_batches(s.a) < 2) return std::nullopt;
  if (s.v < VllmVersion{0, 30, 0} || !s.env.contains("VLLM_USE_V2_MODEL_RUNNER")) return "dual batch overlap";
  const std::pair<bool, const char*> lacks[] = {
      {s.a.enable_lora.value_or(false), "LoRA"},
      {s.has_spec, "speculative decoding"},
      {s.r.pipeline_parallel_size > 1, "pipeline parallelism"},
      {s.r.decode_context_parallel_size > 1 || s.r.prefill_context_parallel_size > 1, "context parallelism"},
      {s.m.supports_multimodal || s.m.is_encoder_decoder, "multimodal models"},
      {s.m.is_hybrid, "hybrid models"},
      {s.compile_cudagraph_mode == "PIECEWISE", "PIECEWISE CUDA graphs"}};
  for (const auto& [given, what] : lacks)
    if (given) return fmt::format("dual batch overlap with {}", what);
  return std::nullopt;
}

void derive_runner(S& s) {
  s.v2_runner = true;
  const auto it = s.env.find("VLLM_USE_V2_MODEL_RUNNER");
  const bool launcher_pp = s.r.distributed_executor_backend == "external_launcher" && s.r.pipeline_parallel_size > 1;
  const bool spec = s.has_spec && (s.spec_method == "suffix" || s.spec_method == "medusa" ||
                                   s.spec_method == "mlp_speculator" || s.spec_method == "custom_class");
  const auto overlap = overlap_lacks(s);
  // 0.28: prefill context parallelism forces V2, which has it for MLA only and without n-gram speculation.
  const bool forced =
      s.v >= VllmVersion{0, 28, 0} && s.v < VllmVersion{0, 29, 0} && s.r.prefill_context_parallel_size > 1;
  const bool pcp = forced && (!s.m.is_mla || launcher_pp || (s.has_spec && s.spec_method.starts_with("ngram")));
  const bool unsupported = launcher_pp || spec || overlap || pcp;
  if (it != s.env.end() && !it->second.empty())
    s.v2_runner = it->second != "0";
  else
    s.v2_runner = forced || (!unsupported && s.n.triton_usable);
  if (unsupported)
    s.v2_runner_lacks = pcp           ? "prefill context parallelism"
                        : launcher_pp ? "pipeline parallelism with external_launcher"
                        : spec        ? "speculative method " + s.spec_method
                                      : *overlap;
}

bool pools(const S& s) { return s.a.runner.value_or("auto") == "pooling"; }

void derive_run(S& s) {
  auto& r = s.r;
  derive_runner(s);
  if (r.offload.backend != OffloadConfig::Backend::none && runner_ignores_offload(s)) {
    r.offload = {};
    r.offload_ignored = true;
  }
  r.async_scheduling = s.a.async_scheduling.value_or(
      speculates_async(s) && !(pools(s) && s.v >= VllmVersion{0, 20, 0}) &&
      !(r.pipeline_parallel_size > 1 && !s.v2_runner && s.v >= VllmVersion{0, 30, 0}) && !overlaps_on_rocm(s));

  // Optimisation levels: vllm.py OPTIMIZATION_LEVEL_TO_CONFIG.
  const auto level = s.a.optimization_level.value_or(2);
  auto mode = s.compile_mode;
  r.cudagraph_mode = s.compile_cudagraph_mode.empty() ? (level == 0   ? "NONE"
                                                         : level == 1 ? "PIECEWISE"
                                                                      : "FULL_AND_PIECEWISE")
                                                      : s.compile_cudagraph_mode;
  if (r.enforce_eager) mode = 0, r.cudagraph_mode = "NONE";
  const auto breakable_env = s.env.find("VLLM_USE_BREAKABLE_CUDAGRAPH");
  const bool breakable_here = s.m.breakable_cudagraph && !(s.n.rocm() && s.v >= VllmVersion{0, 29, 0});
  const bool breakable = breakable_env != s.env.end() ? breakable_env->second == "1" : breakable_here;
  if (breakable) mode = 0;
  if (!mode) mode = level > 0 ? 3 : 0;
  static const char* names[] = {"NONE", "STOCK_TORCH_COMPILE", "DYNAMO_TRACE_ONCE", "VLLM_COMPILE"};
  r.compilation_mode = names[std::clamp<std::int64_t>(*mode, 0, 3)];
  if (has_piecewise(r.cudagraph_mode) && *mode != 3 && !breakable)
    r.cudagraph_mode = without_piecewise(r.cudagraph_mode);
  if (pools(s) && r.cudagraph_mode.starts_with("FULL")) r.cudagraph_mode = "PIECEWISE";
  if (s.m.is_encoder_decoder && r.cudagraph_mode != "NONE") r.cudagraph_mode = "FULL_DECODE_ONLY";
  // platforms/rocm.py check_and_update_config
  const bool decode_groups = r.decode_context_parallel_size > 1 && s.v < VllmVersion{0, 30, 0};
  if (s.n.rocm() && r.cudagraph_mode.starts_with("FULL") && (decode_groups || r.prefill_context_parallel_size > 1))
    r.cudagraph_mode = "PIECEWISE";
  if (s.has_spec && !r.max_num_scheduled_tokens && s.v >= VllmVersion{0, 16, 0})
    r.max_num_scheduled_tokens = r.max_num_batched_tokens;
  derive_capture_sizes(s);

  r.sequence_parallel_moe = sequence_parallel_moe(s);
  r.use_all2all = r.data_parallel_size > 1 || r.sequence_parallel_moe ||
                  (r.enable_expert_parallel && r.prefill_context_parallel_size > 1);
  if (r.all2all_backend == "moonep" && r.use_all2all) r.cudagraph_mode = "NONE";
  if (r.all2all_backend == "deepep_high_throughput" && *mode == 3 && s.m.is_moe && r.data_parallel_size > 1)
    r.cudagraph_mode = "NONE";
  const auto ranks = r.tensor_parallel_size * r.prefill_context_parallel_size * r.data_parallel_size;
  r.ep_size = r.enable_expert_parallel && ranks > 1 ? ranks : 1;
  if (r.max_model_len < 0) r.max_model_len = s.m.default_max_model_len.value_or(2048);
  r.disable_hybrid_kv_cache_manager = s.a.disable_hybrid_kv_cache_manager.value_or(false);
}

/// serve.py run_headless / run_multi_api_server / run_server and v1/engine/utils.py launch_core_engines.
void derive_launch(S& s) {
  auto& r = s.r;
  auto& launch = r.launch;
  const auto local = r.data_parallel_size_local;
  // config/parallel.py nnodes_within_dp
  r.nnodes_within_dp = 1;
  if (s.nnodes > 1 && local > 0) {
    const auto groups = r.data_parallel_size / local;
    r.nnodes_within_dp = std::max<std::int64_t>(groups > 0 ? s.nnodes / groups : s.nnodes, 1);
  }
  r.node_rank_within_dp = s.node_rank % r.nnodes_within_dp;
  r.local_world_size = r.world_size / r.nnodes_within_dp;

  const auto& backend = r.distributed_executor_backend;
  const std::string executor = backend == "mp"                  ? "MultiprocExecutor"
                               : backend == "uni"               ? "UniProcExecutor"
                               : backend == "ray"               ? "RayExecutor"
                               : backend == "external_launcher" ? "ExecutorWithExternalLauncher"
                                                                : backend;
  launch.served = s.served;
  if (!s.served) {
    launch.executor = executor;
    return;
  }
  launch.api_server_count = s.headless ? std::optional<std::int64_t>(0) : s.api_server_count;
  const bool workers_only = s.headless && r.node_rank_within_dp > 0;
  if (workers_only) {
    launch.headless_workers_only = true;
    return;
  }
  if (s.headless) {
    launch.local_engines = Launch::Engines{static_cast<int>(local), static_cast<int>(r.data_parallel_rank), 0};
    return;
  }
  if (*s.api_server_count <= 1 && s.v >= VllmVersion{0, 17, 1}) launch.api_server_count = std::nullopt;
  launch.executor = executor;
  const bool offline = r.data_parallel_rank_local.has_value();
  const bool coordinated = r.data_parallel_size > 1 && (s.m.is_moe || !r.data_parallel_external_lb);
  launch.dp_coordinator = coordinated && !offline && r.data_parallel_rank == 0;
  if (r.data_parallel_backend == "ray") {
    launch.ray_actors = true;
    return;
  }
  if (local == 0)
    launch.local_engines = Launch::Engines{0, std::nullopt, std::nullopt};
  else
    launch.local_engines = Launch::Engines{static_cast<int>(local), static_cast<int>(r.data_parallel_rank),
                                           static_cast<int>(r.data_parallel_rank_local.value_or(0))};
}

/// v1/worker/gpu_worker.py init_device for every worker of the engines that this command starts.
void derive_worker(S& s) {
  auto& r = s.r;
  auto& launch = r.launch;
  const auto& backend = r.distributed_executor_backend;
  if (!s.served || (backend != "mp" && backend != "uni")) return;
  if (!launch.headless_workers_only && (!launch.local_engines || launch.local_engines->count == 0)) return;
  const int engines = launch.headless_workers_only ? 1 : launch.local_engines->count;
  const auto limit = s.a.device_ids ? static_cast<std::int64_t>(s.a.device_ids->size()) : s.n.gpus;
  for (int i = 0; i < engines; ++i) {
    const int dp_rank = launch.headless_workers_only ? static_cast<int>(r.data_parallel_rank)
                                                     : *launch.local_engines->start_dp_rank + i;
    std::int64_t local_dp = launch.headless_workers_only ? r.data_parallel_rank_local.value_or(r.data_parallel_rank)
                                                         : *launch.local_engines->local_start + i;
    const bool data_parallel = r.data_parallel_size > 1 || dp_rank > 0;
    if (!launch.headless_workers_only)
      launch.engine_core = data_parallel && s.m.is_moe ? "DPEngineCoreProc" : "EngineCoreProc";
    if (!launch.headless_workers_only && !data_parallel) local_dp = r.data_parallel_rank_local.value_or(0);
    // Until 0.26 a dense replica of a multi-node launch took the node count for its own.
    const bool counts_nodes = s.nnodes > 1 && data_parallel && !s.m.is_moe && s.v < VllmVersion{0, 27, 0};
    const auto local_world = counts_nodes ? r.world_size / s.nnodes : r.local_world_size;
    std::int64_t offset = 0;
    if (!counts_nodes && r.data_parallel_backend != "ray" && r.nnodes_within_dp == 1) {
      const auto pcp = s.v >= VllmVersion{0, 31, 0} ? r.prefill_context_parallel_size : 1;
      offset = local_dp * r.tensor_parallel_size * r.pipeline_parallel_size * pcp;
    }
    std::vector<int> devices;
    if (s.v < VllmVersion{0, 24, 0} && !counts_nodes && r.nnodes_within_dp == 1 && offset < limit &&
        local_world > limit) {
      s.workers_exceed_gpus = true;
      return;
    }
    for (std::int64_t w = 0; w < local_world; ++w) {
      const auto index = offset + w;
      if (index >= limit) {
        s.gpu_out_of_range = index;
        return;
      }
      const auto given = s.a.device_ids ? python_int((*s.a.device_ids)[static_cast<std::size_t>(index)]) : std::nullopt;
      devices.push_back(static_cast<int>(given.value_or(index)));  // a UUID's number is not known: its place
    }
    launch.worker_devices.emplace_back(dp_rank, std::move(devices));
  }
}

}  // namespace

bool speculates_async(const S& s) {
  if (!s.has_spec || (s.v2_runner && s.v >= VllmVersion{0, 33, 0})) return true;
  static constexpr std::string_view methods[] = {"mtp",    "eagle",     "eagle3",      "extract_hidden_states",
                                                 "dflash", "ngram_gpu", "draft_model", "dspark"};
  return std::find(std::begin(methods), std::end(methods), s.spec_method) != std::end(methods);
}

bool overlaps_on_rocm(const S& s) {
  return s.n.rocm() && s.a.enable_dbo.value_or(false) && s.r.all2all_backend == "deepep_high_throughput" &&
         s.v >= VllmVersion{0, 25, 0};
}

void derive_execution(Phase phase, ResolveState& s) {
  switch (phase) {
    case Phase::speculative:
      return derive_speculative(s);
    case Phase::scheduler:
      return derive_scheduler(s);
    case Phase::hooks:
      return derive_hooks(s);
    case Phase::execution:
      return derive_run(s);
    case Phase::launch:
      return derive_launch(s);
    case Phase::worker:
      return derive_worker(s);
    default:
      return;
  }
}

}  // namespace shardwise
