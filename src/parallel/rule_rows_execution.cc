// Rules from the speculative configuration on: scheduler, model against layout, execution, launch, workers.
#include <fmt/format.h>

#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

using S = ResolveState;
constexpr std::string_view kSpec = "config/speculative.py:__post_init__",
                           kSpecVerify = "config/speculative.py:_verify_args",
                           kScheduler = "config/scheduler.py:verify_max_model_len",
                           kTarget = "config/model.py:verify_with_parallel_config",
                           kVllm = "config/vllm.py:__post_init__", kV1 = "config/vllm.py:_validate_v1_model_runner",
                           kV2 = "config/vllm.py:_validate_v2_model_runner";

Violation no() { return std::nullopt; }
#define SHARDWISE_RULE(condition, ...) \
  +[](const S& s) -> Violation { return (condition) ? Violation(fmt::format(__VA_ARGS__)) : no(); }

// Checks of the target model against the layout, also made for the draft (which is the target for n-gram, and has the
// target's heads for MTP).
#define SHARDWISE_TARGET_RULES(phase)                                                                                  \
  {{"attn_heads_not_divisible_by_tp", "config", kTarget, "Attention heads divide by TP.",                              \
    "a TP that divides the heads", always, ever},                                                                      \
   phase,                                                                                                              \
   SHARDWISE_RULE(s.m.num_attention_heads % s.r.tensor_parallel_size != 0,                                             \
                  "{} attention heads are not divisible by tensor_parallel_size {}", s.m.num_attention_heads,          \
                  s.r.tensor_parallel_size)},                                                                          \
      {{"ep_on_dense_model", "config", "config/model.py:_verify_with_expert_parallelism",                              \
        "Expert parallelism needs a MoE model.", "leave --enable-expert-parallel out", always, ever},                  \
       phase,                                                                                                          \
       SHARDWISE_RULE(s.r.enable_expert_parallel && !s.m.is_moe, "the model has 0 experts")},                          \
      {{"pp_not_supported_by_model", "config", kTarget, "Pipeline parallelism needs a model class that supports it.",  \
        "--pipeline-parallel-size 1", always, ever},                                                                   \
       phase,                                                                                                          \
       SHARDWISE_RULE(                                                                                                 \
           s.r.pipeline_parallel_size > 1 && !(phase == Phase::spec_target ? s.draft_supports_pp : s.m.supports_pp),   \
           "pipeline_parallel_size {}, and {} does not support it", s.r.pipeline_parallel_size, s.m.architecture)},    \
      {{"dcp_gqa_tp_not_above_kv_heads", "config", kTarget,                                                            \
        "DCP on grouped-query attention needs TP above the number of KV heads.",                                       \
        "a larger TP, or --decode-context-parallel-size 1", always, ever},                                             \
       phase,                                                                                                          \
       SHARDWISE_RULE(                                                                                                 \
           s.r.decode_context_parallel_size > 1 && !s.m.is_mla && s.r.tensor_parallel_size <= s.m.num_key_value_heads, \
           "tensor_parallel_size {} is not above the {} KV heads", s.r.tensor_parallel_size,                           \
           s.m.num_key_value_heads)},                                                                                  \
      {{"dcp_without_kv_heads", "config", kTarget, "DCP on a model without attention divides by zero KV heads.",       \
        "--decode-context-parallel-size 1", always, ever, "integer division or modulo by zero"},                       \
       phase,                                                                                                          \
       SHARDWISE_RULE(s.r.decode_context_parallel_size > 1 && !s.m.is_mla && s.m.num_key_value_heads == 0,             \
                      "the model has 0 KV heads")},                                                                    \
      {{"dcp_gqa_exceeds_max", "config", kTarget, "DCP is at most TP / KV heads.",                                     \
        "a smaller --decode-context-parallel-size", always, ever},                                                     \
       phase,                                                                                                          \
       SHARDWISE_RULE(s.r.decode_context_parallel_size > 1 && !s.m.is_mla &&                                           \
                          s.r.decode_context_parallel_size > s.r.tensor_parallel_size / s.m.num_key_value_heads,       \
                      "decode_context_parallel_size {} is above {} (tensor_parallel_size {}, {} KV heads)",            \
                      s.r.decode_context_parallel_size, s.r.tensor_parallel_size / s.m.num_key_value_heads,            \
                      s.r.tensor_parallel_size, s.m.num_key_value_heads)},                                             \
  {                                                                                                                    \
    {"dcp_gqa_q_per_kv",        "config", kTarget, "Query heads per KV head divide by DCP.",                           \
     "a DCP that divides them", always,   ever},                                                                       \
        phase,                                                                                                         \
        SHARDWISE_RULE(                                                                                                \
            s.r.decode_context_parallel_size > 1 && !s.m.is_mla &&                                                     \
                (s.m.num_attention_heads / s.m.num_key_value_heads) % s.r.decode_context_parallel_size != 0,           \
            "{} query heads per KV head are not divisible by decode_context_parallel_size {}",                         \
            s.m.num_attention_heads / s.m.num_key_value_heads, s.r.decode_context_parallel_size)                       \
  }

const RuleRow rows[] = {
    // ---- speculative decoding
    {{"spec_needs_model", "config", kSpec, "A speculative method other than n-gram, suffix or MTP needs a draft model.",
      "speculative_config.model", always, ever, "num_speculative_tokens was provided but without speculative model."},
     Phase::speculative,
     SHARDWISE_RULE(s.field_problem == "spec_needs_model", "num_speculative_tokens was given without a draft model")},
    {{"spec_method_unsupported", "config", kSpec, "MTP needs a model that has MTP layers which vLLM knows.",
      "another speculative method", always, ever},
     Phase::speculative,
     SHARDWISE_RULE(s.spec_method == "mtp" && s.spec_model.empty() && !s.m.mtp_supported && s.spec_tokens,
                    "'mtp' is not available for {}", s.m.model_type)},
    {{"mtp_layers", "config", kSpec, "More speculative tokens than MTP layers must be a multiple of the layers.",
      "a multiple of the MTP layers", always, ever},
     Phase::speculative,
     SHARDWISE_RULE(s.spec_method == "mtp" && s.m.mtp_layers && s.spec_tokens && *s.m.mtp_layers > 0 &&
                        *s.spec_tokens > *s.m.mtp_layers && *s.spec_tokens % *s.m.mtp_layers != 0,
                    "num_speculative_tokens {} is not a multiple of {} MTP layers", *s.spec_tokens, *s.m.mtp_layers)},
    {{"mtp_without_layers", "config", kSpec, "MTP needs a checkpoint with MTP layers; vLLM divides by their number.",
      "another speculative method, or none", always, ever, "integer modulo by zero"},
     Phase::speculative,
     SHARDWISE_RULE(s.spec_method == "mtp" && s.m.mtp_layers == 0 && s.spec_tokens.value_or(0) > 0,
                    "num_speculative_tokens {} with 0 MTP layers", *s.spec_tokens)},
    {{"spec_tokens_missing", "config", kSpecVerify, "num_speculative_tokens must be given unless the draft says it.",
      "speculative_config.num_speculative_tokens", always, ever},
     Phase::speculative,
     SHARDWISE_RULE(s.has_spec && !s.spec_tokens, "num_speculative_tokens is missing")},
    SHARDWISE_TARGET_RULES(Phase::spec_target),

    // ---- scheduler
    {{"batched_tokens_below_max_len", "config", kScheduler,
      "Without chunked prefill a step must hold the longest prompt.",
      "--max-num-batched-tokens at least max_model_len, a smaller --max-model-len, or chunked prefill", always, ever},
     Phase::scheduler,
     SHARDWISE_RULE(s.r.max_num_batched_tokens < s.r.max_model_len && !s.r.enable_chunked_prefill,
                    "max_num_batched_tokens {} is below max_model_len {}", s.r.max_num_batched_tokens,
                    s.r.max_model_len)},
    {{"batched_tokens_below_seqs", "config", kScheduler, "A step must hold one token of every running request.",
      "a larger --max-num-batched-tokens or a smaller --max-num-seqs", always, ever},
     Phase::scheduler,
     SHARDWISE_RULE(s.r.max_num_batched_tokens < s.r.max_num_seqs, "max_num_batched_tokens {} is below max_num_seqs {}",
                    s.r.max_num_batched_tokens, s.r.max_num_seqs)},
    {{"active_seqs_above_seqs",
      "config",
      kScheduler,
      "max_num_active_seqs is at most max_num_seqs.",
      "a smaller --max-num-active-seqs",
      {0, 31, 0},
      ever,
      "max_num_active_seqs cannot be greater than max_num_seqs"},
     Phase::scheduler,
     SHARDWISE_RULE(s.a.max_num_active_seqs&&* s.a.max_num_active_seqs > s.r.max_num_seqs,
                    "max_num_active_seqs {} is above max_num_seqs {}", *s.a.max_num_active_seqs, s.r.max_num_seqs)},
    {{"long_prefill_above_max_len", "config", kScheduler, "long_prefill_token_threshold is at most max_model_len.",
      "a smaller threshold", always, ever, "long_prefill_token_threshold cannot be greater than the max_model_len"},
     Phase::scheduler,
     SHARDWISE_RULE(s.a.long_prefill_token_threshold&&* s.a.long_prefill_token_threshold > s.r.max_model_len,
                    "long_prefill_token_threshold {} is above max_model_len {}", *s.a.long_prefill_token_threshold,
                    s.r.max_model_len)},

    // ---- the model's hook
    {{"kv_cache_dtype_vs_dtype",
      "config",
      kVllm,
      "A 16-bit KV cache has the model's dtype.",
      "--kv-cache-dtype auto",
      {0, 33, 0},
      ever},
     Phase::hooks,
     SHARDWISE_RULE((s.r.cache_dtype == "bfloat16" || s.r.cache_dtype == "float16") && s.r.cache_dtype != s.r.dtype,
                    "kv_cache_dtype {} with dtype {}", s.r.cache_dtype, s.r.dtype)},
    {{"mamba_align_needs_chunked_prefill", "config", "model_executor/models/config.py:verify_and_update_config",
      "State caches in mode align need chunked prefill.", "chunked prefill, or --no-enable-prefix-caching", always,
      ever},
     Phase::hooks,
     SHARDWISE_RULE(
         s.r.mamba_cache_mode == "align" && (s.m.is_hybrid || s.m.is_attention_free) && !s.r.enable_chunked_prefill,
         "mamba_cache_mode align without chunked prefill")},

    // ---- the model against the layout
    SHARDWISE_TARGET_RULES(Phase::target),

    // ---- quantisation
    {{"quant_config_missing", "config", "model_executor/model_loader/weight_utils.py:get_quant_config",
      "A method that cannot quantise while loading needs a checkpoint quantised with it.",
      "--quantization fp8, or a quantised checkpoint", always, ever},
     Phase::quantised,
     SHARDWISE_RULE(s.field_problem == "quant_config_missing", "{}", s.field_message)},
    {{"quant_not_supported_on_gpu", "config", "config/vllm.py:_get_quantization_config",
      "The GPU must have the capability that the quantisation needs.", "another GPU or checkpoint", always, ever},
     Phase::quantised,
     SHARDWISE_RULE(s.field_problem == "quant_not_supported_on_gpu", "{}", s.field_message)},
    {{"dtype_not_supported_by_quant", "config", "config/vllm.py:_get_quantization_config",
      "The quantisation method must support the model's dtype.", "--dtype bfloat16 or auto", always, ever},
     Phase::quantised,
     SHARDWISE_RULE(s.field_problem == "dtype_not_supported_by_quant", "{}", s.field_message)},

    // ---- execution
    {{"async_scheduling_spec_method", "config", kVllm,
      "Asynchronous scheduling works with EAGLE, MTP, draft model, n-gram GPU, DSpark and DFlash speculation; from "
      "0.33 "
      "on Model Runner V2 takes every method.",
      "leave --async-scheduling out", always, ever},
     Phase::execution,
     SHARDWISE_RULE(s.a.async_scheduling.value_or(false) && !speculates_async(s),
                    "--async-scheduling with {} speculation", s.spec_method)},
    {{"v2_runner_unsupported",
      "config",
      kV2,
      "Model Runner V2 lacks some features.",
      "VLLM_USE_V2_MODEL_RUNNER=0",
      {0, 22, 0},
      ever},
     Phase::execution,
     SHARDWISE_RULE(s.field_problem == "v2_runner_unsupported", "{}", s.field_message)},
    {{"pcp_with_dp",
      "config",
      "platforms/cuda.py:check_and_update_config",
      "Prefill context parallelism and data parallelism exclude each other.",
      "--data-parallel-size 1, or --prefill-context-parallel-size 1",
      {0, 30, 0},
      {0, 31, 0}},
     Phase::execution,
     SHARDWISE_RULE(s.r.prefill_context_parallel_size > 1 && s.r.data_parallel_size > 1, "PCP {} with DP {}",
                    s.r.prefill_context_parallel_size, s.r.data_parallel_size)},
    {{"v1_runner_unsupported",
      "config",
      kV1,
      "Prefill context parallelism needs Model Runner V2.",
      "--prefill-context-parallel-size 1",
      {0, 28, 0},
      ever},
     Phase::execution,
     SHARDWISE_RULE(!s.v2_runner && s.r.prefill_context_parallel_size > 1,
                    "prefill_context_parallel_size {} with Model Runner V1", s.r.prefill_context_parallel_size)},
    {{"v1_runner_pp_async",
      "config",
      kV1,
      "Model Runner V1 does not schedule asynchronously with pipeline parallelism.",
      "leave --async-scheduling out",
      {0, 31, 0},
      ever},
     Phase::execution,
     SHARDWISE_RULE(!s.v2_runner && s.r.pipeline_parallel_size > 1 && s.r.async_scheduling,
                    "pipeline_parallel_size {} with asynchronous scheduling on Model Runner V1",
                    s.r.pipeline_parallel_size)},
    {{"moonep_bf16_only",
      "config",
      kVllm,
      "The moonep backend takes unquantised bfloat16 models only.",
      "another --all2all-backend",
      {0, 31, 0},
      ever},
     Phase::execution,
     SHARDWISE_RULE(s.r.all2all_backend == "moonep" && (s.r.quantization || s.r.dtype != "bfloat16"),
                    "moonep with quantization {}, dtype {}", s.r.quantization.value_or("none"), s.r.dtype)},
    {{"moonep_no_eplb",
      "config",
      kVllm,
      "The moonep backend has no EPLB.",
      "another --all2all-backend, or no EPLB",
      {0, 31, 0},
      ever},
     Phase::execution,
     SHARDWISE_RULE(s.r.all2all_backend == "moonep" && s.r.enable_eplb, "moonep with EPLB")},
    {{"moonep_linear_only",
      "config",
      kVllm,
      "The moonep backend needs linear placement.",
      "--expert-placement-strategy linear",
      {0, 31, 0},
      ever,
      "The moonep all2all backend requires linear expert placement"},
     Phase::execution,
     SHARDWISE_RULE(s.r.all2all_backend == "moonep" && s.r.expert_placement_strategy != "linear",
                    "moonep with placement {}", s.r.expert_placement_strategy)},
    {{"ubatch_needs_deepep", "config", kVllm, "Micro-batching needs a DeepEP or NIXL backend.",
      "--all2all-backend deepep_low_latency", always, ever,
      "Microbatching currently only supports the deepep_low_latency,"},
     Phase::execution,
     SHARDWISE_RULE((s.a.enable_dbo.value_or(false) || s.a.ubatch_size.value_or(0) > 1) &&
                        s.r.all2all_backend != "deepep_low_latency" &&
                        s.r.all2all_backend != "deepep_high_throughput" && s.r.all2all_backend != "nixl_ep",
                    "micro-batching with all2all_backend {}", s.r.all2all_backend)},
    {{"hybrid_manager_unsupported", "config", kVllm,
      "The hybrid KV cache manager cannot be forced on chunked local attention.",
      "leave --no-disable-hybrid-kv-cache-manager out", always, ever,
      "Hybrid KV cache manager was explicitly enabled but is not supported"},
     Phase::execution,
     SHARDWISE_RULE(s.a.disable_hybrid_kv_cache_manager && !*s.a.disable_hybrid_kv_cache_manager &&
                        s.field_problem == "hybrid_manager_unsupported",
                    "chunked local attention")},
    {{"nnodes_vs_dp_node_groups", "launch", "config/parallel.py:nnodes_within_dp",
      "nnodes divides by the number of DP node groups.", "another --nnodes or --data-parallel-size-local", always,
      ever},
     Phase::launch,
     SHARDWISE_RULE(s.launch_problem == "nnodes_vs_dp_node_groups", "{}", s.field_message)},

    // ---- launch
    {{"headless_local_dp_zero", "launch", "entrypoints/cli/serve.py:run_headless",
      "A headless node runs at least one DP rank.", "--data-parallel-size-local above 0", always, ever},
     Phase::launch,
     SHARDWISE_RULE(s.launch_problem == "headless_local_dp_zero", "data_parallel_size_local {} on a headless node",
                    s.r.data_parallel_size_local)},
    {{"secondary_node_without_headless", "launch", "entrypoints/cli/serve.py:run_multi_api_server",
      "Under internal load balancing only the node with DP rank 0 runs API servers.", "--headless", always, ever},
     Phase::launch,
     SHARDWISE_RULE(s.launch_problem == "secondary_node_without_headless",
                    "data_parallel_rank {} with internal load balancing", s.r.data_parallel_rank)},
    {{"internal_lb_on_secondary_rank", "launch", "v1/engine/utils.py:launch_core_engines",
      "Under internal load balancing only DP rank 0 starts engines for others.", "--headless", always, ever},
     Phase::launch,
     SHARDWISE_RULE(s.launch_problem == "internal_lb_on_secondary_rank",
                    "data_parallel_rank {} with internal load balancing", s.r.data_parallel_rank)},
    {{"offline_rank_needs_one_engine", "launch", "v1/engine/utils.py:launch_core_engines",
      "A command with VLLM_DP_RANK_LOCAL in its environment is one data-parallel rank.",
      "leave --data-parallel-size-local out", always, ever, "assert local_engine_count == 1"},
     Phase::launch,
     SHARDWISE_RULE(s.launch_problem == "offline_rank_needs_one_engine",
                    "data_parallel_size_local {} in one rank's command", s.r.data_parallel_size_local)},
    {{"executor_world_vs_nnodes", "launch", "v1/executor/multiproc_executor.py:_get_parallel_sizes",
      "The nodes of one replica divide its world size.", "another --nnodes", always, ever},
     Phase::launch,
     SHARDWISE_RULE(s.launch_problem == "executor_world_vs_nnodes", "world size {} over {} nodes", s.r.world_size,
                    s.r.nnodes_within_dp)},

    // ---- workers
    {{"worker_gpu_out_of_range", "worker", "v1/worker/gpu_worker.py:init_device",
      "Worker index = local DP rank x TP x PP x PCP + local rank, and must be below the node's GPUs. Only a worker "
      "finds out.",
      "fewer local DP ranks (--data-parallel-size-local), or more GPUs", always, ever},
     Phase::worker,
     SHARDWISE_RULE(s.launch_problem == "worker_gpu_out_of_range", "worker needs GPU {} of {}", s.worker_rank,
                    s.n.gpus)},
    {{"worker_local_world_size",
      "worker",
      "v1/worker/gpu_worker.py:init_device",
      "An engine's local workers fit the visible GPUs.",
      "fewer GPUs per engine",
      always,
      {0, 24, 0}},
     Phase::worker,
     SHARDWISE_RULE(s.launch_problem == "worker_local_world_size", "{} local workers on {} GPUs", s.r.local_world_size,
                    s.n.gpus)},
};

}  // namespace

std::span<const RuleRow> execution_rule_rows() { return rows; }

}  // namespace shardwise
