#pragma once
// The arguments of `vllm serve` and of vLLM's EngineArgs that decide layout, memory or speed, as given: an empty
// optional is an argument that was not given. One row of flag_rows() per argument; reading a command line, reading
// JSON, writing a command line and --help all come from the row.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/version.h"
#include "config/json_fwd.h"

namespace shardwise {

/// Field = vLLM's argument name. JSON-valued arguments are kept as compact JSON text. nullopt = not given.
struct EngineArgs {
  std::optional<std::string> model;  ///< positional, or --model

  // Layout
  std::optional<std::int64_t> tensor_parallel_size, pipeline_parallel_size, prefill_context_parallel_size,
      decode_context_parallel_size, data_parallel_size;
  std::optional<bool> enable_expert_parallel, enable_eplb, enable_elastic_ep, enable_dbo;
  std::optional<std::string> eplb_config;  ///< JSON object
  std::optional<std::string> expert_placement_strategy, all2all_backend, dcp_comm_backend;
  std::optional<bool> dcp_q_replicate;
  std::optional<std::int64_t> cp_kv_cache_interleave_size, dcp_kv_cache_interleave_size, ubatch_size,
      dbo_decode_token_threshold, dbo_prefill_token_threshold, elastic_ep_max_dp_size;
  std::optional<std::string> distributed_executor_backend;
  std::optional<std::int64_t> nnodes, node_rank, master_port;
  std::optional<std::string> master_addr;
  std::optional<std::int64_t> data_parallel_rank, data_parallel_start_rank, data_parallel_size_local,
      data_parallel_rpc_port;
  std::optional<std::string> data_parallel_address, data_parallel_backend;
  std::optional<bool> data_parallel_hybrid_lb, data_parallel_external_lb, data_parallel_multi_port_external_lb;
  std::optional<std::vector<std::string>> device_ids;
  std::optional<bool> headless;                  ///< serve only
  std::optional<std::int64_t> api_server_count;  ///< serve only
  std::optional<bool> disable_custom_all_reduce, enable_fault_tolerance;

  // Model
  std::optional<std::int64_t> max_model_len;  ///< -1 = automatic
  std::optional<std::string> dtype, quantization, hf_overrides, runner, load_format;
  std::optional<bool> enforce_eager, disable_sliding_window, language_model_only, allow_deprecated_quantization,
      trust_remote_code, enable_sleep_mode, skip_tokenizer_init;
  std::optional<std::string> limit_mm_per_prompt, mm_encoder_tp_mode, mm_processor_kwargs;

  // LoRA adapters
  std::optional<bool> enable_lora, fully_sharded_loras, enable_tower_connector_lora, specialize_active_lora,
      enable_mixed_moe_lora_format, enable_moe_shared_loras;
  std::optional<std::int64_t> max_loras, max_lora_rank, max_cpu_loras;
  std::optional<std::string> lora_dtype, default_mm_loras;
  std::optional<std::vector<std::string>> lora_target_modules;

  // Weights in host memory
  std::optional<double> cpu_offload_gb;
  std::optional<std::string> offload_backend;
  std::optional<std::int64_t> offload_group_size, offload_num_in_group, offload_prefetch_step;
  std::optional<std::vector<std::string>> cpu_offload_params, offload_params;

  // Cache
  std::optional<std::int64_t> block_size, kv_cache_memory_bytes, num_gpu_blocks_override, mamba_block_size;
  std::optional<double> gpu_memory_utilization, kv_offloading_size, swap_space;
  std::optional<std::string> kv_cache_dtype, mamba_cache_mode, mamba_cache_dtype, mamba_ssm_cache_dtype;
  std::optional<bool> enable_prefix_caching, disable_hybrid_kv_cache_manager;

  // Scheduler and execution
  std::optional<std::int64_t> max_num_batched_tokens, max_num_seqs, max_num_scheduled_tokens, max_num_active_seqs,
      long_prefill_token_threshold, max_cudagraph_capture_size, optimization_level, spec_tokens;
  std::optional<bool> enable_chunked_prefill, async_scheduling, disable_chunked_mm_input;
  std::optional<std::string> scheduling_policy, speculative_config, compilation_config, attention_config,
      attention_backend, moe_backend, kv_transfer_config, performance_mode, spec_method, spec_model;
  std::optional<std::vector<std::int64_t>> cudagraph_capture_sizes;

  /// Arguments that vLLM knows and that change nothing this planner computes, as given: name (underscores), values.
  std::vector<std::pair<std::string, std::vector<std::string>>> not_used;
  /// Why the version's own parser refuses the command line (then nothing else is set); nullopt = it does not.
  std::optional<std::string> refused;
  /// Arguments of no version that is known, given to a version newer than all: as spelled, with the words behind them.
  std::vector<std::pair<std::string, std::vector<std::string>>> unknown;

  friend bool operator==(const EngineArgs&, const EngineArgs&) = default;
};

/// How an argument is written on the command line.
enum class FlagKind {
  integer,        ///< --x 8
  human_integer,  ///< also 8k (8,000), 8K (8,192), 25.6k, 1M, 2G
  length,         ///< human_integer, -1 or auto
  number,         ///< --x 0.9
  boolean,        ///< --x, --no-x
  present,        ///< --x only
  text,           ///< --x word
  json,           ///< --x '{"a": 1}', --x.a 1, --x.b+ v
  text_list,      ///< --x a b c
  comma_list,     ///< --x a,b,c
  integer_list,   ///< --x 1 2 4
  optional_text   ///< --x or --x value
};

using FlagMember =
    std::variant<std::monostate, std::optional<std::int64_t> EngineArgs::*, std::optional<bool> EngineArgs::*,
                 std::optional<double> EngineArgs::*, std::optional<std::string> EngineArgs::*,
                 std::optional<std::vector<std::int64_t>> EngineArgs::*,
                 std::optional<std::vector<std::string>> EngineArgs::*>;

/// Who decides an argument, and which commands of a deployment carry it.
enum class FlagPart {
  layout,   ///< the search, and what vLLM accepts with some layouts only: sizes, expert parallel, placement
  node,     ///< the launch: what differs between the commands of a deployment
  server,   ///< the user; read by the HTTP front end, so only in commands that serve
  command,  ///< the user; read by `vllm serve` on every node, no field of EngineArgs
  engine,   ///< the user, and the plan where its prediction rests on the value
  model,    ///< the user: what the checkpoint is read as
  other     ///< the user; changes nothing that is computed here
};

/// Versions that have an argument, of those that were read (0.16 to 0.33); open towards older and newer ones.
struct FlagVersions {
  VllmVersion since = always;  ///< the first that has it
  VllmVersion gone = ever;     ///< the first that no longer has it
  bool contains(VllmVersion v) const { return since <= v && v < gone; }
};

/// What the numbers of an argument may be, both included: far beyond every deployment, far inside what is computed with
/// exactly. vLLM's own bounds are rules (field_range).
struct FlagRange {
  double least = -std::numeric_limits<double>::infinity(), most = std::numeric_limits<double>::infinity();
};

/// One argument. `member` is monostate for the ones that are accepted but not used.
struct FlagRow {
  std::string_view name;  ///< tensor_parallel_size
  FlagKind kind = FlagKind::text;
  FlagPart part = FlagPart::other;
  FlagVersions versions;
  FlagMember member;
  std::string_view doc;  ///< empty for arguments that are not used
  FlagRange range;
};

/// Every argument that `vllm serve` knows, used ones first.
const std::vector<FlagRow>& flag_rows();
/// Row of an argument by name (dashes or underscores), null if there is none.
const FlagRow* find_flag(std::string_view name);

/// Reads what stands behind `vllm serve`: [MODEL] and flags, by the rules of that version's own parser
/// (argument_parser.h). Throws InputError (file "vllm serve") with a hint. An argument that only other versions have is
/// read, too: resolve() refuses it by name.
EngineArgs parse_vllm_flags(std::span<const std::string> argv, VllmVersion version = kDefaultVllmVersion);

/// The same for who asks whether vLLM takes a command: what its parser refuses becomes `refused`, which resolve()
/// answers with.
EngineArgs parse_or_refuse(std::span<const std::string> argv, VllmVersion version = kDefaultVllmVersion);

/// Reads arguments by vLLM's names from a JSON object, as in EngineArgs(**kwargs). `file` names it in errors.
EngineArgs read_engine_args(const Json& object, const std::string& file);

/// Throws InputError on a number outside of its range (FlagRow), or only on those above it, and on sizes that multiply
/// to more GPUs than any cluster has.
void expect_plausible(const EngineArgs& args, bool upper_only = false);
inline constexpr std::int64_t kMostGpus = 1 << 24;

/// What to say of arguments that no known version has; nullopt if none was given.
std::optional<std::string> unknown_arguments_note(const EngineArgs& args, VllmVersion version);

/// What is taken for granted of who asks for Ray; nullopt for others.
std::optional<std::string> ray_note(const EngineArgs& args);

/// Parts that a step is split into (ParallelConfig.num_ubatches); 1 = it is not.
inline std::int64_t micro_batches(const EngineArgs& args) {
  return args.enable_dbo.value_or(false) ? 2 : std::max<std::int64_t>(1, args.ubatch_size.value_or(0));
}
/// Tokens of a rank from which a step is split: of decodes alone, of any other.
inline constexpr std::int64_t kDboDecodeTokens = 32, kDboPrefillTokens = 512;

/// An argument that was given, and what stands behind it on the command line: "yes" or "no" for switches.
struct GivenFlag {
  const FlagRow* row;
  std::vector<std::string> words;
  friend bool operator==(const GivenFlag&, const GivenFlag&) = default;
};

/// In table order, then those that are not used as they were given.
std::vector<GivenFlag> given_flags(const EngineArgs& args);
/// `args` as if nothing of `part` had been given.
EngineArgs without(EngineArgs args, FlagPart part);

/// {"--tensor-parallel-size", "8"}, {"--no-enable-prefix-caching"}, {"--stop=-x"} ...
std::vector<std::string> to_argv(const GivenFlag& flag);
/// The argument list that reads back to `args`: MODEL first, then flags. Not quoted for a shell.
std::vector<std::string> to_argv(const EngineArgs& args);

/// 8k -> 8000, 8K -> 8192 ... ; InputError on anything else. `flag` names it in errors.
std::int64_t human_integer(std::string_view text, const std::string& flag);

}  // namespace shardwise
