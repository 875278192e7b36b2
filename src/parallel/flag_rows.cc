#include <unordered_map>

#include "config/csv.h"
#include "parallel/engine_args.h"

namespace shardwise {
namespace {

using A = EngineArgs;
using K = FlagKind;
using P = FlagPart;

constexpr FlagVersions any_version{};
constexpr FlagVersions since(int minor, int patch = 0) { return {{0, minor, patch}, ever}; }
constexpr FlagVersions gone(int minor, int patch = 0) { return {always, {0, minor, patch}}; }

// clang-format off
constexpr FlagRow kUsed[] = {
    {"model",                                K::text,          P::model,  any_version,  &A::model,                                "",     "Model to serve; also the positional argument."},
    {"tensor_parallel_size",                 K::integer,       P::layout, any_version,  &A::tensor_parallel_size,                 "-tp",  "GPUs that share every layer."},
    {"pipeline_parallel_size",               K::integer,       P::layout, any_version,  &A::pipeline_parallel_size,               "-pp",  "Stages of consecutive layers."},
    {"prefill_context_parallel_size",        K::integer,       P::layout, any_version,  &A::prefill_context_parallel_size,        "-pcp", "Ranks that split a prompt during prefill."},
    {"decode_context_parallel_size",         K::integer,       P::layout, any_version,  &A::decode_context_parallel_size,         "-dcp", "Ranks that split the KV cache by token; reuses TP ranks."},
    {"data_parallel_size",                   K::integer,       P::layout, any_version,  &A::data_parallel_size,                   "-dp",  "Copies of the attention part (MoE) or of the whole model (dense)."},
    {"enable_expert_parallel",               K::boolean,       P::layout, any_version,  &A::enable_expert_parallel,               "-ep",  "Spread whole experts over TP x PCP x DP ranks."},
    {"enable_eplb",                          K::boolean,       P::layout, any_version,  &A::enable_eplb,                          "",     "Balance experts by measured load."},
    {"eplb_config",                          K::json,          P::layout, any_version,  &A::eplb_config,                          "",     "num_redundant_experts, window_size, step_interval, communicator ..."},
    {"expert_placement_strategy",            K::text,          P::layout, any_version,  &A::expert_placement_strategy,            "",     "linear or round_robin."},
    {"all2all_backend",                      K::text,          P::layout, any_version,  &A::all2all_backend,                      "",     "Kernels that exchange tokens between expert ranks."},
    {"dcp_comm_backend",                     K::text,          P::engine, since(18, 1), &A::dcp_comm_backend,                     "",     "ag_rs or a2a."},
    {"dcp_q_replicate",                      K::boolean,       P::engine, since(29),    &A::dcp_q_replicate,                      "",     "Replicate the query projection inside a DCP group."},
    {"cp_kv_cache_interleave_size",          K::integer,       P::engine, any_version,  &A::cp_kv_cache_interleave_size,          "",     "Consecutive tokens kept on one context-parallel rank."},
    {"dcp_kv_cache_interleave_size",         K::integer,       P::engine, any_version,  &A::dcp_kv_cache_interleave_size,         "",     "Older name of cp_kv_cache_interleave_size."},
    {"enable_elastic_ep",                    K::boolean,       P::layout, any_version,  &A::enable_elastic_ep,                    "",     "Change the number of expert ranks while serving."},
    {"elastic_ep_max_dp_size",               K::integer,       P::layout, any_version,  &A::elastic_ep_max_dp_size,               "",     "Largest DP size under elastic EP."},
    {"enable_dbo",                           K::boolean,       P::layout, any_version,  &A::enable_dbo,                           "",     "Overlap two halves of a batch."},
    {"ubatch_size",                          K::integer,       P::layout, any_version,  &A::ubatch_size,                          "",     "Micro-batches of a step."},
    {"distributed_executor_backend",         K::text,          P::engine, any_version,  &A::distributed_executor_backend,         "",     "mp, ray, uni or external_launcher."},
    {"nnodes",                               K::integer,       P::node,   any_version,  &A::nnodes,                               "-n",   "Nodes of a multi-node launch without Ray."},
    {"node_rank",                            K::integer,       P::node,   any_version,  &A::node_rank,                            "-r",   "This node's index, from 0."},
    {"master_addr",                          K::text,          P::node,   any_version,  &A::master_addr,                          "",     "Address of node 0."},
    {"master_port",                          K::integer,       P::node,   any_version,  &A::master_port,                          "",     "Port of node 0."},
    {"data_parallel_rank",                   K::integer,       P::node,   any_version,  &A::data_parallel_rank,                   "-dpn", "This process's DP rank; implies external load balancing."},
    {"data_parallel_start_rank",             K::integer,       P::node,   any_version,  &A::data_parallel_start_rank,             "-dpr", "First DP rank on this node."},
    {"data_parallel_size_local",             K::integer,       P::node,   any_version,  &A::data_parallel_size_local,             "-dpl", "DP ranks on this node."},
    {"data_parallel_address",                K::text,          P::node,   any_version,  &A::data_parallel_address,                "-dpa", "Address of the node with DP rank 0."},
    {"data_parallel_rpc_port",               K::integer,       P::node,   any_version,  &A::data_parallel_rpc_port,               "-dpp", "Port for DP start-up."},
    {"data_parallel_backend",                K::text,          P::engine, any_version,  &A::data_parallel_backend,                "-dpb", "mp or ray."},
    {"data_parallel_hybrid_lb",              K::boolean,       P::node,   any_version,  &A::data_parallel_hybrid_lb,              "-dph", "Balance inside a node, and outside between nodes."},
    {"data_parallel_external_lb",            K::boolean,       P::node,   any_version,  &A::data_parallel_external_lb,            "-dpe", "One server per DP rank; balancing is outside."},
    {"data_parallel_multi_port_external_lb", K::present,       P::node,   since(22, 1), &A::data_parallel_multi_port_external_lb, "-dpm", "One server and port per local DP rank."},
    {"device_ids",                           K::comma_list,    P::node,   any_version,  &A::device_ids,                           "",     "GPUs to use, in order."},
    {"headless",                             K::present,       P::node,   any_version,  &A::headless,                             "",     "No API server on this node."},
    {"api_server_count",                     K::integer,       P::server, any_version,  &A::api_server_count,                     "-asc", "API server processes."},
    {"disable_custom_all_reduce",            K::boolean,       P::engine, any_version,  &A::disable_custom_all_reduce,            "",     "Use NCCL for every all-reduce."},
    {"enable_fault_tolerance",               K::boolean,       P::engine, any_version,  &A::enable_fault_tolerance,               "",     "Survive the loss of DP ranks."},

    {"max_model_len",                        K::length,        P::engine, any_version,  &A::max_model_len,                        "",     "Longest prompt plus output in tokens; -1 or auto fits it to memory."},
    {"dtype",                                K::text,          P::model,  any_version,  &A::dtype,                                "",     "auto, bfloat16, float16, float32."},
    {"quantization",                         K::text,          P::model,  any_version,  &A::quantization,                         "-q",   "Quantisation method; the checkpoint's own by default."},
    {"hf_overrides",                         K::json,          P::model,  any_version,  &A::hf_overrides,                         "",     "Fields of config.json to replace."},
    {"runner",                               K::text,          P::model,  any_version,  &A::runner,                               "",     "auto, generate, pooling, draft."},
    {"load_format",                          K::text,          P::model,  any_version,  &A::load_format,                          "",     "How weights are read."},
    {"enforce_eager",                        K::boolean,       P::engine, any_version,  &A::enforce_eager,                        "",     "No compilation, no CUDA graphs."},
    {"disable_sliding_window",               K::boolean,       P::engine, any_version,  &A::disable_sliding_window,               "",     "Full attention; the window caps max_model_len."},
    {"language_model_only",                  K::boolean,       P::model,  any_version,  &A::language_model_only,                  "",     "Do not load vision or audio towers."},
    {"allow_deprecated_quantization",        K::boolean,       P::model,  any_version,  &A::allow_deprecated_quantization,        "",     "Accept deprecated methods."},
    {"enable_lora",                          K::boolean,       P::engine, any_version,  &A::enable_lora,                          "",     "LoRA adapters."},
    {"max_loras",                            K::integer,       P::engine, any_version,  &A::max_loras,                            "",     "Adapters in one batch."},
    {"max_lora_rank",                        K::integer,       P::engine, any_version,  &A::max_lora_rank,                        "",     "Largest adapter rank."},
    {"trust_remote_code",                    K::boolean,       P::model,  any_version,  &A::trust_remote_code,                    "",     "Run the checkpoint's own code."},
    {"enable_sleep_mode",                    K::boolean,       P::engine, any_version,  &A::enable_sleep_mode,                    "",     "Engine can release GPU memory."},
    {"skip_tokenizer_init",                  K::boolean,       P::model,  any_version,  &A::skip_tokenizer_init,                  "",     "Token ids in, token ids out."},
    {"limit_mm_per_prompt",                  K::json,          P::engine, any_version,  &A::limit_mm_per_prompt,                  "",     "Items per modality and prompt."},
    {"mm_encoder_tp_mode",                   K::text,          P::engine, any_version,  &A::mm_encoder_tp_mode,                   "",     "weights (sharded) or data (replicated)."},

    {"block_size",                           K::integer,       P::engine, any_version,  &A::block_size,                           "",     "Tokens of a KV block; the backend's choice by default."},
    {"gpu_memory_utilization",               K::number,        P::engine, any_version,  &A::gpu_memory_utilization,               "--device-memory-utilization", "Share of GPU memory that the engine may use."},
    {"kv_cache_memory_bytes",                K::human_integer, P::engine, any_version,  &A::kv_cache_memory_bytes,                "",     "KV cache per GPU, instead of gpu_memory_utilization."},
    {"kv_cache_dtype",                       K::text,          P::engine, any_version,  &A::kv_cache_dtype,                       "",     "auto, bfloat16, fp8, fp8_e4m3, fp8_e5m2 ..."},
    {"num_gpu_blocks_override",              K::integer,       P::engine, any_version,  &A::num_gpu_blocks_override,              "",     "Blocks, instead of profiling."},
    {"enable_prefix_caching",                K::boolean,       P::engine, any_version,  &A::enable_prefix_caching,                "",     "Reuse KV blocks of equal prefixes."},
    {"mamba_block_size",                     K::integer,       P::engine, any_version,  &A::mamba_block_size,                     "",     "Tokens of a state block."},
    {"mamba_cache_mode",                     K::text,          P::engine, any_version,  &A::mamba_cache_mode,                     "",     "none, align (all before 0.32)."},
    {"mamba_cache_dtype",                    K::text,          P::engine, any_version,  &A::mamba_cache_dtype,                    "",     "Type of the convolution state."},
    {"mamba_ssm_cache_dtype",                K::text,          P::engine, any_version,  &A::mamba_ssm_cache_dtype,                "",     "Type of the recurrent state."},
    {"disable_hybrid_kv_cache_manager",      K::boolean,       P::engine, any_version,  &A::disable_hybrid_kv_cache_manager,      "",     "One block table for all kinds of layer."},
    {"cpu_offload_gb",                       K::number,        P::engine, any_version,  &A::cpu_offload_gb,                       "",     "Weights kept in host memory, GiB per GPU."},
    {"kv_offloading_size",                   K::number,        P::engine, any_version,  &A::kv_offloading_size,                   "",     "Host KV buffer, GiB."},
    {"swap_space",                           K::number,        P::engine, gone(18, 1),  &A::swap_space,                           "",     "Host swap, GiB per GPU."},

    {"max_num_batched_tokens",               K::human_integer, P::engine, any_version,  &A::max_num_batched_tokens,               "",     "Tokens of one step."},
    {"max_num_seqs",                         K::integer,       P::engine, any_version,  &A::max_num_seqs,                         "",     "Requests running at once, per engine."},
    {"max_num_scheduled_tokens",             K::human_integer, P::engine, any_version,  &A::max_num_scheduled_tokens,             "",     "Tokens the scheduler hands out in one step."},
    {"max_num_active_seqs",                  K::integer,       P::engine, since(31),    &A::max_num_active_seqs,                  "",     "Requests admitted, below max_num_seqs."},
    {"long_prefill_token_threshold",         K::integer,       P::engine, any_version,  &A::long_prefill_token_threshold,         "",     "Cap of one prompt's share of a step."},
    {"enable_chunked_prefill",               K::boolean,       P::engine, any_version,  &A::enable_chunked_prefill,               "",     "Split prompts over steps."},
    {"disable_chunked_mm_input",             K::boolean,       P::engine, any_version,  &A::disable_chunked_mm_input,             "",     "Schedule an image whole."},
    {"async_scheduling",                     K::boolean,       P::engine, any_version,  &A::async_scheduling,                     "",     "Schedule the next step while one runs."},
    {"scheduling_policy",                    K::text,          P::engine, any_version,  &A::scheduling_policy,                    "",     "fcfs or priority."},
    {"speculative_config",                   K::json,          P::engine, any_version,  &A::speculative_config,                   "-sc",  "method, num_speculative_tokens, model ..."},
    {"spec_method",                          K::text,          P::engine, since(29),    &A::spec_method,                          "",     "Same as speculative_config.method."},
    {"spec_model",                           K::text,          P::engine, since(29),    &A::spec_model,                           "",     "Same as speculative_config.model."},
    {"spec_tokens",                          K::integer,       P::engine, since(29),    &A::spec_tokens,                          "",     "Same as speculative_config.num_speculative_tokens."},
    {"cudagraph_capture_sizes",              K::integer_list,  P::engine, any_version,  &A::cudagraph_capture_sizes,              "",     "Batch sizes to capture, in tokens."},
    {"max_cudagraph_capture_size",           K::integer,       P::engine, any_version,  &A::max_cudagraph_capture_size,           "",     "Largest captured batch, in tokens."},
    {"compilation_config",                   K::json,          P::engine, any_version,  &A::compilation_config,                   "-cc",  "mode, cudagraph_mode, cudagraph_capture_sizes ..."},
    {"optimization_level",                   K::integer,       P::engine, any_version,  &A::optimization_level,                   "-O",   "0 (nothing) to 3."},
    {"performance_mode",                     K::text,          P::engine, since(17, 1), &A::performance_mode,                     "",     "balanced, interactivity, throughput."},
    {"attention_config",                     K::json,          P::engine, any_version,  &A::attention_config,                     "-ac",  "backend, flash_attn_version ..."},
    {"attention_backend",                    K::text,          P::engine, any_version,  &A::attention_backend,                    "",     "Attention kernels."},
    {"moe_backend",                          K::text,          P::engine, any_version,  &A::moe_backend,                          "",     "Expert kernels."},
    {"kv_transfer_config",                   K::json,          P::engine, any_version,  &A::kv_transfer_config,                   "",     "KV connector (disaggregation, offload)."},
};

constexpr std::pair<std::string_view, FlagKind> kKinds[] = {
    {"integer", K::integer}, {"human_integer", K::human_integer}, {"number", K::number},       {"boolean", K::boolean},
    {"present", K::present}, {"text", K::text},                   {"json", K::json},           {"text_list", K::text_list},
    {"integer_list", K::integer_list},                            {"optional_text", K::optional_text}};
constexpr std::pair<std::string_view, FlagPart> kParts[] = {
    {"node", P::node}, {"server", P::server}, {"command", P::command}, {"other", P::other}};
// clang-format on

template <class T>
T named(const CsvCells& cells, std::string_view column, std::span<const std::pair<std::string_view, T>> names) {
  for (const auto& [name, value] : names)
    if (name == cells.text(column)) return value;
  cells.fail(column, "unknown word '" + cells.text(column) + "'");
}

FlagVersions versions_of(const CsvCells& cells) {
  FlagVersions versions;
  if (const auto& since = cells.text("since"); !since.empty()) versions.since = parse_vllm_version(since);
  if (const auto& gone = cells.text("gone"); !gone.empty()) versions.gone = parse_vllm_version(gone);
  return versions;
}

std::vector<FlagRow> all_rows() {
  static const CsvTable table = embedded_csv("vllm/flags_not_used.csv");  // holds the text of its rows
  std::vector<FlagRow> rows(std::begin(kUsed), std::end(kUsed));
  for (const auto& line : table.rows) {
    const CsvCells cells(table, line);
    FlagRow row;
    row.name = cells.text("name");
    row.kind = named<FlagKind>(cells, "kind", kKinds);
    row.aliases = cells.text("aliases");
    row.part = named<FlagPart>(cells, "part", kParts);
    row.versions = versions_of(cells);
    rows.push_back(row);
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
