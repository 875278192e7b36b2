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
using TokenTable = std::array<double, kTokenKnots.size()>;

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

struct CompiledStepData {
  // Seconds of everything but attention and host, coefficients applied; `busiest`: the slowest pipeline stage alone.
  TokenTable decode_all{}, mixed_all{}, decode_busiest{}, mixed_busiest{};
  TokenTable lm_head{};  ///< over sequences whose logits are wanted
  std::vector<AttentionOp> attention;
  double decode_attention_scale = 1, prefill_attention_scale = 1, prefill_scale = 1;

  // CUDA graphs: padded batch by batch; beyond the last size no padding.
  std::vector<double> padded;  ///< padded[b] for b = 0 .. largest captured size
  bool full_graphs = true;
  double eager_floor = 0;  ///< s: CPU launches of one step that is not in a full graph
  double eager_floor_busiest = 0;
  double scan_floor = 0, scan_floor_busiest = 0;  ///< s: CPU launches of the Mamba2 layers of a step with prompts

  double host = 0, host_mixed = 0, per_sequence = 0;
  int pp = 1, dp = 1, tp = 1, tokens_per_sequence = 1;
  bool lockstep = false;                             ///< MoE engines with data parallelism step together
  double transfer_base = 0, transfer_per_token = 0;  ///< s: all hops between stages
  double hop_base = 0, hop_per_token = 0;            ///< s: the slowest hop

  // Serving.
  double http = 0, first_token = 0, front_end = 0, stream = 0;
  bool async_scheduling = true;  ///< a step is scheduled while the one before it runs
  double uncaptured_floor = 0;   ///< s: CPU launches of a prompt step with more tokens than any graph
  double largest_graph = 0;      ///< tokens
  bool hybrid_or_linear = false;

  // For the breakdown: raw seconds and the two sides of the roof by operator.
  std::array<TokenTable, kTokenOps> op_decode{}, op_mixed{}, op_compute{}, op_memory{};
  double gaps = 0;
  std::string all_reduce_algorithm;  ///< of a decode step

  double step_scale = 1;  ///< factor on every step: what a calibration found

  // Where the band comes from.
  double widen = 1;
  double ttft_band = 1, tpot_band = 1;  ///< narrower by a calibration
  std::string band_reason;
  std::string architecture_class;  ///< dense | moe | moe-mla | hybrid
  std::string gpu, shape;          ///< the combination that measurements may be of: Gpu::name, sizes and weight types
  std::uint64_t combination = 0;   ///< its key (cost/bands.h)
  bool blackwell = false;
  int stages_nodes = 1;
};

struct StepParts {
  double all = 0;      ///< s: one batch through every stage
  double busiest = 0;  ///< s: the time between two batches when every stage is kept busy
};
StepParts step_parts(const CompiledStepData& d, const StepBatch& batch);

/// What a measured run states and EngineConfig does not, and other coefficients than the shipped ones.
struct CostOptions {
  const CostConstants* constants = nullptr;  ///< null = default_constants()
  std::optional<bool> fused_all_reduce;      ///< all-reduce fused with RMSNorm; nullopt = the version's default
};
CompiledStep compile_step(const Model& model, const EngineConfig& engine, const Cluster& cluster,
                          const EnginePlacement& where, const CostOptions& options);

}  // namespace shardwise
