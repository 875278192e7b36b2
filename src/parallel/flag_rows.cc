#include <algorithm>
#include <unordered_map>

#include "parallel/parser_table.h"

namespace shardwise {
namespace {

using A = EngineArgs;
using P = FlagPart;

/// An argument that something is computed from. How it is written and which versions have it: data/vllm/arguments.csv.
struct UsedFlag {
  std::string_view name;
  FlagPart part;
  FlagMember member;
  std::string_view doc;
  FlagRange range = {};
};

constexpr FlagRange kSize{1, 1 << 20}, kCount{0, 1 << 20}, kPort{1, 65535}, kServers{-1, 65536}, kLevel{0, 1 << 20};
constexpr FlagRange kTokens{1, 1 << 30}, kTokens0{0, 1 << 30}, kLength{-1, 1 << 30}, kGraph{0, 1 << 20},
    kDraft{0, 1024};
constexpr FlagRange kShare{0, 1 << 20};
constexpr FlagRange kMemory{0, 1e15};  // bytes of one GPU
constexpr FlagRange kHostGib{0, 1e6};  // of one server

// clang-format off
constexpr UsedFlag kUsed[] = {
    {"model",                                  P::model,   &A::model,                                   "Model to serve; also the positional argument."},
    {"tensor_parallel_size",                   P::layout,  &A::tensor_parallel_size,                    "GPUs that share every layer.", kSize},
    {"pipeline_parallel_size",                 P::layout,  &A::pipeline_parallel_size,                  "Stages of consecutive layers.", kSize},
    {"prefill_context_parallel_size",          P::layout,  &A::prefill_context_parallel_size,           "Ranks that split a prompt during prefill.", kSize},
    {"decode_context_parallel_size",           P::layout,  &A::decode_context_parallel_size,            "Ranks that split the KV cache by token; reuses TP ranks.", kSize},
    {"data_parallel_size",                     P::layout,  &A::data_parallel_size,                      "Copies of the attention part (MoE) or of the whole model (dense).", kSize},
    {"enable_expert_parallel",                 P::layout,  &A::enable_expert_parallel,                  "Spread whole experts over TP x PCP x DP ranks."},
    {"enable_eplb",                            P::layout,  &A::enable_eplb,                             "Balance experts by measured load."},
    {"eplb_config",                            P::layout,  &A::eplb_config,                             "num_redundant_experts, window_size, step_interval, communicator ..."},
    {"expert_placement_strategy",              P::layout,  &A::expert_placement_strategy,               "linear or round_robin."},
    {"all2all_backend",                        P::layout,  &A::all2all_backend,                         "Kernels that exchange tokens between expert ranks."},
    {"dcp_comm_backend",                       P::engine,  &A::dcp_comm_backend,                        "ag_rs or a2a."},
    {"dcp_q_replicate",                        P::engine,  &A::dcp_q_replicate,                         "Replicate the query projection inside a DCP group."},
    {"cp_kv_cache_interleave_size",            P::engine,  &A::cp_kv_cache_interleave_size,             "Consecutive tokens kept on one context-parallel rank.", kTokens},
    {"dcp_kv_cache_interleave_size",           P::engine,  &A::dcp_kv_cache_interleave_size,            "Older name of cp_kv_cache_interleave_size.", kTokens},
    {"enable_elastic_ep",                      P::layout,  &A::enable_elastic_ep,                       "Change the number of expert ranks while serving."},
    {"elastic_ep_max_dp_size",                 P::layout,  &A::elastic_ep_max_dp_size,                  "Largest DP size under elastic EP.", kSize},
    {"enable_dbo",                             P::layout,  &A::enable_dbo,                              "Overlap two halves of a batch."},
    {"ubatch_size",                            P::layout,  &A::ubatch_size,                             "Micro-batches of a step.", kCount},
    {"dbo_decode_token_threshold",             P::layout,  &A::dbo_decode_token_threshold,              "Tokens from which a step of decodes is split.", kTokens0},
    {"dbo_prefill_token_threshold",            P::layout,  &A::dbo_prefill_token_threshold,             "Tokens from which any other step is split.", kTokens0},
    {"distributed_executor_backend",           P::engine,  &A::distributed_executor_backend,            "mp, ray, uni or external_launcher."},
    {"nnodes",                                 P::node,    &A::nnodes,                                  "Nodes of a multi-node launch without Ray.", kSize},
    {"node_rank",                              P::node,    &A::node_rank,                               "This node's index, from 0.", kCount},
    {"master_addr",                            P::node,    &A::master_addr,                             "Address of node 0."},
    {"master_port",                            P::node,    &A::master_port,                             "Port of node 0.", kPort},
    {"data_parallel_rank",                     P::node,    &A::data_parallel_rank,                      "This process's DP rank; implies external load balancing.", kCount},
    {"data_parallel_start_rank",               P::node,    &A::data_parallel_start_rank,                "First DP rank on this node.", kCount},
    {"data_parallel_size_local",               P::node,    &A::data_parallel_size_local,                "DP ranks on this node.", kCount},
    {"data_parallel_address",                  P::node,    &A::data_parallel_address,                   "Address of the node with DP rank 0."},
    {"data_parallel_rpc_port",                 P::node,    &A::data_parallel_rpc_port,                  "Port for DP start-up.", kPort},
    {"data_parallel_backend",                  P::engine,  &A::data_parallel_backend,                   "mp or ray."},
    {"data_parallel_hybrid_lb",                P::node,    &A::data_parallel_hybrid_lb,                 "Balance inside a node, and outside between nodes."},
    {"data_parallel_external_lb",              P::node,    &A::data_parallel_external_lb,               "One server per DP rank; balancing is outside."},
    {"data_parallel_multi_port_external_lb",   P::node,    &A::data_parallel_multi_port_external_lb,    "One server and port per local DP rank."},
    {"device_ids",                             P::node,    &A::device_ids,                              "GPUs to use, in order."},
    {"headless",                               P::node,    &A::headless,                                "No API server on this node."},
    {"api_server_count",                       P::server,  &A::api_server_count,                        "API server processes.", kServers},
    {"disable_custom_all_reduce",              P::engine,  &A::disable_custom_all_reduce,               "Use NCCL for every all-reduce."},
    {"enable_fault_tolerance",                 P::engine,  &A::enable_fault_tolerance,                  "Survive the loss of DP ranks."},

    {"max_model_len",                          P::engine,  &A::max_model_len,                           "Longest prompt plus output in tokens; -1 or auto fits it to memory.", kLength},
    {"dtype",                                  P::model,   &A::dtype,                                   "auto, bfloat16, float16, float32."},
    {"quantization",                           P::model,   &A::quantization,                            "Quantisation method; the checkpoint's own by default."},
    {"hf_overrides",                           P::model,   &A::hf_overrides,                            "Fields of config.json to replace."},
    {"runner",                                 P::model,   &A::runner,                                  "auto, generate, pooling, draft."},
    {"load_format",                            P::model,   &A::load_format,                             "How weights are read."},
    {"enforce_eager",                          P::engine,  &A::enforce_eager,                           "No compilation, no CUDA graphs."},
    {"disable_sliding_window",                 P::engine,  &A::disable_sliding_window,                  "Full attention; the window caps max_model_len."},
    {"language_model_only",                    P::model,   &A::language_model_only,                     "Do not load vision or audio towers."},
    {"allow_deprecated_quantization",          P::model,   &A::allow_deprecated_quantization,           "Accept deprecated methods."},
    {"trust_remote_code",                      P::model,   &A::trust_remote_code,                       "Run the checkpoint's own code."},
    {"enable_sleep_mode",                      P::engine,  &A::enable_sleep_mode,                       "Engine can release GPU memory."},
    {"skip_tokenizer_init",                    P::model,   &A::skip_tokenizer_init,                     "Token ids in, token ids out."},
    {"limit_mm_per_prompt",                    P::engine,  &A::limit_mm_per_prompt,                     "Items per modality and prompt."},
    {"mm_encoder_tp_mode",                     P::engine,  &A::mm_encoder_tp_mode,                      "weights (sharded) or data (replicated)."},
    {"mm_processor_kwargs",                    P::engine,  &A::mm_processor_kwargs,                     "Options of the processor of images, videos and audio."},

    {"enable_lora",                            P::engine,  &A::enable_lora,                             "LoRA adapters."},
    {"max_loras",                              P::engine,  &A::max_loras,                               "Adapters in one batch.", kCount},
    {"max_lora_rank",                          P::engine,  &A::max_lora_rank,                           "Largest adapter rank.", kCount},
    {"max_cpu_loras",                          P::engine,  &A::max_cpu_loras,                           "Adapters kept in host memory.", kLength},
    {"lora_dtype",                             P::engine,  &A::lora_dtype,                              "auto (of the model), bfloat16, float16."},
    {"fully_sharded_loras",                    P::engine,  &A::fully_sharded_loras,                     "Split both factors of an adapter over TP."},
    {"lora_target_modules",                    P::engine,  &A::lora_target_modules,                     "Modules that adapters change; all that can by default."},
    {"enable_tower_connector_lora",            P::engine,  &A::enable_tower_connector_lora,             "Adapters of the vision tower too."},
    {"specialize_active_lora",                 P::engine,  &A::specialize_active_lora,                  "CUDA graphs by the number of active adapters."},
    {"enable_mixed_moe_lora_format",           P::engine,  &A::enable_mixed_moe_lora_format,            "Adapters of fused and of single experts."},
    {"enable_moe_shared_loras",                P::engine,  &A::enable_moe_shared_loras,                 "Adapters whose outer factors all experts share."},
    {"default_mm_loras",                       P::engine,  &A::default_mm_loras,                        "An adapter for each modality."},

    {"offload_backend",                        P::engine,  &A::offload_backend,                         "auto, uva, prefetch."},
    {"cpu_offload_gb",                         P::engine,  &A::cpu_offload_gb,                          "Weights kept in host memory and read over the bus, GiB per GPU.", kHostGib},
    {"cpu_offload_params",                     P::engine,  &A::cpu_offload_params,                      "Segments of the names of these weights; all by default."},
    {"offload_group_size",                     P::engine,  &A::offload_group_size,                      "Layers of a group, whose last are copied from host memory each step.", kCount},
    {"offload_num_in_group",                   P::engine,  &A::offload_num_in_group,                    "Layers of a group that are.", kCount},
    {"offload_prefetch_step",                  P::engine,  &A::offload_prefetch_step,                   "Such layers that are copied ahead.", kCount},
    {"offload_params",                         P::engine,  &A::offload_params,                          "Segments of the names of these weights; all by default."},

    {"block_size",                             P::engine,  &A::block_size,                              "Tokens of a KV block; the backend's choice by default.", kTokens},
    {"gpu_memory_utilization",                 P::engine,  &A::gpu_memory_utilization,                  "Share of GPU memory that the engine may use.", kShare},
    {"kv_cache_memory_bytes",                  P::engine,  &A::kv_cache_memory_bytes,                   "KV cache per GPU, instead of gpu_memory_utilization.", kMemory},
    {"kv_cache_dtype",                         P::engine,  &A::kv_cache_dtype,                          "auto, bfloat16, fp8, fp8_e4m3, fp8_e5m2 ..."},
    {"num_gpu_blocks_override",                P::engine,  &A::num_gpu_blocks_override,                 "Blocks, instead of profiling.", kTokens},
    {"enable_prefix_caching",                  P::engine,  &A::enable_prefix_caching,                   "Reuse KV blocks of equal prefixes."},
    {"mamba_block_size",                       P::engine,  &A::mamba_block_size,                        "Tokens of a state block.", kTokens},
    {"mamba_cache_mode",                       P::engine,  &A::mamba_cache_mode,                        "none, align (all before 0.32)."},
    {"mamba_cache_dtype",                      P::engine,  &A::mamba_cache_dtype,                       "Type of the convolution state."},
    {"mamba_ssm_cache_dtype",                  P::engine,  &A::mamba_ssm_cache_dtype,                   "Type of the recurrent state."},
    {"disable_hybrid_kv_cache_manager",        P::engine,  &A::disable_hybrid_kv_cache_manager,         "One block table for all kinds of layer."},
    {"kv_offloading_size",                     P::engine,  &A::kv_offloading_size,                      "Host KV buffer, GiB.", kHostGib},
    {"swap_space",                             P::engine,  &A::swap_space,                              "Host swap, GiB per GPU.", kHostGib},

    {"max_num_batched_tokens",                 P::engine,  &A::max_num_batched_tokens,                  "Tokens of one step.", kTokens},
    {"max_num_seqs",                           P::engine,  &A::max_num_seqs,                            "Requests running at once, per engine.", kTokens},
    {"max_num_scheduled_tokens",               P::engine,  &A::max_num_scheduled_tokens,                "Tokens the scheduler hands out in one step.", kTokens},
    {"max_num_active_seqs",                    P::engine,  &A::max_num_active_seqs,                     "Requests admitted, below max_num_seqs.", kTokens},
    {"long_prefill_token_threshold",           P::engine,  &A::long_prefill_token_threshold,            "Cap of one prompt's share of a step.", kTokens0},
    {"enable_chunked_prefill",                 P::engine,  &A::enable_chunked_prefill,                  "Split prompts over steps."},
    {"disable_chunked_mm_input",               P::engine,  &A::disable_chunked_mm_input,                "Schedule an image whole."},
    {"async_scheduling",                       P::engine,  &A::async_scheduling,                        "Schedule the next step while one runs."},
    {"scheduling_policy",                      P::engine,  &A::scheduling_policy,                       "fcfs or priority."},
    {"speculative_config",                     P::engine,  &A::speculative_config,                      "method, num_speculative_tokens, model ..."},
    {"spec_method",                            P::engine,  &A::spec_method,                             "Same as speculative_config.method."},
    {"spec_model",                             P::engine,  &A::spec_model,                              "Same as speculative_config.model."},
    {"spec_tokens",                            P::engine,  &A::spec_tokens,                             "Same as speculative_config.num_speculative_tokens.", kDraft},
    {"cudagraph_capture_sizes",                P::engine,  &A::cudagraph_capture_sizes,                 "Batch sizes to capture, in tokens.", kGraph},
    {"max_cudagraph_capture_size",             P::engine,  &A::max_cudagraph_capture_size,              "Largest captured batch, in tokens.", kGraph},
    {"compilation_config",                     P::engine,  &A::compilation_config,                      "mode, cudagraph_mode, cudagraph_capture_sizes ..."},
    {"optimization_level",                     P::engine,  &A::optimization_level,                      "0 (nothing) to 3.", kLevel},
    {"performance_mode",                       P::engine,  &A::performance_mode,                        "balanced, interactivity, throughput."},
    {"attention_config",                       P::engine,  &A::attention_config,                        "backend, flash_attn_version ..."},
    {"attention_backend",                      P::engine,  &A::attention_backend,                       "Attention kernels."},
    {"moe_backend",                            P::engine,  &A::moe_backend,                             "Expert kernels."},
    {"kv_transfer_config",                     P::engine,  &A::kv_transfer_config,                      "KV connector (disaggregation, offload)."},
};

/// Arguments that are not used and that the launch, or vllm serve on every node, reads: no fields of EngineArgs, or of both.
constexpr std::pair<std::string_view, FlagPart> kPartsOfOthers[] = {
    {"port", P::node}, {"grpc", P::server}, {"enable_log_requests", P::server}, {"disable_log_requests", P::server}, {"config", P::command}, {"enable_flash_late_interaction", P::command}, {"generation_config", P::command}};
// clang-format on

FlagKind kind_of(const ArgumentRow& row) {
  if (row.words == '0') return row.off.empty() ? FlagKind::present : FlagKind::boolean;
  if (row.words == '?') return FlagKind::optional_text;
  if (row.words == '+') return row.reads == "int" ? FlagKind::integer_list : FlagKind::text_list;
  static constexpr std::pair<std::string_view, FlagKind> kinds[] = {
      {"int", FlagKind::integer},   {"human_int", FlagKind::human_integer},
      {"length", FlagKind::length}, {"float", FlagKind::number},
      {"json", FlagKind::json},     {"text_or_json", FlagKind::json},
      {"config", FlagKind::json},   {"device_ids", FlagKind::comma_list}};
  for (const auto& [reads, kind] : kinds)
    if (row.reads == reads) return kind;
  return FlagKind::text;
}

FlagRow unused(const ArgumentRow& argument) {
  FlagRow row;
  row.name = argument.name;
  row.part = argument.part;
  for (const auto& [name, part] : kPartsOfOthers)
    if (name == argument.name) row.part = part;
  return row;
}

/// Kind and versions of all forms of an argument; the newest tells the kind.
void read_forms(FlagRow& row) {
  bool first = true;
  for (const auto& argument : argument_rows()) {
    if (argument.name != row.name) continue;
    const auto& [since, gone] = argument.versions;
    if (first || gone >= row.versions.gone) row.kind = kind_of(argument);
    row.versions.since = first ? since : std::min(row.versions.since, since);
    row.versions.gone = first ? gone : std::max(row.versions.gone, gone);
    first = false;
  }
  if (std::holds_alternative<std::optional<std::int64_t> A::*>(row.member) && row.kind == FlagKind::text)
    row.kind = FlagKind::integer;
}

std::vector<FlagRow> all_rows() {
  std::vector<FlagRow> rows;
  for (const auto& used : kUsed) rows.push_back({used.name, {}, used.part, {}, used.member, used.doc, used.range});
  for (const auto& argument : argument_rows())
    if (argument.reads != "help" &&
        std::none_of(rows.begin(), rows.end(), [&](const FlagRow& row) { return row.name == argument.name; }))
      rows.push_back(unused(argument));
  std::sort(rows.begin() + std::size(kUsed), rows.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (auto& row : rows) read_forms(row);
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
