#pragma once
// Inside of resolve(): the state that vLLM's start-up goes through, and the rules as rows with their predicates.
#include <span>

#include "parallel/resolve.h"
#include "parallel/rules.h"

namespace shardwise {

/// Steps of vLLM's start-up. Each derives values, then its rules are checked in row order.
enum class Phase {
  arguments,    ///< EngineArgs and EPLBConfig are built
  serve,        ///< ServeSubcommand.cmd
  model,        ///< ModelConfig
  features,     ///< _check_feature_supported, defaults of chunked prefill and prefix caching, CacheConfig
  options,      ///< data-parallel launch options in create_engine_config
  parallel,     ///< ParallelConfig
  speculative,  ///< SpeculativeConfig
  spec_target,  ///< target checks that SpeculativeConfig repeats
  scheduler,    ///< batch defaults, SchedulerConfig
  hooks,        ///< VllmConfig: the model's own hook
  target,       ///< ModelConfig.verify_with_parallel_config
  quantised,    ///< the quantisation config is read
  execution,    ///< async scheduling, compilation, CUDA graphs, model runner, all2all backend
  launch,       ///< executor, engines, coordinator
  worker,       ///< device of every worker
};

/// What is known while vLLM starts. `r` fills up; the rest are intermediate values of vLLM's own code.
struct ResolveState {
  ResolveState(const EngineArgs& args, const ModelFacts& model, const NodeFacts& node, const Environment& environment,
               EntryMode entry, VllmVersion version)
      : a(args), m(model), n(node), env(environment), mode(entry), v(version) {}
  const EngineArgs& a;
  const ModelFacts& m;
  const NodeFacts& n;
  const Environment& env;
  EntryMode mode;
  VllmVersion v;
  Resolved r;

  bool served = false, headless = false;
  bool external_lb = false, hybrid_lb = false;
  std::optional<std::int64_t> dp_rank, dp_local;
  std::int64_t dp_size = 1, inferred_dp_rank = 0;
  std::int64_t nnodes = 1, node_rank = 0;
  bool is_external_lb_cli = false, is_hybrid_lb_cli = false, is_multi_port = false;
  std::optional<std::int64_t> api_server_count;
  std::string backend;            ///< distributed_executor_backend; "" = not chosen yet
  std::string eplb_communicator;  ///< "" = not given
  bool eplb_use_async = true;
  std::string eplb_policy = "default";
  std::string quantization;  ///< after verification; "" = none
  std::string user_quantization;
  bool quantization_overridden = false;
  std::string dtype;
  bool has_spec = false;
  std::string spec_method;
  std::string spec_model;
  std::optional<std::int64_t> spec_tokens;
  std::optional<std::int64_t> compile_mode;  ///< 0..3
  std::string compile_cudagraph_mode;        ///< upper case; "" = default
  std::optional<std::vector<std::int64_t>> capture_sizes;
  std::optional<std::int64_t> max_capture_size;
  bool v2_runner = true;
  bool draft_supports_pp = true;
  std::int64_t worker_rank = 0;  ///< first device index out of range
  bool rank_env_missing = false;
  std::string launch_problem;  ///< rule id of a failed launch; "" = none
  std::string field_problem, field_message;

  std::int64_t world() const {
    return r.tensor_parallel_size * r.pipeline_parallel_size * r.prefill_context_parallel_size;
  }
};

/// Whether the model runner schedules asynchronously with the speculation asked for (none: yes).
bool speculates_async(const ResolveState& state);

using Violation = std::optional<std::string>;

struct RuleRow {
  Rule rule;
  Phase phase;
  Violation (*check)(const ResolveState&);
};

/// All rows, in order. Split over rule_rows_*.cc by part of vLLM.
std::span<const RuleRow> rule_rows();
std::span<const RuleRow> config_rule_rows();
std::span<const RuleRow> execution_rule_rows();

/// Values up to ParallelConfig, and from there on.
void derive_config(Phase phase, ResolveState& state);
void derive_execution(Phase phase, ResolveState& state);

/// Derives the values of one phase. Rules of the phase are checked afterwards.
void derive(Phase phase, ResolveState& state);

/// pydantic's range and literal checks: "field NAME: ..." for the first argument outside its range, in vLLM's order.
void check_fields(Phase phase, ResolveState& state);

}  // namespace shardwise
