#pragma once
// Inside of resolve() and check_layout(): what the rules' predicates see, and the tables of rows.
#include <fmt/format.h>

#include <span>

#include "parallel/quantization_methods.h"
#include "parallel/resolve.h"
#include "parallel/rules.h"

namespace shardwise {

/// What the rules of the layout and of the model see: of a command that is being resolved, or of a layout that the
/// search looks at.
struct LayoutView {
  const ModelFacts& m;
  VllmVersion v;
  std::int64_t tp = 1, pp = 1, pcp = 1, dcp = 1, dp = 1;
  bool ep = false, eplb = false;
  std::int64_t redundant_experts = 0;
  ExpertPlacement placement = ExpertPlacement::linear;
  std::string_view all2all = {};
  std::string_view quantization = {}, dtype = {};  ///< in force; "" = none, not known
  bool supports_pp = true;                         ///< the class, or the draft's
  std::span<const int> pp_layer_partition = {};
  bool trust_remote_code = false;
  std::optional<int> stage = {};    ///< the pipeline stage that is built; nullopt = all
  const NodeFacts* node = nullptr;  ///< its GPUs; null: kernels are not asked for
  std::string_view cache_dtype = "auto";

  std::int64_t expert_ranks() const { return ep ? tp * pcp * dp : 1; }
  ParallelConfig parallel() const;  ///< the expert layout, as effective_placement() asks for it
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
  bool eplb_communicator_given = false;
  bool eplb_use_async = true;
  std::string eplb_policy = "default";
  std::string quantization;                                 ///< after verification; "" = none
  const QuantizationMethod* quantization_method = nullptr;  ///< its row; null where this version has none
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
  std::optional<std::string> v2_runner_lacks;  ///< what this command wants and Model Runner V2 does not have
  bool draft_supports_pp = true;
  std::optional<std::int64_t> gpu_out_of_range;  ///< the first device index of a worker that the node does not have
  bool workers_exceed_gpus = false;              ///< an engine has more local workers than the node has GPUs

  std::int64_t world() const {
    return r.tensor_parallel_size * r.pipeline_parallel_size * r.prefill_context_parallel_size;
  }
  /// Under internal load balancing the DP rank 0 serves for all others.
  bool internal_lb() const { return !r.data_parallel_external_lb && !r.data_parallel_hybrid_lb; }
};

/// Rows by part of vLLM; each part in the order of its checks.
std::span<const Rule> field_rules();
std::span<const Rule> config_rules();
std::span<const Rule> execution_rules();
std::span<const Rule> construction_rules();
std::span<const Rule> weight_rules();

/// First rule of a phase that is violated. `start` may be null in phases whose rules ask for the layout alone.
std::optional<Refusal> first_violation(Phase phase, const LayoutView& layout, const ResolveState* start);

/// Whether the model runner schedules asynchronously with the speculation asked for (none: yes).
bool speculates_async(const ResolveState& state);

/// Model Runner V2, which has no offloader before 0.28, is what this version takes for the model by itself.
bool runner_ignores_offload(const ResolveState& state);

/// Halves of a step overlap on ROCm in DeepEP's high-throughput kernels: not to be scheduled asynchronously, from 0.25.
bool overlaps_on_rocm(const ResolveState& state);

/// Values up to ParallelConfig, and from there on.
void derive_config(Phase phase, ResolveState& state);
void derive_execution(Phase phase, ResolveState& state);

/// Vocabulary of the rows' predicates: [](S s) { return condition ? wrong("{} is not {}", ...) : ok; }
namespace rows {
using S = const ResolveState&;
using L = const LayoutView&;
inline constexpr std::nullopt_t ok = std::nullopt;
template <class... T>
Violation wrong(fmt::format_string<T...> format, T&&... values) {
  return fmt::format(format, std::forward<T>(values)...);
}
using enum Phase;
}  // namespace rows

}  // namespace shardwise
