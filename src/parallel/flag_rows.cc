#include <unordered_map>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"
#include "parallel/engine_args.h"

namespace shardwise {
namespace {

using A = EngineArgs;
using K = FlagKind;

constexpr VllmVersion always{0, 0, 0}, v0_18{0, 18, 1}, v0_22{0, 22, 1}, never_gone{99, 0, 0};

std::vector<FlagRow> used_rows() {
  return {
      {"model", {}, K::text, &A::model, always, never_gone, "Model to serve; also the positional argument."},
      {"tensor_parallel_size", {"-tp"}, K::integer, &A::tensor_parallel_size, always, never_gone, "GPUs that share every layer."},
      {"pipeline_parallel_size", {"-pp"}, K::integer, &A::pipeline_parallel_size, always, never_gone, "Stages of consecutive layers."},
      {"prefill_context_parallel_size", {"-pcp"}, K::integer, &A::prefill_context_parallel_size, always, never_gone, "Ranks that split a prompt during prefill."},
      {"decode_context_parallel_size", {"-dcp"}, K::integer, &A::decode_context_parallel_size, always, never_gone, "Ranks that split the KV cache by token; reuses TP ranks."},
      {"data_parallel_size", {"-dp"}, K::integer, &A::data_parallel_size, always, never_gone, "Copies of the attention part (MoE) or of the whole model (dense)."},
      {"enable_expert_parallel", {"-ep"}, K::boolean, &A::enable_expert_parallel, always, never_gone, "Spread whole experts over TP x PCP x DP ranks."},
      {"enable_eplb", {}, K::boolean, &A::enable_eplb, always, never_gone, "Balance experts by measured load."},
      {"eplb_config", {}, K::json, &A::eplb_config, always, never_gone, "num_redundant_experts, window_size, step_interval, communicator ..."},
      {"expert_placement_strategy", {}, K::text, &A::expert_placement_strategy, always, never_gone, "linear or round_robin."},
      {"all2all_backend", {}, K::text, &A::all2all_backend, always, never_gone, "Kernels that exchange tokens between expert ranks."},
      {"dcp_comm_backend", {}, K::text, &A::dcp_comm_backend, v0_18, never_gone, "ag_rs or a2a."},
      {"dcp_q_replicate", {}, K::boolean, &A::dcp_q_replicate, {0, 29, 0}, never_gone, "Replicate the query projection inside a DCP group."},
      {"cp_kv_cache_interleave_size", {}, K::integer, &A::cp_kv_cache_interleave_size, always, never_gone, "Consecutive tokens kept on one context-parallel rank."},
      {"dcp_kv_cache_interleave_size", {}, K::integer, &A::dcp_kv_cache_interleave_size, always, never_gone, "Older name of cp_kv_cache_interleave_size."},
      {"enable_elastic_ep", {}, K::boolean, &A::enable_elastic_ep, always, never_gone, "Change the number of expert ranks while serving."},
      {"elastic_ep_max_dp_size", {}, K::integer, &A::elastic_ep_max_dp_size, always, never_gone, "Largest DP size under elastic EP."},
      {"enable_dbo", {}, K::boolean, &A::enable_dbo, always, never_gone, "Overlap two halves of a batch."},
      {"ubatch_size", {}, K::integer, &A::ubatch_size, always, never_gone, "Micro-batches of a step."},
      {"distributed_executor_backend", {}, K::text, &A::distributed_executor_backend, always, never_gone, "mp, ray, uni or external_launcher."},
      {"nnodes", {"-n"}, K::integer, &A::nnodes, always, never_gone, "Nodes of a multi-node launch without Ray."},
      {"node_rank", {"-r"}, K::integer, &A::node_rank, always, never_gone, "This node's index, from 0."},
      {"master_addr", {}, K::text, &A::master_addr, always, never_gone, "Address of node 0."},
      {"master_port", {}, K::integer, &A::master_port, always, never_gone, "Port of node 0."},
      {"data_parallel_rank", {"-dpn"}, K::integer, &A::data_parallel_rank, always, never_gone, "This process's DP rank; implies external load balancing."},
      {"data_parallel_start_rank", {"-dpr"}, K::integer, &A::data_parallel_start_rank, always, never_gone, "First DP rank on this node."},
      {"data_parallel_size_local", {"-dpl"}, K::integer, &A::data_parallel_size_local, always, never_gone, "DP ranks on this node."},
      {"data_parallel_address", {"-dpa"}, K::text, &A::data_parallel_address, always, never_gone, "Address of the node with DP rank 0."},
      {"data_parallel_rpc_port", {"-dpp"}, K::integer, &A::data_parallel_rpc_port, always, never_gone, "Port for DP start-up."},
      {"data_parallel_backend", {"-dpb"}, K::text, &A::data_parallel_backend, always, never_gone, "mp or ray."},
      {"data_parallel_hybrid_lb", {"-dph"}, K::boolean, &A::data_parallel_hybrid_lb, always, never_gone, "Balance inside a node, and outside between nodes."},
      {"data_parallel_external_lb", {"-dpe"}, K::boolean, &A::data_parallel_external_lb, always, never_gone, "One server per DP rank; balancing is outside."},
      {"data_parallel_multi_port_external_lb", {"-dpm"}, K::boolean, &A::data_parallel_multi_port_external_lb, v0_22, never_gone, "One server and port per local DP rank."},
      {"device_ids", {}, K::text_list, &A::device_ids, always, never_gone, "GPUs to use, in order."},
      {"headless", {}, K::present, &A::headless, always, never_gone, "No API server on this node."},
      {"api_server_count", {"-asc"}, K::integer, &A::api_server_count, always, never_gone, "API server processes."},
      {"disable_custom_all_reduce", {}, K::boolean, &A::disable_custom_all_reduce, always, never_gone, "Use NCCL for every all-reduce."},
      {"enable_fault_tolerance", {}, K::boolean, &A::enable_fault_tolerance, always, never_gone, "Survive the loss of DP ranks."},

      {"max_model_len", {}, K::length, &A::max_model_len, always, never_gone, "Longest prompt plus output in tokens; -1 or auto fits it to memory."},
      {"dtype", {}, K::text, &A::dtype, always, never_gone, "auto, bfloat16, float16, float32."},
      {"quantization", {"-q"}, K::text, &A::quantization, always, never_gone, "Quantisation method; the checkpoint's own by default."},
      {"hf_overrides", {}, K::json, &A::hf_overrides, always, never_gone, "Fields of config.json to replace."},
      {"runner", {}, K::text, &A::runner, always, never_gone, "auto, generate, pooling, draft."},
      {"load_format", {}, K::text, &A::load_format, always, never_gone, "How weights are read."},
      {"enforce_eager", {}, K::boolean, &A::enforce_eager, always, never_gone, "No compilation, no CUDA graphs."},
      {"disable_sliding_window", {}, K::boolean, &A::disable_sliding_window, always, never_gone, "Full attention; the window caps max_model_len."},
      {"language_model_only", {}, K::boolean, &A::language_model_only, always, never_gone, "Do not load vision or audio towers."},
      {"allow_deprecated_quantization", {}, K::boolean, &A::allow_deprecated_quantization, always, never_gone, "Accept deprecated methods."},
      {"enable_lora", {}, K::boolean, &A::enable_lora, always, never_gone, "LoRA adapters."},
      {"max_loras", {}, K::integer, &A::max_loras, always, never_gone, "Adapters in one batch."},
      {"max_lora_rank", {}, K::integer, &A::max_lora_rank, always, never_gone, "Largest adapter rank."},
      {"trust_remote_code", {}, K::boolean, &A::trust_remote_code, always, never_gone, "Run the checkpoint's own code."},
      {"enable_sleep_mode", {}, K::boolean, &A::enable_sleep_mode, always, never_gone, "Engine can release GPU memory."},
      {"skip_tokenizer_init", {}, K::boolean, &A::skip_tokenizer_init, always, never_gone, "Token ids in, token ids out."},
      {"limit_mm_per_prompt", {}, K::json, &A::limit_mm_per_prompt, always, never_gone, "Items per modality and prompt."},
      {"mm_encoder_tp_mode", {}, K::text, &A::mm_encoder_tp_mode, always, never_gone, "weights (sharded) or data (replicated)."},

      {"block_size", {}, K::integer, &A::block_size, always, never_gone, "Tokens of a KV block; the backend's choice by default."},
      {"gpu_memory_utilization", {"--device-memory-utilization"}, K::number, &A::gpu_memory_utilization, always, never_gone, "Share of GPU memory that the engine may use."},
      {"kv_cache_memory_bytes", {}, K::human_integer, &A::kv_cache_memory_bytes, always, never_gone, "KV cache per GPU, instead of gpu_memory_utilization."},
      {"kv_cache_dtype", {}, K::text, &A::kv_cache_dtype, always, never_gone, "auto, bfloat16, fp8, fp8_e4m3, fp8_e5m2 ..."},
      {"num_gpu_blocks_override", {}, K::integer, &A::num_gpu_blocks_override, always, never_gone, "Blocks, instead of profiling."},
      {"enable_prefix_caching", {}, K::boolean, &A::enable_prefix_caching, always, never_gone, "Reuse KV blocks of equal prefixes."},
      {"mamba_block_size", {}, K::integer, &A::mamba_block_size, always, never_gone, "Tokens of a state block."},
      {"mamba_cache_mode", {}, K::text, &A::mamba_cache_mode, always, never_gone, "none, align (all before 0.32)."},
      {"mamba_cache_dtype", {}, K::text, &A::mamba_cache_dtype, always, never_gone, "Type of the convolution state."},
      {"mamba_ssm_cache_dtype", {}, K::text, &A::mamba_ssm_cache_dtype, always, never_gone, "Type of the recurrent state."},
      {"disable_hybrid_kv_cache_manager", {}, K::boolean, &A::disable_hybrid_kv_cache_manager, always, never_gone, "One block table for all kinds of layer."},
      {"cpu_offload_gb", {}, K::number, &A::cpu_offload_gb, always, never_gone, "Weights kept in host memory, GiB per GPU."},
      {"kv_offloading_size", {}, K::number, &A::kv_offloading_size, always, never_gone, "Host KV buffer, GiB."},
      {"swap_space", {}, K::number, &A::swap_space, always, v0_18, "Host swap, GiB per GPU."},

      {"max_num_batched_tokens", {}, K::human_integer, &A::max_num_batched_tokens, always, never_gone, "Tokens of one step."},
      {"max_num_seqs", {}, K::integer, &A::max_num_seqs, always, never_gone, "Requests running at once, per engine."},
      {"max_num_scheduled_tokens", {}, K::human_integer, &A::max_num_scheduled_tokens, always, never_gone, "Tokens the scheduler hands out in one step."},
      {"max_num_active_seqs", {}, K::integer, &A::max_num_active_seqs, {0, 31, 0}, never_gone, "Requests admitted, below max_num_seqs."},
      {"long_prefill_token_threshold", {}, K::integer, &A::long_prefill_token_threshold, always, never_gone, "Cap of one prompt's share of a step."},
      {"enable_chunked_prefill", {}, K::boolean, &A::enable_chunked_prefill, always, never_gone, "Split prompts over steps."},
      {"disable_chunked_mm_input", {}, K::boolean, &A::disable_chunked_mm_input, always, never_gone, "Schedule an image whole."},
      {"async_scheduling", {}, K::boolean, &A::async_scheduling, always, never_gone, "Schedule the next step while one runs."},
      {"scheduling_policy", {}, K::text, &A::scheduling_policy, always, never_gone, "fcfs or priority."},
      {"speculative_config", {"-sc"}, K::json, &A::speculative_config, always, never_gone, "method, num_speculative_tokens, model ..."},
      {"spec_method", {}, K::text, &A::spec_method, {0, 29, 0}, never_gone, "Same as speculative_config.method."},
      {"spec_model", {}, K::text, &A::spec_model, {0, 29, 0}, never_gone, "Same as speculative_config.model."},
      {"spec_tokens", {}, K::integer, &A::spec_tokens, {0, 29, 0}, never_gone, "Same as speculative_config.num_speculative_tokens."},
      {"cudagraph_capture_sizes", {}, K::integer_list, &A::cudagraph_capture_sizes, always, never_gone, "Batch sizes to capture, in tokens."},
      {"max_cudagraph_capture_size", {}, K::integer, &A::max_cudagraph_capture_size, always, never_gone, "Largest captured batch, in tokens."},
      {"compilation_config", {"-cc"}, K::json, &A::compilation_config, always, never_gone, "mode, cudagraph_mode, cudagraph_capture_sizes ..."},
      {"optimization_level", {"-O"}, K::integer, &A::optimization_level, always, never_gone, "0 (nothing) to 3."},
      {"performance_mode", {}, K::text, &A::performance_mode, {0, 17, 1}, never_gone, "balanced, interactivity, throughput."},
      {"attention_config", {"-ac"}, K::json, &A::attention_config, always, never_gone, "backend, flash_attn_version ..."},
      {"attention_backend", {}, K::text, &A::attention_backend, always, never_gone, "Attention kernels."},
      {"moe_backend", {}, K::text, &A::moe_backend, always, never_gone, "Expert kernels."},
      {"kv_transfer_config", {}, K::json, &A::kv_transfer_config, always, never_gone, "KV connector (disaggregation, offload)."},
  };
}

FlagKind kind_of(std::string_view word) {
  if (word == "integer") return K::integer;
  if (word == "human_integer") return K::human_integer;
  if (word == "number") return K::number;
  if (word == "boolean") return K::boolean;
  if (word == "present") return K::present;
  if (word == "json") return K::json;
  if (word == "text_list") return K::text_list;
  if (word == "integer_list") return K::integer_list;
  if (word == "optional_text") return K::optional_text;
  return K::text;
}

std::vector<FlagRow> all_rows() {
  auto rows = used_rows();
  const auto text = embedded_file("vllm/flags_not_used.csv").value_or("");
  bool header = true;
  for (const auto& line : split(text, '\n')) {
    if (line.empty() || line[0] == '#') continue;
    if (std::exchange(header, false)) continue;
    const auto cells = split(line, ',');
    FlagRow row;
    row.name = cells[0];
    row.kind = kind_of(cells[1]);
    if (!cells[2].empty()) row.aliases = split(cells[2], ' ');
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

const std::vector<FlagRow>& flag_rows() {
  static const std::vector<FlagRow> rows = all_rows();
  return rows;
}

const FlagRow* find_flag(std::string_view name) {
  static const auto* index = [] {
    auto* map = new std::unordered_map<std::string_view, const FlagRow*>;
    for (const auto& row : flag_rows()) map->emplace(row.name, &row);
    return map;
  }();
  if (const auto it = index->find(name); it != index->end()) return it->second;
  if (name.find('-') == std::string_view::npos) return nullptr;
  std::string underscored(name);
  for (auto& c : underscored)
    if (c == '-') c = '_';
  const auto it = index->find(underscored);
  return it == index->end() ? nullptr : it->second;
}

}  // namespace shardwise
