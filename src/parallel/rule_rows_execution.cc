// Rules from the speculative configuration on: scheduler, model against layout, execution, launch, workers.
#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

using namespace rows;

constexpr std::string_view kSpec = "config/speculative.py:__post_init__",
                           kSpecVerify = "config/speculative.py:_verify_args",
                           kScheduler = "config/scheduler.py:verify_max_model_len",
                           kTarget = "config/model.py:verify_with_parallel_config",
                           kQuantConfig = "config/vllm.py:_get_quantization_config",
                           kVllm = "config/vllm.py:__post_init__", kV1 = "config/vllm.py:_validate_v1_model_runner",
                           kV2 = "config/vllm.py:_validate_v2_model_runner",
                           kWorker = "v1/worker/gpu_worker.py:init_device";

/// Rules of the target against the layout that the draft repeats: all for n-grams, for MTP those of heads and pipeline.
constexpr When target_and_ngrams = ngram_draft | target | layout, target_and_drafts = target_and_ngrams | mtp_draft;

bool brings_its_draft(S s) {
  return s.spec_method == "mtp" || s.spec_method == "ngram" || s.spec_method == "ngram_gpu" ||
         s.spec_method == "suffix" || s.spec_method == "dspark" || s.spec_method == "extract_hidden_states";
}

bool dcp_on_gqa(L l) { return l.dcp > 1 && !l.m.is_mla; }

Violation quant_config_missing(S s) {
  if (!s.quantization_method || s.m.quant_has_config) return ok;
  switch (s.quantization_method->without_config) {
    case WithoutConfig::online:
      return ok;
    case WithoutConfig::needs_file:
      return wrong("Cannot find the config file for {}", s.quantization);
    case WithoutConfig::needs_arguments:
      return wrong("{} needs the checkpoint's quantisation config", s.quantization_method->config_class);
  }
  return ok;
}

bool takes_dtype(const QuantizationMethod& method, std::string_view dtype) {
  return dtype == "bfloat16" ? method.bf16 : dtype == "float16" ? method.fp16 : dtype != "float32" || method.fp32;
}

/// What turns the hybrid KV cache manager off: chunked local attention, where the draft is EAGLE or the environment
/// says so.
bool hybrid_manager_unsupported(S s) {
  const auto allowed = s.env.find("VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE");
  return s.m.attention_chunk_size && ((allowed != s.env.end() && allowed->second == "0") || s.spec_method == "eagle" ||
                                      s.spec_method == "eagle3" || s.spec_method == "mtp");
}

/// Engines between nodes: --nnodes over the groups of nodes that share DP ranks.
std::int64_t dp_node_groups(S s) {
  return s.r.data_parallel_size_local > 0 ? s.r.data_parallel_size / s.r.data_parallel_size_local : 0;
}

bool starts_engines(S s) { return s.served && !s.headless && s.r.data_parallel_backend != "ray"; }

constexpr Rule kExecutionRules[] = {
    // ---- speculative decoding
    {"spec_needs_model", speculative, kSpec,
     "A speculative method other than n-gram, suffix or MTP needs a draft model.", "speculative_config.model",
     [](S s) {
       return s.has_spec && s.spec_model.empty() && s.spec_tokens && !brings_its_draft(s)
                  ? wrong("num_speculative_tokens was given without a draft model")
                  : ok;
     },
     "num_speculative_tokens was provided but without speculative model."},
    {"spec_method_unsupported", speculative, kSpec, "MTP needs a model that has MTP layers which vLLM knows.",
     "another speculative method",
     [](S s) {
       return s.spec_method == "mtp" && s.spec_model.empty() && !s.m.mtp_supported && s.spec_tokens
                  ? wrong("'mtp' is not available for {}", s.m.model_type)
                  : ok;
     }},
    {"mtp_layers", speculative, kSpec, "More speculative tokens than MTP layers must be a multiple of the layers.",
     "a multiple of the MTP layers",
     [](S s) {
       const auto layers = s.m.mtp_layers.value_or(0);
       return s.spec_method == "mtp" && layers > 0 && s.spec_tokens && *s.spec_tokens > layers &&
                      *s.spec_tokens % layers != 0
                  ? wrong("num_speculative_tokens {} is not a multiple of {} MTP layers", *s.spec_tokens, layers)
                  : ok;
     }},
    {"mtp_without_layers", speculative, kSpec, "MTP needs a checkpoint with MTP layers; vLLM divides by their number.",
     "another speculative method, or none",
     [](S s) {
       return s.spec_method == "mtp" && s.m.mtp_layers == 0 && s.spec_tokens.value_or(0) > 0
                  ? wrong("num_speculative_tokens {} with 0 MTP layers", *s.spec_tokens)
                  : ok;
     },
     "integer modulo by zero"},
    {"spec_tokens_missing", speculative, kSpecVerify, "num_speculative_tokens must be given unless the draft says it.",
     "speculative_config.num_speculative_tokens",
     [](S s) { return s.has_spec && !s.spec_tokens ? wrong("num_speculative_tokens is missing") : ok; }},

    // ---- scheduler
    {"batched_tokens_below_max_len", scheduler, kScheduler,
     "Without chunked prefill a step must hold the longest prompt.",
     "--max-num-batched-tokens at least max_model_len, a smaller --max-model-len, or chunked prefill",
     [](S s) {
       return s.r.max_num_batched_tokens < s.r.max_model_len && !s.r.enable_chunked_prefill
                  ? wrong("max_num_batched_tokens {} is below max_model_len {}", s.r.max_num_batched_tokens,
                          s.r.max_model_len)
                  : ok;
     }},
    {"batched_tokens_below_seqs", scheduler, kScheduler, "A step must hold one token of every running request.",
     "a larger --max-num-batched-tokens or a smaller --max-num-seqs",
     [](S s) {
       return s.r.max_num_batched_tokens < s.r.max_num_seqs
                  ? wrong("max_num_batched_tokens {} is below max_num_seqs {}", s.r.max_num_batched_tokens,
                          s.r.max_num_seqs)
                  : ok;
     }},
    {"active_seqs_above_seqs", from(scheduler, {0, 31, 0}), kScheduler, "max_num_active_seqs is at most max_num_seqs.",
     "a smaller --max-num-active-seqs",
     [](S s) {
       return s.a.max_num_active_seqs && *s.a.max_num_active_seqs > s.r.max_num_seqs
                  ? wrong("max_num_active_seqs {} is above max_num_seqs {}", *s.a.max_num_active_seqs, s.r.max_num_seqs)
                  : ok;
     },
     "max_num_active_seqs cannot be greater than max_num_seqs"},
    {"long_prefill_above_max_len", scheduler, kScheduler, "long_prefill_token_threshold is at most max_model_len.",
     "a smaller threshold",
     [](S s) {
       return s.a.long_prefill_token_threshold && *s.a.long_prefill_token_threshold > s.r.max_model_len
                  ? wrong("long_prefill_token_threshold {} is above max_model_len {}",
                          *s.a.long_prefill_token_threshold, s.r.max_model_len)
                  : ok;
     },
     "long_prefill_token_threshold cannot be greater than the max_model_len"},

    // ---- the model's hook
    {"kv_cache_dtype_vs_dtype", from(hooks, {0, 33, 0}), kVllm, "A 16-bit KV cache has the model's dtype.",
     "--kv-cache-dtype auto",
     [](S s) {
       return (s.r.cache_dtype == "bfloat16" || s.r.cache_dtype == "float16") && s.r.cache_dtype != s.r.dtype
                  ? wrong("kv_cache_dtype {} with dtype {}", s.r.cache_dtype, s.r.dtype)
                  : ok;
     }},
    {"mamba_align_needs_chunked_prefill", hooks, "model_executor/models/config.py:verify_and_update_config",
     "State caches in mode align need chunked prefill.", "chunked prefill, or --no-enable-prefix-caching",
     [](S s) {
       return s.r.mamba_cache_mode == "align" && (s.m.is_hybrid || s.m.is_attention_free) && !s.r.enable_chunked_prefill
                  ? wrong("mamba_cache_mode align without chunked prefill")
                  : ok;
     }},

    // ---- the model, and the draft, against the layout
    {"attn_heads_not_divisible_by_tp", target_and_drafts, kTarget, "Attention heads divide by TP.",
     "a TP that divides the heads",
     [](L l) {
       return l.m.num_attention_heads % l.tp != 0
                  ? wrong("{} attention heads are not divisible by tensor_parallel_size {}", l.m.num_attention_heads,
                          l.tp)
                  : ok;
     }},
    {"ep_on_dense_model", target_and_ngrams, "config/model.py:_verify_with_expert_parallelism",
     "Expert parallelism needs a MoE model.", "leave --enable-expert-parallel out",
     [](L l) { return l.ep && !l.m.is_moe ? wrong("the model has 0 experts") : ok; }},
    {"pp_not_supported_by_model", target_and_drafts, kTarget,
     "Pipeline parallelism needs a model class that supports it.", "--pipeline-parallel-size 1",
     [](L l) {
       return l.pp > 1 && !l.supports_pp
                  ? wrong("pipeline_parallel_size {}, and {} does not support it", l.pp, l.m.architecture)
                  : ok;
     }},
    {"dcp_gqa_tp_not_above_kv_heads", target_and_ngrams, kTarget,
     "DCP on grouped-query attention needs TP above the number of KV heads.",
     "a larger TP, or --decode-context-parallel-size 1",
     [](L l) {
       return dcp_on_gqa(l) && l.tp <= l.m.num_key_value_heads
                  ? wrong("tensor_parallel_size {} is not above the {} KV heads", l.tp, l.m.num_key_value_heads)
                  : ok;
     }},
    {"dcp_without_kv_heads", target_and_ngrams, kTarget, "DCP on a model without attention divides by zero KV heads.",
     "--decode-context-parallel-size 1",
     [](L l) { return dcp_on_gqa(l) && l.m.num_key_value_heads == 0 ? wrong("the model has 0 KV heads") : ok; },
     "integer division or modulo by zero"},
    {"dcp_gqa_exceeds_max", target_and_ngrams, kTarget, "DCP is at most TP / KV heads.",
     "a smaller --decode-context-parallel-size",
     [](L l) {
       const int kv = l.m.num_key_value_heads;
       return dcp_on_gqa(l) && l.dcp > l.tp / kv
                  ? wrong("decode_context_parallel_size {} is above {} (tensor_parallel_size {}, {} KV heads)", l.dcp,
                          l.tp / kv, l.tp, kv)
                  : ok;
     }},
    {"dcp_gqa_q_per_kv", target_and_ngrams, kTarget, "Query heads per KV head divide by DCP.",
     "a DCP that divides them",
     [](L l) {
       return dcp_on_gqa(l) && l.m.num_attention_heads / l.m.num_key_value_heads % l.dcp != 0
                  ? wrong("{} query heads per KV head are not divisible by decode_context_parallel_size {}",
                          l.m.num_attention_heads / l.m.num_key_value_heads, l.dcp)
                  : ok;
     }},

    // ---- quantisation
    {"quant_config_missing", quantised, "model_executor/model_loader/weight_utils.py:get_quant_config",
     "A method that cannot quantise while loading needs a checkpoint quantised with it.",
     "--quantization fp8, or a quantised checkpoint", quant_config_missing},
    {"quant_not_supported_on_gpu", quantised, kQuantConfig,
     "The GPU must have the capability that the quantisation needs.", "another GPU or checkpoint",
     [](S s) {
       const auto* method = s.quantization_method;
       return method && s.n.capability < method->min_capability
                  ? wrong("{} needs compute capability {}, this GPU has {}", s.quantization, method->min_capability,
                          s.n.capability)
                  : ok;
     }},
    {"dtype_not_supported_by_quant", quantised, kQuantConfig, "The quantisation method must support the model's dtype.",
     "--dtype bfloat16 or auto",
     [](S s) {
       return s.quantization_method && !takes_dtype(*s.quantization_method, s.r.dtype)
                  ? wrong("{} is not supported by quantisation method {}", s.r.dtype, s.quantization)
                  : ok;
     }},

    // ---- execution
    {"async_scheduling_rocm_dbo", from(execution, {0, 25, 0}), kVllm,
     "On ROCm the high-throughput DeepEP backend does not overlap halves of an asynchronously scheduled step.",
     "--no-async-scheduling, or --all2all-backend deepep_low_latency",
     [](S s) {
       return s.a.async_scheduling.value_or(false) && overlaps_on_rocm(s)
                  ? wrong("--async-scheduling with --enable-dbo and deepep_high_throughput on ROCm")
                  : ok;
     }},
    {"async_scheduling_spec_method", execution, kVllm,
     "Asynchronous scheduling works with EAGLE, MTP, draft model, n-gram GPU, DSpark and DFlash speculation; from 0.33 "
     "on "
     "Model Runner V2 takes every method.",
     "leave --async-scheduling out",
     [](S s) {
       return s.a.async_scheduling.value_or(false) && !speculates_async(s)
                  ? wrong("--async-scheduling with {} speculation", s.spec_method)
                  : ok;
     }},
    {"v2_runner_unsupported", from(execution, {0, 22, 0}), kV2, "Model Runner V2 lacks some features.",
     "VLLM_USE_V2_MODEL_RUNNER=0",
     [](S s) { return s.v2_runner && s.v2_runner_lacks ? wrong("{}", *s.v2_runner_lacks) : ok; }},
    {"pcp_with_dp", between(execution | layout, {0, 30, 0}, {0, 31, 0}), "platforms/cuda.py:check_and_update_config",
     "Prefill context parallelism and data parallelism exclude each other.",
     "--data-parallel-size 1, or --prefill-context-parallel-size 1",
     [](L l) { return l.pcp > 1 && l.dp > 1 ? wrong("PCP {} with DP {}", l.pcp, l.dp) : ok; }},
    {"v1_runner_unsupported", from(execution, {0, 28, 0}), kV1, "Prefill context parallelism needs Model Runner V2.",
     "--prefill-context-parallel-size 1",
     [](S s) {
       return !s.v2_runner && s.r.prefill_context_parallel_size > 1
                  ? wrong("prefill_context_parallel_size {} with Model Runner V1", s.r.prefill_context_parallel_size)
                  : ok;
     }},
    {"v1_runner_pp_async", from(execution, {0, 31, 0}), kV1,
     "Model Runner V1 does not schedule asynchronously with pipeline parallelism.", "leave --async-scheduling out",
     [](S s) {
       return !s.v2_runner && s.r.pipeline_parallel_size > 1 && s.r.async_scheduling
                  ? wrong("pipeline_parallel_size {} with asynchronous scheduling on Model Runner V1",
                          s.r.pipeline_parallel_size)
                  : ok;
     }},
    {"moonep_bf16_only", from(execution | layout, {0, 31, 0}), kVllm,
     "The moonep backend takes unquantised bfloat16 models only.", "another --all2all-backend",
     [](L l) {
       return l.all2all == "moonep" && (!l.quantization.empty() || l.dtype != "bfloat16")
                  ? wrong("moonep with quantization {}, dtype {}", l.quantization.empty() ? "none" : l.quantization,
                          l.dtype)
                  : ok;
     }},
    {"moonep_no_eplb", from(execution | layout, {0, 31, 0}), kVllm, "The moonep backend has no EPLB.",
     "another --all2all-backend, or no EPLB",
     [](L l) { return l.all2all == "moonep" && l.eplb ? wrong("moonep with EPLB") : ok; }},
    {"moonep_linear_only", from(execution | layout, {0, 31, 0}), kVllm, "The moonep backend needs linear placement.",
     "--expert-placement-strategy linear",
     [](L l) {
       return l.all2all == "moonep" && l.placement != ExpertPlacement::linear
                  ? wrong("moonep with placement round_robin")
                  : ok;
     },
     "The moonep all2all backend requires linear expert placement"},
    {"ubatch_needs_deepep", execution, kVllm, "Micro-batching needs a DeepEP or NIXL backend.",
     "--all2all-backend deepep_low_latency",
     [](S s) {
       const auto& backend = s.r.all2all_backend;
       const bool nixl = backend == "nixl_ep" && s.v >= VllmVersion{0, 24, 0};
       return micro_batches(s.a) > 1 && backend != "deepep_low_latency" && backend != "deepep_high_throughput" && !nixl
                  ? wrong("micro-batching with all2all_backend {}", backend)
                  : ok;
     },
     "Microbatching currently only supports the deepep_low_latency,"},
    {"hybrid_manager_unsupported", execution, kVllm,
     "The hybrid KV cache manager cannot be forced on chunked local attention with an EAGLE draft, or against "
     "VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE=0.",
     "leave --no-disable-hybrid-kv-cache-manager out",
     [](S s) {
       return s.a.disable_hybrid_kv_cache_manager == false && hybrid_manager_unsupported(s)
                  ? wrong("chunked local attention of {} tokens", *s.m.attention_chunk_size)
                  : ok;
     },
     "Hybrid KV cache manager was explicitly enabled but is not supported"},

    // ---- launch
    {"headless_local_dp_zero", launch, "entrypoints/cli/serve.py:run_headless",
     "A headless node runs at least one DP rank.", "--data-parallel-size-local above 0",
     [](S s) {
       return s.headless && s.r.data_parallel_size_local <= 0
                  ? wrong("data_parallel_size_local {} on a headless node", s.r.data_parallel_size_local)
                  : ok;
     }},
    {"secondary_node_without_headless", launch, "entrypoints/cli/serve.py:run_multi_api_server",
     "Under internal load balancing only the node with DP rank 0 runs API servers.", "--headless",
     [](S s) {
       return s.served && !s.headless && *s.api_server_count > 1 && s.internal_lb() && s.r.data_parallel_rank != 0
                  ? wrong("data_parallel_rank {} with internal load balancing", s.r.data_parallel_rank)
                  : ok;
     }},
    {"nnodes_vs_dp_node_groups", from(launch, {0, 31, 0}), "config/parallel.py:nnodes_within_dp",
     "nnodes divides by the number of DP node groups.", "another --nnodes or --data-parallel-size-local",
     [](S s) {
       const auto groups = dp_node_groups(s);
       return s.nnodes > 1 && !s.r.data_parallel_external_lb && groups > 0 && s.nnodes % groups != 0
                  ? wrong("--nnodes {} is not divisible by {} DP node groups", s.nnodes, groups)
                  : ok;
     }},
    {"executor_world_vs_nnodes", launch, "v1/executor/multiproc_executor.py:_get_parallel_sizes",
     "The nodes of one replica divide its world size.", "another --nnodes",
     [](S s) {
       return s.served && s.r.distributed_executor_backend == "mp" && (!s.headless || s.r.node_rank_within_dp > 0) &&
                      s.r.world_size % s.r.nnodes_within_dp != 0
                  ? wrong("world size {} over {} nodes", s.r.world_size, s.r.nnodes_within_dp)
                  : ok;
     }},
    {"offline_rank_needs_one_engine", launch, "v1/engine/utils.py:launch_core_engines",
     "A command with VLLM_DP_RANK_LOCAL in its environment is one data-parallel rank.",
     "leave --data-parallel-size-local out",
     [](S s) {
       return starts_engines(s) && s.r.data_parallel_rank_local && s.r.data_parallel_size_local != 1
                  ? wrong("data_parallel_size_local {} in one rank's command", s.r.data_parallel_size_local)
                  : ok;
     },
     "assert local_engine_count == 1"},
    {"internal_lb_on_secondary_rank", launch, "v1/engine/utils.py:launch_core_engines",
     "Under internal load balancing only DP rank 0 starts engines for others.", "--headless",
     [](S s) {
       return starts_engines(s) && !s.r.data_parallel_rank_local && s.r.data_parallel_rank != 0 && s.internal_lb()
                  ? wrong("data_parallel_rank {} with internal load balancing", s.r.data_parallel_rank)
                  : ok;
     }},

    // ---- workers
    {"worker_gpu_out_of_range", worker, kWorker,
     "Worker index = local DP rank x TP x PP x PCP + local rank, and must be below the node's GPUs. Only a worker "
     "finds "
     "out.",
     "fewer local DP ranks (--data-parallel-size-local), or more GPUs",
     [](S s) { return s.gpu_out_of_range ? wrong("worker needs GPU {} of {}", *s.gpu_out_of_range, s.n.gpus) : ok; }},
    {"worker_local_world_size", before(worker, {0, 24, 0}), kWorker, "An engine's local workers fit the visible GPUs.",
     "fewer GPUs per engine",
     [](S s) {
       return s.workers_exceed_gpus ? wrong("{} local workers on {} GPUs", s.r.local_world_size, s.n.gpus) : ok;
     }},
};

}  // namespace

std::span<const Rule> execution_rules() { return kExecutionRules; }

}  // namespace shardwise
