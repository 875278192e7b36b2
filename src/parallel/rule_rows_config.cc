// Rules of the configuration: arguments, serve command, model, launch options, ParallelConfig.
#include <algorithm>

#include "parallel/flag_text.h"
#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

using namespace rows;

constexpr std::string_view kServe = "entrypoints/cli/serve.py:cmd", kArgs = "engine/arg_utils.py:create_engine_config",
                           kParallel = "config/parallel.py:__post_init__",
                           kParallelValidate = "config/parallel.py:_validate_parallel_config",
                           kModelLen = "config/model.py:_get_and_verify_max_len",
                           kQuant = "config/model.py:_verify_quantization";

/// The first argument that this version does not have.
Violation unknown_argument(S s) {
  for (const auto& [row, words] : given_flags(s.a)) {
    const auto [since, gone] = row->versions;
    if (row->versions.contains(s.v)) continue;
    return wrong("vLLM {} has no {}: {} {}", to_string(s.v), dashed(row->name),
                 s.v < since ? "it came with" : "it went with", to_string(s.v < since ? since : gone));
  }
  if (s.eplb_communicator_given && s.v < VllmVersion{0, 20, 0}) return "eplb_config.communicator";
  return ok;
}

/// The words of an argument that nothing else is computed from; null if it was not given.
const std::vector<std::string>* words_given(const EngineArgs& args, std::string_view name) {
  const std::vector<std::string>* found = nullptr;
  for (const auto& [given, words] : args.not_used)
    if (given == name) found = &words;
  return found;
}

std::int64_t number_given(const EngineArgs& args, std::string_view name, std::int64_t otherwise) {
  const auto* words = words_given(args, name);
  return words && !words->empty() ? human_integer(words->front(), std::string(name)) : otherwise;
}

/// What dp_supervisor.py asks of the HTTP side.
Violation multi_port_front_end(S s) {
  if (words_given(s.a, "grpc")) return "it does not support --grpc";
  if (words_given(s.a, "uds")) return "it does not support --uds";
  const bool key = words_given(s.a, "ssl_keyfile"), certificate = words_given(s.a, "ssl_certfile");
  if (s.v < VllmVersion{0, 23, 0} && (key || certificate || words_given(s.a, "ssl_ca_certs")))
    return "it does not support HTTPS yet";
  if (key != certificate) return "--ssl-keyfile and --ssl-certfile must be provided together";
  if (s.a.api_server_count.value_or(1) != 1)
    return wrong("it needs --api-server-count 1, not {}", *s.a.api_server_count);
  return ok;
}

/// What it asks of the ranks.
Violation multi_port_ranks(S s) {
  if (s.a.data_parallel_rank) return "it manages --data-parallel-rank itself";
  if (s.a.data_parallel_external_lb.value_or(false) || s.a.data_parallel_hybrid_lb.value_or(false))
    return "it cannot be combined with --data-parallel-external-lb or --data-parallel-hybrid-lb";
  if (s.dp_size < 2) return wrong("it needs --data-parallel-size above 1, not {}", s.dp_size);
  const auto local = s.a.data_parallel_size_local.value_or(0);
  if (local < 2) return "it needs --data-parallel-size-local of at least 2";
  if (local > s.dp_size || s.dp_size % local != 0)
    return wrong("--data-parallel-size-local {} does not divide --data-parallel-size {}", local, s.dp_size);
  const auto first = s.a.data_parallel_start_rank.value_or(s.a.node_rank.value_or(0) * local);
  return first + local > s.dp_size
             ? wrong("ranks {} to {} are above --data-parallel-size {}", first, first + local - 1, s.dp_size)
             : ok;
}

Violation multi_port_misused(S s) {
  if (!s.served || !s.is_multi_port) return ok;
  for (const auto& why : {multi_port_front_end(s), multi_port_ranks(s)})
    if (why) return "--data-parallel-multi-port-external-lb: " + *why;
  const auto port = number_given(s.a, "port", 8000), last = port + *s.a.data_parallel_size_local - 1;
  const auto supervisor = number_given(s.a, "data_parallel_supervisor_port", 9256);
  return port <= supervisor && supervisor <= last
             ? wrong("--data-parallel-supervisor-port {} overlaps with child rank ports {}-{}", supervisor, port, last)
             : ok;
}

/// --device-ids 0,0 or 0,GPU-x.
Violation device_ids_misused(S s) {
  if (!s.a.device_ids) return ok;
  auto ids = *s.a.device_ids;
  const auto is_index = [](const std::string& id) {
    return !id.empty() && id.find_first_not_of("0123456789") == id.npos;
  };
  const auto indices = std::count_if(ids.begin(), ids.end(), is_index);
  if (indices != 0 && indices != static_cast<std::ptrdiff_t>(ids.size()))
    return "--device-ids must not mix integer IDs and UUIDs";
  std::sort(ids.begin(), ids.end());
  return std::adjacent_find(ids.begin(), ids.end()) != ids.end() ? wrong("--device-ids must not contain duplicates")
                                                                 : ok;
}

bool overflows_in_float16(S s) {
  return s.m.model_type == "gemma2" || s.m.model_type == "gemma3" || s.m.model_type == "gemma3_text" ||
         s.m.model_type == "glm4";
}

/// How a version takes prompts longer than the model's own length; {} = the length.
struct LongContext {
  VllmVersion since, until;
  std::string_view how;
};
constexpr LongContext kLongContext[] = {
    {always,
     {0, 30, 0},
     "vLLM before 0.30 takes {} with --hf-overrides '{{\"rope_parameters\": {{\"rope_type\": \"yarn\", \"factor\": F, "
     "\"original_max_position_embeddings\": L}}}}', where F x L is at least that"},
    {{0, 30, 0},
     ever,
     "vLLM from 0.30 on takes {} with \"max_position_embeddings\": {} in --hf-overrides, beside the "
     "\"rope_parameters\" of "
     "YaRN, whose factor does not count by itself"}};

std::string longer_context(std::int64_t length, VllmVersion version) {
  for (const auto& row : kLongContext)
    if (row.since <= version && version < row.until)
      return fmt::format(fmt::runtime(row.how), length, length) + "; or with VLLM_ALLOW_LONG_MAX_MODEL_LEN=1";
  return "";
}

Violation max_len_exceeds_model(S s) {
  if (!s.a.max_model_len || *s.a.max_model_len == -1 || !s.m.derived_max_model_len) return ok;
  auto derived = *s.m.derived_max_model_len;
  if (s.a.disable_sliding_window.value_or(false) && s.m.sliding_window)
    derived = std::min(derived, double(*s.m.sliding_window));
  const auto asked = double(*s.a.max_model_len);
  if (asked <= derived || (s.m.model_max_length && asked <= *s.m.model_max_length)) return ok;
  const auto it = s.env.find("VLLM_ALLOW_LONG_MAX_MODEL_LEN");
  if (it != s.env.end() && it->second != "0" && it->second != "") return ok;
  const auto more = s.m.max_len_key == "max_position_embeddings" ? "; " + longer_context(*s.a.max_model_len, s.v) : "";
  return wrong("max_model_len {} is greater than {}={}{}", *s.a.max_model_len, s.m.max_len_key, derived, more);
}

/// A version that lacks the class may have it in Transformers, or run the repository's own.
Violation model_unknown(L l) {
  if (!l.m.known_type && !l.m.own_code) return ok;
  if (!l.m.known_type && !l.trust_remote_code)
    return wrong(
        "vLLM {} and its Transformers ({}) do not know model type '{}'; the repository's own code needs "
        "--trust-remote-code",
        to_string(l.v), to_string(transformers_of(l.v)), l.m.model_type);
  if (l.m.registered || l.m.served_by_transformers || (l.m.own_code && l.trust_remote_code)) return ok;
  if (l.m.known_class) return wrong("{} is not in vLLM {}", l.m.architecture, to_string(l.v));
  return wrong("Model architectures ['{}'] are not supported for now: neither vLLM {} nor its Transformers ({}) has it",
               l.m.architecture, to_string(l.v), to_string(transformers_of(l.v)));
}

Violation nnodes_does_not_divide_world(S s) {
  if (s.nnodes <= 1) return ok;
  const auto pcp = s.v >= VllmVersion{0, 30, 0} ? s.r.prefill_context_parallel_size : 1;
  const auto world = s.dp_size * s.r.tensor_parallel_size * s.r.pipeline_parallel_size * pcp;
  return world % s.nnodes ? wrong("--nnodes {} does not divide the world size {}", s.nnodes, world) : ok;
}

Violation world_size_exceeds_local_gpus(S s) {
  if (!s.backend.empty() || s.nnodes > 1 || !s.n.cuda()) return ok;
  const bool old = s.v < VllmVersion{0, 17, 1};
  if ((old ? s.r.world_size : s.r.world_size_across_dp) <= 1) return ok;
  const int gpus = old && s.n.stateless_gpus ? std::min(*s.n.stateless_gpus, s.n.gpus) : s.n.gpus;
  return s.r.world_size > gpus ? wrong("World size {} is larger than the {} GPUs of this node", s.r.world_size, gpus)
                               : ok;
}

constexpr Rule kConfigRules[] = {
    // ---- arguments
    {"arguments_refused", arguments, "utils/argparse_utils.py:parse_args",
     "The command line must be one that this version's own parser takes.", "write it as `vllm serve --help=all` says",
     [](S s) -> Violation { return s.a.refused; }},
    {"unknown_argument", arguments, "engine/arg_utils.py:__init__", "The argument must be one that this version has.",
     "leave it out, or use a version that has it", unknown_argument},
    {"eplb_async_communicator", from(arguments, {0, 23, 0}), "config/parallel.py:_validate_eplb_config",
     "Asynchronous EPLB cannot use a NCCL communicator (torch_nccl, pynccl).",
     "communicator torch_gloo or nixl, or eplb_config.use_async false",
     [](S s) {
       return s.eplb_use_async && (s.eplb_communicator == "torch_nccl" || s.eplb_communicator == "pynccl")
                  ? wrong("{} communicator is incompatible with async EPLB", s.eplb_communicator)
                  : ok;
     }},
    {"eplb_async_policy", arguments, "config/parallel.py:_validate_eplb_config",
     "Asynchronous EPLB works with the default policy only.", "eplb_config.use_async false",
     [](S s) {
       return s.eplb_use_async && s.eplb_policy != "default" ? wrong("async EPLB with policy {}", s.eplb_policy) : ok;
     },
     "Async EPLB is only supported with the default policy."},

    // ---- the serve command
    {"multi_port_lb_misused", from(serve, {0, 22, 0}),
     "entrypoints/launchers/dp_supervisor.py:validate_multi_port_external_lb_args",
     "--data-parallel-multi-port-external-lb supervises the local ranks alone: HTTP on ports, one API server a rank, "
     "no "
     "rank or other balancing given, 2 or more local ranks that divide all.",
     "--data-parallel-size N --data-parallel-size-local L with L from 2 to N, and ports apart", multi_port_misused},
    {"headless_with_api_servers", serve, kServe, "A headless node starts no API servers.",
     "leave --api-server-count out, or drop --headless",
     [](S s) {
       return s.headless && s.a.api_server_count.value_or(0) > 0
                  ? wrong("--api-server-count={} with --headless", *s.a.api_server_count)
                  : ok;
     }},
    {"several_lb_modes", serve, kServe,
     "At most one data-parallel load balancing mode: multi-port external, external (or a rank), hybrid (or a start "
     "rank).",
     "keep one of --data-parallel-external-lb, --data-parallel-hybrid-lb, --data-parallel-rank, "
     "--data-parallel-start-rank",
     [](S s) {
       return s.is_multi_port + s.is_external_lb_cli + s.is_hybrid_lb_cli > 1
                  ? wrong("several load balancing modes:{}{}{}", s.is_multi_port ? " multi-port" : "",
                          s.is_external_lb_cli ? " external" : "", s.is_hybrid_lb_cli ? " hybrid" : "")
                  : ok;
     }},

    // ---- the model
    {"model_config_unreadable", model | config_json, "transformers_utils/config.py:parse",
     "The model's config.json must be of a type that vLLM or Transformers knows.", "a newer vLLM",
     [](L l) {
       return !l.m.known_type && !l.m.own_code ? wrong("vLLM {} and its Transformers ({}) do not know model type '{}'",
                                                       to_string(l.v), to_string(transformers_of(l.v)), l.m.model_type)
                                               : ok;
     }},
    // With code of its own in the repository, vLLM asks for --trust-remote-code before it looks at the type.
    {"model_unknown", model | config_json, "model_executor/models/registry.py:_raise_for_unsupported",
     "The architecture must be one that this vLLM version has.", "a vLLM version that has it", model_unknown},
    {"dtype_float16_unsupported", model, "config/model.py:_check_valid_dtype",
     "Gemma 2, Gemma 3 and GLM-4 overflow in float16.", "--dtype bfloat16",
     [](S s) {
       return s.dtype == "float16" && overflows_in_float16(s)
                  ? wrong("The model type '{}' does not support float16", s.m.model_type)
                  : ok;
     },
     "The model type does not support float16. Reason: Numerical instability."},
    {"max_len_exceeds_model", model, kModelLen, "max_model_len must not exceed the length the model was made for.",
     "a smaller --max-model-len, or VLLM_ALLOW_LONG_MAX_MODEL_LEN=1", max_len_exceeds_model},
    {"quant_mismatch", model, kQuant, "--quantization must agree with the checkpoint's own method.",
     "leave --quantization out",
     [](S s) {
       return !s.user_quantization.empty() && s.m.quant_has_config && !s.quantization_overridden &&
                      s.quantization != s.user_quantization
                  ? wrong("the checkpoint is {}, --quantization says {}",
                          s.m.quant_checkpoint_method.empty() ? "None" : s.m.quant_checkpoint_method,
                          s.user_quantization)
                  : ok;
     }},
    {"quant_unknown", model, kQuant, "The quantisation method must be one that this vLLM has.", "one of vLLM's methods",
     [](S s) {
       return !s.quantization.empty() && !s.quantization_method
                  ? wrong("Unknown quantization method: {}", s.quantization)
                  : ok;
     }},
    {"quant_not_supported_on_platform", model, "platforms/interface.py:verify_quantization",
     "ROCm takes its own list of quantisation methods.", "another checkpoint, or another GPU",
     [](S s) {
       return !s.quantization.empty() && !platform_supports_quantization(s.n.vendor, s.quantization, s.v)
                  ? wrong("{} quantization is currently not supported in rocm", s.quantization)
                  : ok;
     }},
    {"quant_deprecated", from(model, {0, 15, 0}), kQuant,
     "Deprecated quantisation methods need --allow-deprecated-quantization.", "--allow-deprecated-quantization",
     [](S s) {
       return (s.quantization == "fbgemm_fp8" || s.quantization == "fp_quant") &&
                      !s.a.allow_deprecated_quantization.value_or(false)
                  ? wrong("quantization method {} is deprecated", s.quantization)
                  : ok;
     },
     "The quantization method %s is deprecated and will be removed in future versions of vLLM."},
    {"modelopt_algo_unknown", model | config_json,
     "transformers_utils/model_arch_config_convertor.py:_normalize_quantization_config",
     "The quant_algo of a ModelOpt checkpoint must be one that vLLM knows: FP8 or NVFP4.", "another checkpoint",
     [](L l) {
       return l.m.unknown_modelopt_algo ? wrong("Unknown ModelOpt quant algo: {}", *l.m.unknown_modelopt_algo) : ok;
     },
     "Unknown ModelOpt quant algo: "},

    // ---- features
    {"pp_needs_mp_or_ray", features, "engine/arg_utils.py:_raise_unsupported_error",
     "Pipeline parallelism needs the mp, ray or external_launcher executor.", "--distributed-executor-backend mp",
     [](S s) {
       return s.r.pipeline_parallel_size > 1 && !s.backend.empty() && s.backend != "ray" && s.backend != "mp" &&
                      s.backend != "external_launcher"
                  ? wrong("pipeline_parallel_size {} with executor {}", s.r.pipeline_parallel_size, s.backend)
                  : ok;
     }},

    // ---- launch options
    {"hybrid_lb_headless", options, kArgs, "Hybrid load balancing needs an API server on every node.",
     "drop --headless, or --data-parallel-hybrid-lb",
     [](S s) {
       return s.headless && s.a.data_parallel_hybrid_lb.value_or(false)
                  ? wrong("--data-parallel-hybrid-lb with --headless")
                  : ok;
     }},
    {"hybrid_and_external_lb", options, kArgs, "Hybrid and external load balancing exclude each other.",
     "one of the two",
     [](S s) {
       return s.a.data_parallel_hybrid_lb.value_or(false) && s.a.data_parallel_external_lb.value_or(false)
                  ? wrong("both --data-parallel-hybrid-lb and --data-parallel-external-lb")
                  : ok;
     }},
    {"nnodes_needs_dp_backend_mp", options, kArgs, "--nnodes works with data_parallel_backend mp only.",
     "--data-parallel-backend mp, or --nnodes 1",
     [](S s) {
       return s.nnodes > 1 && s.r.data_parallel_backend != "mp"
                  ? wrong("--nnodes {} with data_parallel_backend {}", s.nnodes, s.r.data_parallel_backend)
                  : ok;
     }},
    {"nnodes_does_not_divide_world", options, kArgs, "--nnodes must divide TP x PP x PCP x DP.",
     "another --nnodes, or other sizes", nnodes_does_not_divide_world},
    {"node_rank_out_of_range", options, kArgs, "--node-rank counts from 0 to nnodes - 1.", "this node's index",
     [](S s) {
       return s.nnodes > 1 && (s.node_rank >= s.nnodes || s.node_rank < 0)
                  ? wrong("--node-rank {} with --nnodes {}", s.node_rank, s.nnodes)
                  : ok;
     }},
    {"external_lb_rank_ambiguous", from(options, {0, 31, 0}), kArgs,
     "A node rank names an external DP rank only if DP divides nnodes.", "--data-parallel-rank on every process",
     [](S s) {
       return s.nnodes > 1 && s.dp_size > 1 && s.a.data_parallel_external_lb.value_or(false) &&
                      !s.a.data_parallel_rank && s.nnodes % s.dp_size != 0
                  ? wrong("--nnodes {} is not divisible by data_parallel_size {}", s.nnodes, s.dp_size)
                  : ok;
     }},
    {"fault_tolerance_needs_external_lb", from(options, {0, 31, 0}), kArgs,
     "Fault tolerance needs external load balancing.", "--data-parallel-external-lb with a rank",
     [](S s) {
       return s.a.enable_fault_tolerance.value_or(false) && !s.is_external_lb_cli
                  ? wrong("fault tolerance without external load balancing")
                  : ok;
     }},
    {"external_lb_dense_model", from(options, {0, 21, 0}), kArgs,
     "External load balancing is for MoE models; dense replicas are independent servers.",
     "one server per replica without --data-parallel-*",
     [](S s) {
       return s.dp_size > 1 && s.is_external_lb_cli && !s.m.is_moe
                  ? wrong("data_parallel_size {} with external load balancing, dense model", s.dp_size)
                  : ok;
     }},
    {"external_lb_needs_rank", options, kArgs, "External load balancing needs this process's rank.",
     "--data-parallel-rank, or --nnodes and --node-rank with a data_parallel_size above 1",
     [](S s) { return s.is_external_lb_cli && !s.dp_rank ? wrong("--data-parallel-external-lb without a rank") : ok; }},
    {"external_lb_local_size_not_1", options, kArgs, "With external load balancing every process is one DP rank.",
     "--data-parallel-size-local 1, or leave it out",
     [](S s) {
       return s.is_external_lb_cli && s.dp_local && *s.dp_local != 1
                  ? wrong("data_parallel_size_local {} with an external rank", *s.dp_local)
                  : ok;
     }},
    {"hybrid_lb_needs_local_size", options, kArgs, "Hybrid load balancing needs the number of local DP ranks.",
     "--data-parallel-size-local",
     [](S s) {
       return !s.is_external_lb_cli && !s.dp_local && s.hybrid_lb
                  ? wrong("--data-parallel-hybrid-lb without --data-parallel-size-local")
                  : ok;
     }},

    // ---- ParallelConfig
    {"external_launcher_needs_rank_env", parallel, kParallel,
     "external_launcher takes its rank from the environment variable RANK.", "start through torchrun",
     [](S s) {
       return s.backend == "external_launcher" && (s.dp_size > 1 || s.r.data_parallel_size_local == 0) &&
                      !s.env.contains("RANK")
                  ? wrong("RANK is not set")
                  : ok;
     }},
    {"elastic_ep_needs_eplb", from(parallel, {0, 16, 0}), kParallel, "Elastic EP needs EPLB.", "--enable-eplb",
     [](S s) {
       return s.a.enable_elastic_ep.value_or(false) && !s.r.enable_eplb ? wrong("elastic EP without EPLB") : ok;
     },
     "Elastic EP is only supported with enable_eplb=True."},
    {"elastic_ep_with_pp", from(parallel, {0, 16, 0}), kParallel, "Elastic EP works without pipeline parallelism only.",
     "--pipeline-parallel-size 1",
     [](S s) {
       return s.a.enable_elastic_ep.value_or(false) && s.r.pipeline_parallel_size > 1
                  ? wrong("elastic EP with pipeline_parallel_size {}", s.r.pipeline_parallel_size)
                  : ok;
     },
     "Elastic EP is not supported with pipeline parallelism"},
    {"elastic_ep_with_load_balancing", from(parallel, {0, 16, 0}), kParallel,
     "Elastic EP does not go with hybrid load balancing, nor with external one before 0.33.",
     "one server without --data-parallel-hybrid-lb",
     [](S s) {
       const bool external = s.r.data_parallel_external_lb && s.v < VllmVersion{0, 33, 0};
       return s.a.enable_elastic_ep.value_or(false) && (s.r.data_parallel_hybrid_lb || external)
                  ? wrong("elastic EP with {} load balancing", s.r.data_parallel_hybrid_lb ? "hybrid" : "external")
                  : ok;
     },
     "Elastic EP is not compatible with data_parallel"},
    {"dp_rank_out_of_range", parallel, kParallel, "A DP rank lies in [0, data_parallel_size).",
     "a smaller rank, or a larger --data-parallel-size",
     [](S s) {
       return (s.dp_size > 1 || s.r.data_parallel_size_local == 0) &&
                      (s.r.data_parallel_rank < 0 || s.r.data_parallel_rank >= s.dp_size)
                  ? wrong("data_parallel_rank {} with data_parallel_size {}", s.r.data_parallel_rank, s.dp_size)
                  : ok;
     }},
    {"offline_dp_dense_model", from(parallel, {0, 14, 1}), kParallel,
     "Offline data parallelism (VLLM_DP_SIZE) is for MoE models.", "independent engines, each with its own GPUs",
     [](S s) {
       return s.dp_size <= 1 && s.r.data_parallel_size_local != 0 && s.r.data_parallel_size > 1 && !s.m.is_moe
                  ? wrong("VLLM_DP_SIZE={} with a dense model", s.r.data_parallel_size)
                  : ok;
     }},
    {"elastic_ep_max_dp_size", from(parallel, {0, 30, 0}), kParallel,
     "Elastic EP starts with at most --elastic-ep-max-dp-size ranks.", "a larger --elastic-ep-max-dp-size",
     [](S s) {
       const auto most = s.a.elastic_ep_max_dp_size;
       return s.a.enable_elastic_ep.value_or(false) && most && *most < s.r.data_parallel_size
                  ? wrong("elastic_ep_max_dp_size {} with data_parallel_size {}", *most, s.r.data_parallel_size)
                  : ok;
     },
     "--elastic-ep-max-dp-size must be greater than or equal to"},
    {"world_size_exceeds_local_gpus", parallel, kParallel,
     "TP x PP x PCP of one engine must fit the node's GPUs unless the executor or --nnodes says otherwise. DP is not "
     "counted. ROCm finds out when the workers start.",
     "fewer GPUs per engine, --distributed-executor-backend ray, or --nnodes", world_size_exceeds_local_gpus},
    {"nnodes_needs_mp_executor", parallel, kParallel,
     "--nnodes works with the mp, uni and external_launcher executors.", "--distributed-executor-backend mp",
     [](S s) {
       const auto& executor = s.r.distributed_executor_backend;
       return s.nnodes > 1 && executor != "mp" && executor != "uni" && executor != "external_launcher"
                  ? wrong("--nnodes {} with executor {}", s.nnodes, executor)
                  : ok;
     }},
    {"dp_local_exceeds_dp", parallel, kParallelValidate, "data_parallel_size_local is at most data_parallel_size.",
     "a smaller --data-parallel-size-local",
     [](S s) {
       return s.r.data_parallel_size_local > s.r.data_parallel_size
                  ? wrong("data_parallel_size_local {} is above data_parallel_size {}", s.r.data_parallel_size_local,
                          s.r.data_parallel_size)
                  : ok;
     }},
    {"external_lb_needs_dp", parallel, kParallelValidate, "External load balancing needs data_parallel_size > 1.",
     "--data-parallel-size, or no rank",
     [](S s) {
       return s.r.data_parallel_size <= 1 && s.r.data_parallel_external_lb
                  ? wrong("external load balancing with data_parallel_size {}", s.r.data_parallel_size)
                  : ok;
     }},
    {"pcp_with_dp", between(parallel | layout, {0, 26, 0}, {0, 30, 0}), kParallelValidate,
     "Prefill context parallelism and data parallelism exclude each other.",
     "--data-parallel-size 1, or --prefill-context-parallel-size 1",
     [](L l) { return l.pcp > 1 && l.dp > 1 ? wrong("PCP {} with DP {}", l.pcp, l.dp) : ok; }},
    {"eplb_needs_ep", parallel | layout, kParallelValidate, "EPLB needs expert parallelism.",
     "--enable-expert-parallel", [](L l) { return l.eplb && !l.ep ? wrong("EPLB without expert parallelism") : ok; }},
    {"eplb_needs_parallelism", parallel | layout, kParallelValidate, "EPLB needs more than one expert rank.",
     "TP, PCP or DP above 1",
     [](L l) {
       const auto pcp = l.v >= VllmVersion{0, 26, 0} ? l.pcp : 1;
       return l.eplb && l.tp * pcp * l.dp <= 1 ? wrong("TP={}, PCP={}, DP={}", l.tp, l.pcp, l.dp) : ok;
     }},
    {"redundant_experts_without_eplb", parallel | layout, kParallelValidate, "Redundant experts need EPLB.",
     "--enable-eplb, or num_redundant_experts 0",
     [](L l) {
       return !l.eplb && l.redundant_experts != 0 ? wrong("num_redundant_experts {} without EPLB", l.redundant_experts)
                                                  : ok;
     }},
    {"dcp_does_not_divide_tp", from(parallel | layout, {0, 16, 0}), kParallelValidate, "Without PCP, DCP divides TP.",
     "a DCP that divides TP",
     [](L l) {
       return (l.v < VllmVersion{0, 26, 0} || l.pcp == 1) && l.tp % l.dcp != 0
                  ? wrong("tp_size={} is not divisible by dcp_size={}", l.tp, l.dcp)
                  : ok;
     }},
    {"dcp_with_pcp_bad_size", from(parallel | layout, {0, 26, 0}), kParallelValidate,
     "With PCP, DCP is 1, PCP or TP x PCP.", "one of these sizes",
     [](L l) {
       return l.pcp > 1 && l.dcp != 1 && l.dcp != l.pcp && l.dcp != l.tp * l.pcp
                  ? wrong("TP={}, PCP={}, DCP={}", l.tp, l.pcp, l.dcp)
                  : ok;
     }},
    {"device_ids_misused", options, "engine/arg_utils.py:_resolve_device_ids",
     "--device-ids are all indices or all UUIDs, each once.", "name each GPU once", device_ids_misused},
    {"ray_not_installed", parallel, "v1/executor/ray_utils.py:assert_ray_available",
     "The ray executor needs the ray package.", "pip install ray, or --distributed-executor-backend mp",
     [](S s) {
       return s.r.distributed_executor_backend == "ray" && !s.n.ray_installed ? wrong("ray is not installed") : ok;
     }},
};

}  // namespace

std::span<const Rule> config_rules() { return kConfigRules; }

}  // namespace shardwise
