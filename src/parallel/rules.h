#pragma once
// The rules, one row each: what resolve(), the search, memory and check() refuse by, and what `shardwise rules` prints.
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/version.h"

namespace shardwise {

/// Steps of vLLM's start-up, in its order. Each derives values, then its rules are checked in row order.
enum class Phase {
  arguments,     ///< EngineArgs and EPLBConfig are built
  serve,         ///< ServeSubcommand.cmd
  model,         ///< ModelConfig
  features,      ///< _check_feature_supported, defaults of chunked prefill and prefix caching, CacheConfig
  options,       ///< data-parallel launch options in create_engine_config
  parallel,      ///< ParallelConfig
  speculative,   ///< SpeculativeConfig
  ngram_draft,   ///< checks of the target that SpeculativeConfig repeats: the draft of n-grams is the target
  mtp_draft,     ///< the same for MTP, whose draft has the target's heads
  scheduler,     ///< batch defaults, SchedulerConfig
  hooks,         ///< VllmConfig: the model's own hook
  target,        ///< ModelConfig.verify_with_parallel_config
  quantised,     ///< the quantisation config is read
  execution,     ///< async scheduling, compilation, CUDA graphs, model runner, all2all backend
  launch,        ///< executor, engines, coordinator
  worker,        ///< device of every worker
  construction,  ///< the model class is built
  memory,        ///< weights, profile run, KV cache
  config_json,   ///< no step: the rules that config.json alone decides; check_model()
  layout,        ///< no step: the rules of the configuration that the layout alone decides; check_layout()
};
inline constexpr int kPhases = static_cast<int>(Phase::layout) + 1;

/// When a rule is checked: in some phases, by the versions [since, until).
struct When {
  std::uint32_t phases;
  VllmVersion since = always, until = ever;
  constexpr When(Phase phase) : phases(1u << static_cast<int>(phase)) {}
  constexpr bool in(Phase phase) const { return phases >> static_cast<int>(phase) & 1u; }
  constexpr bool holds(VllmVersion version) const { return since <= version && version < until; }
};
constexpr When operator|(When a, When b) {
  a.phases |= b.phases;
  return a;
}
constexpr When operator|(Phase a, When b) { return When(a) | b; }
constexpr When between(When when, VllmVersion since, VllmVersion until) {
  when.since = since, when.until = until;
  return when;
}
constexpr When from(When when, VllmVersion since) { return between(when, since, when.until); }
constexpr When before(When when, VllmVersion until) { return between(when, when.since, until); }

using Violation = std::optional<std::string>;  ///< what is wrong, with the numbers; nullopt = nothing
struct ResolveState;                           // rule_rows.h
struct LayoutView;

/// A rule's predicate: of everything known while vLLM starts, or of the layout and the model alone.
struct Check {
  using OfStart = Violation (*)(const ResolveState&);
  using OfLayout = Violation (*)(const LayoutView&);
  OfStart of_start = nullptr;
  OfLayout of_layout = nullptr;
  constexpr Check() = default;
  template <std::convertible_to<OfStart> F>
  constexpr Check(F f) : of_start(f) {}
  template <std::convertible_to<OfLayout> F>
  constexpr Check(F f) : of_layout(f) {}
};

/// A named check of vLLM's.
struct Rule {
  std::string_view id;  ///< slug, the same word in every version
  When when;
  std::string_view where;          ///< vLLM file:function that refuses (0.32)
  std::string_view text;           ///< the rule in plain words
  std::string_view instead;        ///< what to write instead
  Check check = {};                ///< none: another layer decides, and refuses by refuse()
  std::string_view says = {};      ///< first words of vLLM's message, of rules whose recordings have no slug but these
  std::string_view stage() const;  ///< config | launch | worker | model | memory
};

/// Rules that other layers decide, in the order in which vLLM checks them.
inline constexpr Rule kOtherRules[] = {
    {"pp_layer_partition", Phase::construction, "distributed/utils.py:get_pp_indices",
     "VLLM_PP_LAYER_PARTITION has one number a pipeline stage, and they add up to the layers.",
     "one number a stage, summing to the layers"},
    {"gpus", Phase::worker, "v1/worker/gpu_worker.py:init_device", "TP x PP x PCP x DP is at most the cluster's GPUs.",
     "smaller sizes, or more GPUs"},
    {"interleave_vs_block", Phase::worker, "config/vllm.py:validate_block_size",
     "With decode context parallelism the KV block, as the attention backend leaves it, is a multiple of "
     "cp_kv_cache_interleave_size.",
     "a --cp-kv-cache-interleave-size that divides the block, or none"},
    {"memory_free_at_start", from(Phase::memory, {0, 8, 0}), "v1/worker/utils.py:request_memory",
     "gpu_memory_utilization x total must be free when a worker starts: context and communicators are taken already.",
     "a lower --gpu-memory-utilization"},
    {"memory_weights", Phase::memory, "v1/worker/gpu_worker.py:load_model", "A rank's weights fit into its GPU.",
     "a larger TP or PP, a quantised checkpoint, or more experts' ranks"},
    {"memory_kv_cache_bytes", Phase::memory, "v1/worker/gpu_model_runner.py:_allocate_kv_cache_tensors",
     "A rank's weights and the KV cache that --kv-cache-memory-bytes asks for fit into its GPU.",
     "a smaller --kv-cache-memory-bytes, or none"},
    {"memory_no_kv", Phase::memory, "v1/core/kv_cache_utils.py:_check_enough_kv_cache_memory",
     "Weights, activations and CUDA graphs leave something for KV blocks.",
     "a higher --gpu-memory-utilization, a larger TP, fewer --max-num-batched-tokens or --max-num-seqs"},
    {"memory_max_model_len", Phase::memory, "v1/core/kv_cache_utils.py:_check_enough_kv_cache_memory",
     "The KV cache holds one request of max_model_len.", "a smaller --max-model-len (or auto), --kv-cache-dtype fp8"},
    {"max_num_seqs_above_mamba_blocks", from(Phase::memory, {0, 20, 0}),
     "config/compilation.py:resolve_cudagraph_mode_and_sizes",
     "With full CUDA graphs a model with recurrent states has a cache block for each of max_num_seqs requests.",
     "a smaller --max-num-seqs, a higher --gpu-memory-utilization, or cudagraph_mode PIECEWISE"},
    {"memory_unlikely", Phase::memory, "v1/core/kv_cache_utils.py:_check_enough_kv_cache_memory",
     "A plan's KV cache holds one request of max_model_len with a probability of at least one half, by the interval of "
     "what is left for it.",
     "a smaller --max-model-len, or more GPUs"},
};

/// A row of kOtherRules by its id. Any other id does not compile.
struct RuleId {
  std::size_t index = std::size(kOtherRules);  // no pointer: g++ 12 takes none for constant under -fsanitize=undefined
  consteval RuleId(const char* id) {
    for (std::size_t i = 0; i < std::size(kOtherRules); ++i)
      if (kOtherRules[i].id == id) index = i;
    if (index == std::size(kOtherRules)) throw "no row of kOtherRules has this id";
  }
  const Rule& row() const { return kOtherRules[index]; }
};

/// Something does not start: the row that says so, and what is wrong, with the numbers. Made by refuse() or by a row's
/// own predicate, so that its rule is always one of rules().
class Refusal {
 public:
  const Rule* rule;
  std::string message;
  bool is(RuleId id) const { return rule == &id.row(); }

 private:
  Refusal(const Rule& row, std::string what) : rule(&row), message(std::move(what)) {}
  friend Refusal refuse(RuleId id, std::string message);
  friend std::optional<Refusal> first_violation(Phase, const LayoutView&, const ResolveState*);
};
Refusal refuse(RuleId id, std::string message);

/// All rules, in the order in which vLLM checks them. An id can stand in several rows (several places, or versions).
std::span<const Rule* const> rules();

/// First row with this id, null if there is none.
const Rule* find_rule(std::string_view id);

}  // namespace shardwise
