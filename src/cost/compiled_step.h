#pragma once
// What compile_step leaves behind: tables over the tokens of a step and a few attention operators.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "cost/attention_op.h"
#include "cost/constants.h"
#include "cost/cost.h"

namespace shardwise {

/// Tokens of a step at which everything but attention is evaluated; linear in between.
inline constexpr std::array<double, 28> kTokenKnots = {1,    2,    4,    8,     16,    24,    32,    48,   64,   96,
                                                       128,  192,  256,  384,   512,   768,   1024,  1536, 2048, 3072,
                                                       4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536};
inline constexpr std::size_t kKnots = kTokenKnots.size();
using TokenTable = std::array<double, kKnots>;

/// Position among the knots: table value = v[i] + f (v[i+1] - v[i]); extended in proportion beyond the last knot.
struct TokenAt {
  std::size_t i = 0;
  double f = 0;
  explicit TokenAt(double tokens);
  double operator()(const TokenTable& t) const { return t[i] + f * (t[i + 1] - t[i]); }
};

/// Operators that depend on the token count alone, all layers of all stages.
enum class TokenOp { attention_proj, dense_ffn, experts, router_shared, all_reduce, expert_comm, elementwise, lm_head };
inline constexpr std::size_t kTokenOps = 8;

/// A time for one batch through every stage, and for the slowest stage alone: what lies between two batches when every
/// stage is kept busy. Seconds.
struct StepParts {
  double all = 0, busiest = 0;
};

/// How the engine is split, as far as time depends on it.
struct StepLayout {
  int pp = 1, dp = 1;                       ///< dp: of MoE engines; dense ones are independent
  int tokens_per_sequence = 1;              ///< of a decode step: one and the speculative ones
  bool lockstep() const { return dp > 1; }  ///< MoE engines with data parallelism step together
};

/// Kernels of one step, coefficients applied. Seconds; gaps between kernels included.
struct KernelTimes {
  struct Tables {
    TokenTable decode{}, mixed{};  ///< steps of decodes alone, steps with prompts
  };
  Tables all, busiest;   ///< everything but attention and head: all stages, the slowest one (its head included)
  TokenTable lm_head{};  ///< head and sampler, over sequences whose logits are wanted
  std::vector<AttentionOp> attention;
  double decode_attention_scale = 1, prefill_attention_scale = 1;  ///< measured / kernel time
};

/// The CPU's launches, and what CUDA graphs save of them. Seconds a step.
struct LaunchTimes {
  std::vector<double> padded;  ///< sequences to run for b = 0 .. largest captured size; beyond it no padding
  double largest_graph = 0;    ///< tokens; 0 = no graphs
  bool full_graphs = true;     ///< decodes of captured sizes are one graph
  StepParts pieces;            ///< of a step in piecewise graphs
  StepParts scan;              ///< of the Mamba2 layers of a step with prompts
  StepParts uncaptured;        ///< of a step with more tokens than any graph
};

/// Messages between pipeline stages: `base` s and `per_token` s.
struct StageTransfers {
  struct Hop {
    double base = 0, per_token = 0;
  } all, slowest;  ///< all hops in turn; the slowest one
};

/// LoRA adapters of all stages and of the slowest, in steps whose requests all have one. Seconds.
struct AdapterTimes {
  TokenTable all{}, busiest{};
};

/// Weights that lie in host memory. Seconds.
struct HostWeights {
  TokenTable read{}, read_busiest{};         ///< kernels that read them in place; all stages, the slowest
  bool copied = false;                       ///< layers are copied into buffers, kTimes rows below
  StepParts copies;                          ///< of all layers, with nothing to hide behind
  static constexpr std::size_t kTimes = 61;  ///< kernels' times of all stages from 1e-4 s on, ten a decade
  static double time_at(std::size_t i);
  std::array<StepParts, kTimes> graph_waits{}, waits{};  ///< in a full CUDA graph; outside of one
  StepParts waits_at(double kernels, bool graph) const;
};

/// The host beside kernels and launches: engine core, then front end. Seconds.
struct HostTimes {
  double step = 0, mixed = 0, per_sequence = 0;       ///< a step; a step with prompts, beside that; a running sequence
  bool async_scheduling = true;                       ///< a step is scheduled while the one before it runs
  double http = 0;                                    ///< a request
  double first_token = 0, front_end = 0, stream = 0;  ///< a request; a prompt token; a request in flight
};

/// For the breakdown: seconds of the operators by token count, and the two sides of their roofs.
struct OperatorTables {
  std::array<TokenTable, kTokenOps> decode{}, mixed{}, compute{}, memory{};
  double gaps = 0;  ///< s between kernels of a step
};

/// Where the intervals come from.
struct BandSource {
  double widen = 1;                          ///< factor on the half width in ln
  double ttft_band = 1, tpot_band = 1;       ///< further ones: narrower by a calibration
  std::string reason;                        ///< why it is as wide as it is
  std::string gpu, shape;                    ///< the combination that measurements may be of: Gpu::name, shape_of()
  std::optional<std::uint64_t> combination;  ///< its key (cost/bands.h)
};

struct CompiledStepData {
  StepLayout layout;
  KernelTimes kernels;
  LaunchTimes launches;
  StageTransfers transfers;
  bool weight_options = false;  ///< whether one of the next two counts
  AdapterTimes adapters;
  HostWeights host_weights;
  HostTimes host;
  OperatorTables operators;
  BandSource band;
  double step_scale = 1;  ///< factor on every step: what a calibration found
};

StepParts step_parts(const CompiledStepData& d, const StepBatch& batch);

}  // namespace shardwise
