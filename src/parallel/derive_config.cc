// How vLLM's values come about up to ParallelConfig: arguments, serve command, model, launch options.
#include <algorithm>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "parallel/python_text.h"
#include "parallel/rule_rows.h"
#include "parallel/weight_options.h"

namespace shardwise {
namespace {

using S = ResolveState;

std::optional<std::int64_t> env_integer(const Environment& env, std::string_view name) {
  const auto it = env.find(name);
  if (it == env.end()) return std::nullopt;
  const auto value = python_int(it->second).value_or(0);
  if (value < 0 || value > kMostGpus)
    throw InputError("--env", 0, std::string(name), it->second.substr(0, 40) + " is out of range",
                     "from 0 to " + std::to_string(kMostGpus));
  return value;
}

void read_compilation(S& s, const std::string& text) {
  const Json c = Json::parse(text, nullptr, false);
  if (!c.is_object()) return;
  if (const auto it = c.find("mode"); it != c.end()) {
    static const std::string_view names[] = {"NONE", "STOCK_TORCH_COMPILE", "DYNAMO_TRACE_ONCE", "VLLM_COMPILE"};
    if (it->is_number_integer())
      s.compile_mode = it->get<std::int64_t>();
    else if (it->is_string()) {
      auto name = it->get<std::string>();
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char ch) { return static_cast<char>(std::toupper(ch)); });
      for (int i = 0; i < 4; ++i)
        if (name == names[i]) s.compile_mode = i;
    }
  }
  if (const auto it = c.find("cudagraph_mode"); it != c.end() && it->is_string()) {
    s.compile_cudagraph_mode = it->get<std::string>();
    for (auto& ch : s.compile_cudagraph_mode) ch = static_cast<char>(std::toupper(static_cast<unsigned char>(ch)));
  }
  if (const auto it = c.find("cudagraph_capture_sizes"); it != c.end() && it->is_array()) {
    s.capture_sizes.emplace();
    for (const auto& size : *it)
      if (const auto number = size.is_string() ? python_int(size.get<std::string>()) : integer_of(size))
        s.capture_sizes->push_back(*number);
  }
  if (const auto it = c.find("max_cudagraph_capture_size"); it != c.end() && it->is_number_integer())
    s.max_capture_size = it->get<std::int64_t>();
}

void derive_arguments(S& s) {
  auto& r = s.r;
  const auto& a = s.a;
  r.version = s.v;
  r.tensor_parallel_size = a.tensor_parallel_size.value_or(1);
  r.pipeline_parallel_size = a.pipeline_parallel_size.value_or(1);
  r.prefill_context_parallel_size = a.prefill_context_parallel_size.value_or(1);
  r.decode_context_parallel_size = a.decode_context_parallel_size.value_or(1);
  r.enable_expert_parallel = a.enable_expert_parallel.value_or(false);
  r.enable_eplb = a.enable_eplb.value_or(false);
  r.expert_placement_strategy = a.expert_placement_strategy.value_or("linear");
  r.all2all_backend = a.all2all_backend.value_or("allgather_reducescatter");
  r.data_parallel_backend = a.data_parallel_backend.value_or("mp");
  s.dp_size = r.data_parallel_size = a.data_parallel_size.value_or(1);
  s.dp_rank = a.data_parallel_rank;
  s.dp_local = a.data_parallel_size_local;
  s.nnodes = a.nnodes.value_or(1);
  s.node_rank = a.node_rank.value_or(0);
  s.backend = a.distributed_executor_backend.value_or("");
  s.served = s.mode == EntryMode::serve;
  s.headless = s.served && a.headless.value_or(false);
  s.eplb_use_async = s.v >= VllmVersion{0, 23, 0};
  if (a.eplb_config) {
    const Json c = Json::parse(*a.eplb_config, nullptr, false);
    if (c.is_object()) {
      r.num_redundant_experts = integer_at(c, "num_redundant_experts").value_or(0);
      s.eplb_use_async = bool_at(c, "use_async").value_or(s.eplb_use_async);
      s.eplb_policy = text_at(c, "policy").value_or("default");
      s.eplb_communicator_given = c.contains("communicator");
      if (const auto it = c.find("communicator"); it != c.end() && it->is_string())
        s.eplb_communicator = it->get<std::string>();
    }
  }
  if (a.compilation_config) read_compilation(s, *a.compilation_config);
  if (a.cudagraph_capture_sizes) s.capture_sizes = a.cudagraph_capture_sizes;
  if (a.max_cudagraph_capture_size) s.max_capture_size = a.max_cudagraph_capture_size;
  if (a.speculative_config || a.spec_method || a.spec_model || a.spec_tokens) {
    s.has_spec = true;
    const Json c = a.speculative_config ? Json::parse(*a.speculative_config, nullptr, false) : Json::object();
    if (c.is_object()) {
      s.spec_method = text_at(c, "method").value_or("");
      s.spec_model = text_at(c, "model").value_or("");
      for (const char* key : {"num_speculative_tokens", "num-speculative-tokens"})
        if (const auto it = c.find(key); it != c.end() && it->is_number_integer())
          s.spec_tokens = it->get<std::int64_t>();
    }
    if (a.spec_method) s.spec_method = *a.spec_method;
    if (a.spec_model) s.spec_model = *a.spec_model;
    if (a.spec_tokens) s.spec_tokens = a.spec_tokens;
  }
}

void derive_serve(S& s) {
  const auto& a = s.a;
  s.is_external_lb_cli = a.data_parallel_external_lb.value_or(false) || a.data_parallel_rank.has_value();
  s.is_multi_port = a.data_parallel_multi_port_external_lb.value_or(false);
  s.hybrid_lb = a.data_parallel_hybrid_lb.value_or(false);
  const bool start_given = a.data_parallel_start_rank.has_value();
  s.is_hybrid_lb_cli = s.hybrid_lb || (!s.is_multi_port && start_given);
  if (!s.served) {
    s.is_hybrid_lb_cli = false;
    return;
  }
  s.api_server_count = a.api_server_count;
  if (s.headless) s.api_server_count = 0;
  if (!s.api_server_count) {
    if (s.is_multi_port || s.is_external_lb_cli)
      s.api_server_count = 1;
    else if (s.is_hybrid_lb_cli)
      s.api_server_count = a.data_parallel_size_local.value_or(0) ? *a.data_parallel_size_local : 1;
    else
      s.api_server_count = s.dp_size;
  }
  if (a.enable_elastic_ep.value_or(false) && *s.api_server_count > 1) s.api_server_count = 1;
  if (*s.api_server_count < 1) s.headless = true;
}

void derive_model(S& s) {
  auto& r = s.r;
  r.is_moe = s.m.is_moe;
  r.num_hidden_layers = s.m.num_hidden_layers;
  const bool bf16 = generation_of(s.n).bfloat16;
  const bool no_fp16 = s.m.model_type == "gemma2" || s.m.model_type == "gemma3" || s.m.model_type == "gemma3_text" ||
                       s.m.model_type == "glm4";
  const std::string asked = to_lower(s.a.dtype.value_or("auto"));
  if (asked == "auto") {
    std::string dtype = s.m.dtype == "half" ? "float16" : s.m.dtype == "float" ? "float32" : s.m.dtype;
    const std::string preferred = bf16 ? "bfloat16" : no_fp16 ? "float32" : "float16";
    if (dtype == "float32") dtype = preferred;
    const bool supported = (dtype == "bfloat16" && bf16) || (dtype == "float16" && !no_fp16) || dtype == "float32";
    s.dtype = supported ? dtype : preferred;
  } else {
    s.dtype = asked == "half" ? "float16" : asked == "float" ? "float32" : asked;
  }
  r.dtype = s.dtype;
  const auto asked_len = s.a.max_model_len.value_or(-1);
  if (asked_len == -1) {
    r.max_model_len = s.m.default_max_model_len.value_or(2048);
    r.auto_fit_max_model_len = s.a.max_model_len.has_value();
    if (s.a.max_model_len && !s.m.derived_max_model_len) r.max_model_len = -1;
    if (s.a.disable_sliding_window.value_or(false) && s.m.sliding_window)
      r.max_model_len = std::min(r.max_model_len, *s.m.sliding_window);
  } else {
    r.max_model_len = asked_len;
  }
  s.user_quantization = to_lower(s.a.quantization.value_or(""));
  const auto choice = resolve_quantization(s.m, s.user_quantization, s.v);
  s.quantization = choice.method;
  s.quantization_overridden = choice.overridden;
  if (!s.quantization.empty()) {
    r.quantization = s.quantization;
    s.quantization_method = find_quantization(s.quantization, s.v);
  }
  r.offload = offload_config(s.a, s.v);
  r.lora = lora_config(s.a, s.dtype);
  r.max_image_pixels = max_image_pixels(s.a);
  r.enforce_eager = s.a.enforce_eager.value_or(false) || (s.n.rocm() && s.m.is_encoder_decoder);
  r.language_model_only = s.a.language_model_only.value_or(false);
}

void derive_features(S& s) {
  auto& r = s.r;
  r.enable_chunked_prefill = s.a.enable_chunked_prefill.value_or(!s.m.is_encoder_decoder);
  const bool prefix_default =
      !s.m.is_attention_free && !s.m.is_encoder_decoder && (!s.m.is_hybrid || s.v >= VllmVersion{0, 28, 0});
  r.enable_prefix_caching = s.a.enable_prefix_caching.value_or(prefix_default);
  r.cache_dtype = s.a.kv_cache_dtype.value_or("auto");
  if (r.cache_dtype == "auto") r.cache_dtype = s.m.kv_cache_dtype;
  r.block_size = s.a.block_size.value_or(16);
  r.block_size_given = s.a.block_size.has_value();
  r.mamba_block_size = s.a.mamba_block_size;
  // From 0.33 on the mode follows prefix caching, whatever the argument says.
  r.mamba_cache_mode = s.v < VllmVersion{0, 33, 0} ? s.a.mamba_cache_mode.value_or("none") : "none";
  if (s.v < VllmVersion{0, 18, 0} && !r.block_size_given && s.m.is_mla)
    r.block_size = generation_of(s.n).mla_block_size;
  r.gpu_memory_utilization = s.a.gpu_memory_utilization.value_or(s.v >= VllmVersion{0, 20, 0} ? 0.92 : 0.9);
  r.kv_cache_memory_bytes = s.a.kv_cache_memory_bytes;
}

void derive_options(S& s) {
  auto& r = s.r;
  const auto& a = s.a;
  s.inferred_dp_rank = 0;
  // The supervisor starts one external-LB server for each local rank (dp_supervisor.py); this is the first of them.
  if (s.is_multi_port && s.served) {
    s.dp_rank = a.data_parallel_start_rank.value_or(s.node_rank * a.data_parallel_size_local.value_or(0));
    s.dp_local = 1;
  }
  if (s.nnodes > 1) {
    const auto pcp = s.v >= VllmVersion{0, 30, 0} ? r.prefill_context_parallel_size : 1;
    const auto within = r.tensor_parallel_size * r.pipeline_parallel_size * pcp;
    const auto local_world = s.dp_size * within / s.nnodes;
    s.inferred_dp_rank = within ? s.node_rank * local_world / within : 0;
    if (s.dp_size > 1 && a.data_parallel_external_lb.value_or(false)) {
      if (!s.dp_rank) s.dp_rank = s.inferred_dp_rank;
    } else if (!s.dp_local) {
      s.dp_local = std::max<std::int64_t>(within ? local_world / within : 1, 1);
    }
  }
  s.external_lb = a.data_parallel_external_lb.value_or(false) || s.dp_rank.has_value();
  s.is_external_lb_cli = s.external_lb;
  if (s.external_lb) {
    r.data_parallel_size_local = 1;
    s.hybrid_lb = false;
  } else if (s.dp_local) {
    r.data_parallel_size_local = *s.dp_local;
    // A start rank of 0 counts as given from 0.28 on.
    const bool start_given =
        a.data_parallel_start_rank && (s.v >= VllmVersion{0, 28, 0} || *a.data_parallel_start_rank != 0);
    if (start_given && !s.headless) s.hybrid_lb = true;
    if (s.hybrid_lb && *s.dp_local == 1) s.external_lb = true, s.hybrid_lb = false;
    if (*s.dp_local == s.dp_size) s.hybrid_lb = false;
    s.dp_rank = start_given ? *a.data_parallel_start_rank : s.inferred_dp_rank;
  } else {
    const auto it = s.env.find("VLLM_RAY_DP_PACK_STRATEGY");
    const bool span = r.data_parallel_backend == "ray" && it != s.env.end() && it->second == "span";
    r.data_parallel_size_local = span ? 1 : s.dp_size;
  }
  if (a.data_parallel_address)
    r.data_parallel_master_ip = *a.data_parallel_address;
  else if (r.data_parallel_backend == "ray")
    r.data_parallel_master_ip = s.n.host_ip;
  else
    r.data_parallel_master_ip = a.master_addr.value_or("127.0.0.1");
  r.data_parallel_external_lb = s.external_lb;
  r.data_parallel_hybrid_lb = s.hybrid_lb;
  r.data_parallel_rank = s.dp_rank.value_or(0);
}

void derive_parallel(S& s) {
  auto& r = s.r;
  r.nnodes = s.nnodes;
  r.node_rank = s.node_rank;
  r.cp_kv_cache_interleave_size = s.a.cp_kv_cache_interleave_size.value_or(1);
  // Until 0.26 several nodes turned the custom all-reduce off.
  r.disable_custom_all_reduce = s.a.disable_custom_all_reduce.value_or(false) ||
                                (s.nnodes > 1 && s.v < VllmVersion{0, 27, 0}) || !generation_of(s.n).custom_all_reduce;
  const bool launcher = s.backend == "external_launcher";
  r.world_size = s.world() * (launcher ? s.dp_size : 1);
  if (s.dp_size > 1 || r.data_parallel_size_local == 0) {
    if (launcher) {
      const auto rank = env_integer(s.env, "RANK");
      if (rank && s.dp_size >= 1) r.data_parallel_rank = *rank / std::max<std::int64_t>(r.world_size / s.dp_size, 1);
    }
  } else {
    r.data_parallel_size = env_integer(s.env, "VLLM_DP_SIZE").value_or(1);
    r.data_parallel_rank = env_integer(s.env, "VLLM_DP_RANK").value_or(0);
    r.data_parallel_rank_local = env_integer(s.env, "VLLM_DP_RANK_LOCAL").value_or(r.data_parallel_rank);
    const auto ip = s.env.find("VLLM_DP_MASTER_IP");
    r.data_parallel_master_ip = ip == s.env.end() ? "127.0.0.1" : ip->second;
  }
  r.world_size_across_dp = r.world_size * r.data_parallel_size;
  // Before 0.17.1 the world of one replica decided between one process and several.
  const auto counted = s.v >= VllmVersion{0, 17, 1} ? r.world_size_across_dp : r.world_size;
  if (!s.backend.empty())
    r.distributed_executor_backend = s.backend;
  else if (counted > 1)
    r.distributed_executor_backend = r.data_parallel_backend == "ray" && (s.nnodes == 1 || !s.n.cuda()) ? "ray" : "mp";
  else
    r.distributed_executor_backend = "uni";
  if (r.all2all_backend == "pplx" && s.v >= VllmVersion{0, 17, 1}) r.all2all_backend = "allgather_reducescatter";
  if (r.all2all_backend == "naive" && s.v >= VllmVersion{0, 19, 0}) r.all2all_backend = "allgather_reducescatter";
  if (r.enable_eplb) {
    if (!s.eplb_communicator.empty())
      r.eplb_communicator = s.eplb_communicator;
    else if (s.v < VllmVersion{0, 22, 1})
      r.eplb_communicator = s.eplb_use_async ? "torch_gloo" : "torch_nccl";
    else
      r.eplb_communicator = s.n.nixl_installed                      ? "nixl"
                            : s.a.enable_elastic_ep.value_or(false) ? "pynccl"
                                                                    : "torch_gloo";
  }
}

}  // namespace

void derive_config(Phase phase, ResolveState& s) {
  switch (phase) {
    case Phase::arguments:
      return derive_arguments(s);
    case Phase::serve:
      return derive_serve(s);
    case Phase::model:
      return derive_model(s);
    case Phase::features:
      return derive_features(s);
    case Phase::options:
      return derive_options(s);
    case Phase::parallel:
      return derive_parallel(s);
    default:
      return;
  }
}

}  // namespace shardwise
