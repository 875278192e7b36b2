// Rules of the configuration: arguments, serve command, model, launch options, ParallelConfig.
#include <fmt/format.h>

#include <array>

#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

using S = ResolveState;
constexpr std::string_view kServe = "entrypoints/cli/serve.py:cmd", kArgs = "engine/arg_utils.py:create_engine_config",
                           kParallel = "config/parallel.py:__post_init__",
                           kParallelValidate = "config/parallel.py:_validate_parallel_config",
                           kModelLen = "config/model.py:_get_and_verify_max_len",
                           kQuant = "config/model.py:_verify_quantization";

Violation no() { return std::nullopt; }
#define SHARDWISE_RULE(condition, ...) \
  +[](const S& s) -> Violation { return (condition) ? Violation(fmt::format(__VA_ARGS__)) : no(); }

std::int64_t gpus_of_node(const S& s) { return s.n.gpus; }

const RuleRow rows[] = {
    // ---- arguments
    {{"unknown_argument", "config", "engine/arg_utils.py:__init__", "The argument must be one that this version has.",
      "leave it out, or use a version that has it", always, ever},
     Phase::arguments,
     SHARDWISE_RULE(s.field_problem == "unknown_argument", "{}", s.field_message)},
    {{"eplb_async_communicator",
      "config",
      "config/parallel.py:_validate_eplb_config",
      "Asynchronous EPLB cannot use a NCCL communicator (torch_nccl, pynccl).",
      "communicator torch_gloo or nixl, or eplb_config.use_async false",
      {0, 23, 0},
      ever},
     Phase::arguments,
     SHARDWISE_RULE(s.eplb_use_async && (s.eplb_communicator == "torch_nccl" || s.eplb_communicator == "pynccl"),
                    "{} communicator is incompatible with async EPLB", s.eplb_communicator)},
    {{"eplb_async_policy", "config", "config/parallel.py:_validate_eplb_config",
      "Asynchronous EPLB works with the default policy only.", "eplb_config.use_async false", always, ever,
      "Async EPLB is only supported with the default policy."},
     Phase::arguments,
     SHARDWISE_RULE(s.eplb_use_async&& s.eplb_policy != "default", "async EPLB with policy {}", s.eplb_policy)},

    // ---- the serve command
    {{"headless_with_api_servers", "config", kServe, "A headless node starts no API servers.",
      "leave --api-server-count out, or drop --headless", always, ever},
     Phase::serve,
     SHARDWISE_RULE(s.headless&& s.a.api_server_count&&* s.a.api_server_count > 0,
                    "--api-server-count={} with --headless", *s.a.api_server_count)},
    {{"several_lb_modes", "config", kServe,
      "At most one data-parallel load balancing mode: multi-port external, external (or a rank), hybrid (or a start "
      "rank).",
      "keep one of --data-parallel-external-lb, --data-parallel-hybrid-lb, --data-parallel-rank, "
      "--data-parallel-start-rank",
      always, ever},
     Phase::serve,
     SHARDWISE_RULE(int(s.is_multi_port) + int(s.is_external_lb_cli) + int(s.is_hybrid_lb_cli) > 1,
                    "several load balancing modes:{}{}{}", s.is_multi_port ? " multi-port" : "",
                    s.is_external_lb_cli ? " external" : "", s.is_hybrid_lb_cli ? " hybrid" : "")},

    // ---- the model
    {{"model_config_unreadable", "config", "transformers_utils/config.py:parse",
      "The model's config.json must be of a type that vLLM or Transformers knows.", "a newer vLLM", always, ever},
     Phase::model,
     SHARDWISE_RULE(s.m.refusal_rule == "model_config_unreadable", "{}", s.m.refusal_message)},
    {{"model_unknown", "config", "model_executor/models/registry.py:_raise_for_unsupported",
      "The architecture must be one that this vLLM version has.", "a vLLM version that has it", always, ever},
     Phase::model,
     SHARDWISE_RULE(s.m.refusal_rule == "model_unknown", "{}", s.m.refusal_message)},
    {{"dtype_float16_unsupported", "config", "config/model.py:_check_valid_dtype",
      "Gemma 2, Gemma 3 and GLM-4 overflow in float16.", "--dtype bfloat16", always, ever,
      "The model type does not support float16. Reason: Numerical instability."},
     Phase::model,
     SHARDWISE_RULE(s.dtype == "float16" && (s.m.model_type == "gemma2" || s.m.model_type == "gemma3" ||
                                             s.m.model_type == "gemma3_text" || s.m.model_type == "glm4"),
                    "The model type '{}' does not support float16", s.m.model_type)},
    {{"max_len_exceeds_model", "config", kModelLen, "max_model_len must not exceed the length the model was made for.",
      "a smaller --max-model-len, or VLLM_ALLOW_LONG_MAX_MODEL_LEN=1", always, ever},
     Phase::model,
     +[](const S& s) -> Violation {
       if (!s.a.max_model_len || *s.a.max_model_len == -1 || !s.m.derived_max_model_len) return no();
       auto derived = *s.m.derived_max_model_len;
       if (s.a.disable_sliding_window.value_or(false) && s.m.sliding_window)
         derived = std::min(derived, double(*s.m.sliding_window));
       const auto asked = double(*s.a.max_model_len);
       if (asked <= derived || (s.m.model_max_length && asked <= *s.m.model_max_length)) return no();
       const auto it = s.env.find("VLLM_ALLOW_LONG_MAX_MODEL_LEN");
       if (it != s.env.end() && it->second != "0" && it->second != "") return no();
       return fmt::format("max_model_len {} is greater than {}={}", *s.a.max_model_len, s.m.max_len_key, derived);
     }},
    {{"quant_mismatch", "config", kQuant, "--quantization must agree with the checkpoint's own method.",
      "leave --quantization out", always, ever},
     Phase::model,
     SHARDWISE_RULE(!s.user_quantization.empty() && s.m.quant_has_config && !s.quantization_overridden &&
                        s.quantization != s.user_quantization,
                    "the checkpoint is {}, --quantization says {}",
                    s.m.quant_checkpoint_method.empty() ? "None" : s.m.quant_checkpoint_method, s.user_quantization)},
    {{"quant_unknown", "config", kQuant, "The quantisation method must be one that this vLLM has.",
      "one of vLLM's methods", always, ever},
     Phase::model,
     SHARDWISE_RULE(s.field_problem == "quant_unknown", "Unknown quantization method: {}", s.quantization)},
    {{"quant_deprecated",
      "config",
      kQuant,
      "Deprecated quantisation methods need --allow-deprecated-quantization.",
      "--allow-deprecated-quantization",
      {0, 15, 0},
      ever,
      "The quantization method %s is deprecated and will be removed in future versions of vLLM."},
     Phase::model,
     SHARDWISE_RULE((s.quantization == "fbgemm_fp8" || s.quantization == "fp_quant") &&
                        !s.a.allow_deprecated_quantization.value_or(false),
                    "quantization method {} is deprecated", s.quantization)},

    // ---- features
    {{"pp_needs_mp_or_ray", "config", "engine/arg_utils.py:_raise_unsupported_error",
      "Pipeline parallelism needs the mp, ray or external_launcher executor.", "--distributed-executor-backend mp",
      always, ever},
     Phase::features,
     SHARDWISE_RULE(s.r.pipeline_parallel_size > 1 && !s.backend.empty() && s.backend != "ray" && s.backend != "mp" &&
                        s.backend != "external_launcher",
                    "pipeline_parallel_size {} with executor {}", s.r.pipeline_parallel_size, s.backend)},

    // ---- launch options
    {{"hybrid_lb_headless", "config", kArgs, "Hybrid load balancing needs an API server on every node.",
      "drop --headless, or --data-parallel-hybrid-lb", always, ever},
     Phase::options,
     SHARDWISE_RULE(s.headless&& s.a.data_parallel_hybrid_lb.value_or(false),
                    "--data-parallel-hybrid-lb with --headless")},
    {{"hybrid_and_external_lb", "config", kArgs, "Hybrid and external load balancing exclude each other.",
      "one of the two", always, ever},
     Phase::options,
     SHARDWISE_RULE(s.a.data_parallel_hybrid_lb.value_or(false) && s.a.data_parallel_external_lb.value_or(false),
                    "both --data-parallel-hybrid-lb and --data-parallel-external-lb")},
    {{"nnodes_needs_dp_backend_mp", "config", kArgs, "--nnodes works with data_parallel_backend mp only.",
      "--data-parallel-backend mp, or --nnodes 1", always, ever},
     Phase::options,
     SHARDWISE_RULE(s.nnodes > 1 && s.r.data_parallel_backend != "mp", "--nnodes {} with data_parallel_backend {}",
                    s.nnodes, s.r.data_parallel_backend)},
    {{"nnodes_does_not_divide_world", "config", kArgs, "--nnodes must divide TP x PP x PCP x DP.",
      "another --nnodes, or other sizes", always, ever},
     Phase::options,
     +[](const S& s) -> Violation {
       if (s.nnodes <= 1) return no();
       const auto pcp = s.v >= VllmVersion{0, 30, 0} ? s.r.prefill_context_parallel_size : 1;
       const auto world = s.dp_size * s.r.tensor_parallel_size * s.r.pipeline_parallel_size * pcp;
       return world % s.nnodes
                  ? Violation(fmt::format("--nnodes {} does not divide the world size {}", s.nnodes, world))
                  : no();
     }},
    {{"node_rank_out_of_range", "config", kArgs, "--node-rank counts from 0 to nnodes - 1.", "this node's index",
      always, ever},
     Phase::options,
     SHARDWISE_RULE(s.nnodes > 1 && (s.node_rank >= s.nnodes || s.node_rank < 0), "--node-rank {} with --nnodes {}",
                    s.node_rank, s.nnodes)},
    {{"external_lb_rank_ambiguous",
      "config",
      kArgs,
      "A node rank names an external DP rank only if DP divides nnodes.",
      "--data-parallel-rank on every process",
      {0, 31, 0},
      ever},
     Phase::options,
     SHARDWISE_RULE(s.nnodes > 1 && s.dp_size > 1 && s.a.data_parallel_external_lb.value_or(false) &&
                        !s.a.data_parallel_rank && s.nnodes % s.dp_size != 0,
                    "--nnodes {} is not divisible by data_parallel_size {}", s.nnodes, s.dp_size)},
    {{"fault_tolerance_needs_external_lb",
      "config",
      kArgs,
      "Fault tolerance needs external load balancing.",
      "--data-parallel-external-lb with a rank",
      {0, 31, 0},
      ever},
     Phase::options,
     SHARDWISE_RULE(s.a.enable_fault_tolerance.value_or(false) && !s.is_external_lb_cli,
                    "fault tolerance without external load balancing")},
    {{"external_lb_dense_model",
      "config",
      kArgs,
      "External load balancing is for MoE models; dense replicas are independent servers.",
      "one server per replica without --data-parallel-*",
      {0, 21, 0},
      ever},
     Phase::options,
     SHARDWISE_RULE(s.dp_size > 1 && s.is_external_lb_cli && !s.m.is_moe,
                    "data_parallel_size {} with external load balancing, dense model", s.dp_size)},
    {{"external_lb_needs_rank", "config", kArgs, "External load balancing needs this process's rank.",
      "--data-parallel-rank, or --nnodes and --node-rank with a data_parallel_size above 1", always, ever},
     Phase::options,
     SHARDWISE_RULE(s.is_external_lb_cli && !s.dp_rank, "--data-parallel-external-lb without a rank")},
    {{"external_lb_local_size_not_1", "config", kArgs, "With external load balancing every process is one DP rank.",
      "--data-parallel-size-local 1, or leave it out", always, ever},
     Phase::options,
     SHARDWISE_RULE(s.is_external_lb_cli&& s.dp_local&&* s.dp_local != 1,
                    "data_parallel_size_local {} with an external rank", *s.dp_local)},
    {{"hybrid_lb_needs_local_size", "config", kArgs, "Hybrid load balancing needs the number of local DP ranks.",
      "--data-parallel-size-local", always, ever},
     Phase::options,
     SHARDWISE_RULE(!s.is_external_lb_cli && !s.dp_local && s.hybrid_lb,
                    "--data-parallel-hybrid-lb without --data-parallel-size-local")},

    // ---- ParallelConfig
    {{"external_launcher_needs_rank_env", "config", kParallel,
      "external_launcher takes its rank from the environment variable RANK.", "start through torchrun", always, ever},
     Phase::parallel,
     SHARDWISE_RULE(s.rank_env_missing, "RANK is not set")},
    {{"elastic_ep_needs_eplb",
      "config",
      kParallel,
      "Elastic EP needs EPLB.",
      "--enable-eplb",
      {0, 16, 0},
      ever,
      "Elastic EP is only supported with enable_eplb=True."},
     Phase::parallel,
     SHARDWISE_RULE(s.a.enable_elastic_ep.value_or(false) && !s.r.enable_eplb, "elastic EP without EPLB")},
    {{"elastic_ep_with_pp",
      "config",
      kParallel,
      "Elastic EP works without pipeline parallelism only.",
      "--pipeline-parallel-size 1",
      {0, 16, 0},
      ever,
      "Elastic EP is not supported with pipeline parallelism"},
     Phase::parallel,
     SHARDWISE_RULE(s.a.enable_elastic_ep.value_or(false) && s.r.pipeline_parallel_size > 1,
                    "elastic EP with pipeline_parallel_size {}", s.r.pipeline_parallel_size)},
    {{"elastic_ep_with_load_balancing",
      "config",
      kParallel,
      "Elastic EP does not go with hybrid load balancing, nor with external one before 0.33.",
      "one server without --data-parallel-hybrid-lb",
      {0, 16, 0},
      ever,
      "Elastic EP is not compatible with data_parallel"},
     Phase::parallel,
     SHARDWISE_RULE(s.a.enable_elastic_ep.value_or(false) &&
                        (s.r.data_parallel_hybrid_lb || (s.r.data_parallel_external_lb && s.v < VllmVersion{0, 33, 0})),
                    "elastic EP with {} load balancing", s.r.data_parallel_hybrid_lb ? "hybrid" : "external")},
    {{"dp_rank_out_of_range", "config", kParallel, "A DP rank lies in [0, data_parallel_size).",
      "a smaller rank, or a larger --data-parallel-size", always, ever},
     Phase::parallel,
     SHARDWISE_RULE((s.dp_size > 1 || s.r.data_parallel_size_local == 0) &&
                        (s.r.data_parallel_rank < 0 || s.r.data_parallel_rank >= s.dp_size),
                    "data_parallel_rank {} with data_parallel_size {}", s.r.data_parallel_rank, s.dp_size)},
    {{"offline_dp_dense_model",
      "config",
      kParallel,
      "Offline data parallelism (VLLM_DP_SIZE) is for MoE models.",
      "independent engines, each with its own GPUs",
      {0, 14, 1},
      ever},
     Phase::parallel,
     SHARDWISE_RULE(s.dp_size <= 1 && s.r.data_parallel_size_local != 0 && s.r.data_parallel_size > 1 && !s.m.is_moe,
                    "VLLM_DP_SIZE={} with a dense model", s.r.data_parallel_size)},
    {{"world_size_exceeds_local_gpus", "config", kParallel,
      "TP x PP x PCP of one engine must fit the node's GPUs unless the executor or --nnodes says otherwise. DP is not "
      "counted.",
      "fewer GPUs per engine, --distributed-executor-backend ray, or --nnodes", always, ever},
     Phase::parallel,
     +[](const S& s) -> Violation {
       if (!s.backend.empty() || s.nnodes > 1) return no();
       const bool old = s.v < VllmVersion{0, 17, 1};
       const auto counted = old ? s.r.world_size : s.r.world_size_across_dp;
       if (old && s.n.stateless_gpus && counted > 1 && s.r.world_size > *s.n.stateless_gpus)
         return fmt::format("World size {} is larger than the {} GPUs of this node", s.r.world_size,
                            *s.n.stateless_gpus);
       return counted > 1 && s.r.world_size > gpus_of_node(s)
                  ? Violation(fmt::format("World size {} is larger than the {} GPUs of this node", s.r.world_size,
                                          gpus_of_node(s)))
                  : no();
     }},
    {{"nnodes_needs_mp_executor", "config", kParallel,
      "--nnodes works with the mp, uni and external_launcher executors.", "--distributed-executor-backend mp", always,
      ever},
     Phase::parallel,
     SHARDWISE_RULE(s.nnodes > 1 && s.r.distributed_executor_backend != "mp" &&
                        s.r.distributed_executor_backend != "uni" &&
                        s.r.distributed_executor_backend != "external_launcher",
                    "--nnodes {} with executor {}", s.nnodes, s.r.distributed_executor_backend)},
    {{"dp_local_exceeds_dp", "config", kParallelValidate, "data_parallel_size_local is at most data_parallel_size.",
      "a smaller --data-parallel-size-local", always, ever},
     Phase::parallel,
     SHARDWISE_RULE(s.r.data_parallel_size_local > s.r.data_parallel_size,
                    "data_parallel_size_local {} is above data_parallel_size {}", s.r.data_parallel_size_local,
                    s.r.data_parallel_size)},
    {{"external_lb_needs_dp", "config", kParallelValidate, "External load balancing needs data_parallel_size > 1.",
      "--data-parallel-size, or no rank", always, ever},
     Phase::parallel,
     SHARDWISE_RULE(s.r.data_parallel_size <= 1 && s.r.data_parallel_external_lb,
                    "external load balancing with data_parallel_size {}", s.r.data_parallel_size)},
    {{"pcp_with_dp",
      "config",
      kParallelValidate,
      "Prefill context parallelism and data parallelism exclude each other.",
      "--data-parallel-size 1, or --prefill-context-parallel-size 1",
      {0, 26, 0},
      {0, 30, 0}},
     Phase::parallel,
     SHARDWISE_RULE(s.r.prefill_context_parallel_size > 1 && s.r.data_parallel_size > 1, "PCP {} with DP {}",
                    s.r.prefill_context_parallel_size, s.r.data_parallel_size)},
    {{"eplb_needs_ep", "config", kParallelValidate, "EPLB needs expert parallelism.", "--enable-expert-parallel",
      always, ever},
     Phase::parallel,
     SHARDWISE_RULE(s.r.enable_eplb && !s.r.enable_expert_parallel, "EPLB without expert parallelism")},
    {{"eplb_needs_parallelism", "config", kParallelValidate, "EPLB needs more than one expert rank.",
      "TP, PCP or DP above 1", always, ever},
     Phase::parallel,
     +[](const S& s) -> Violation {
       const auto pcp = s.v >= VllmVersion{0, 26, 0} ? s.r.prefill_context_parallel_size : 1;
       return s.r.enable_eplb && s.r.tensor_parallel_size * pcp * s.r.data_parallel_size <= 1
                  ? Violation(fmt::format("TP={}, PCP={}, DP={}", s.r.tensor_parallel_size,
                                          s.r.prefill_context_parallel_size, s.r.data_parallel_size))
                  : no();
     }},
    {{"redundant_experts_without_eplb", "config", kParallelValidate, "Redundant experts need EPLB.",
      "--enable-eplb, or num_redundant_experts 0", always, ever},
     Phase::parallel,
     SHARDWISE_RULE(!s.r.enable_eplb && s.r.num_redundant_experts != 0, "num_redundant_experts {} without EPLB",
                    s.r.num_redundant_experts)},
    {{"dcp_does_not_divide_tp",
      "config",
      kParallelValidate,
      "Without PCP, DCP divides TP.",
      "a DCP that divides TP",
      {0, 16, 0},
      ever},
     Phase::parallel,
     SHARDWISE_RULE((s.v < VllmVersion{0, 26, 0} || s.r.prefill_context_parallel_size == 1) &&
                        s.r.tensor_parallel_size % s.r.decode_context_parallel_size != 0,
                    "tp_size={} is not divisible by dcp_size={}", s.r.tensor_parallel_size,
                    s.r.decode_context_parallel_size)},
    {{"dcp_with_pcp_bad_size",
      "config",
      kParallelValidate,
      "With PCP, DCP is 1, PCP or TP x PCP.",
      "one of these sizes",
      {0, 26, 0},
      ever},
     Phase::parallel,
     +[](const S& s) -> Violation {
       const auto tp = s.r.tensor_parallel_size, pcp = s.r.prefill_context_parallel_size,
                  dcp = s.r.decode_context_parallel_size;
       return pcp > 1 && dcp != 1 && dcp != pcp && dcp != tp * pcp
                  ? Violation(fmt::format("TP={}, PCP={}, DCP={}", tp, pcp, dcp))
                  : no();
     }},
    {{"ray_not_installed", "config", "v1/executor/ray_utils.py:assert_ray_available",
      "The ray executor needs the ray package.", "pip install ray, or --distributed-executor-backend mp", always, ever},
     Phase::parallel,
     SHARDWISE_RULE(s.r.distributed_executor_backend == "ray" && !s.n.ray_installed, "ray is not installed")},
};

}  // namespace

std::span<const RuleRow> config_rule_rows() { return rows; }

}  // namespace shardwise
