#pragma once
// How long a step takes: compile once per (model, engine, hardware), then evaluate cheaply.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "cost/constants.h"
#include "hardware/hardware.h"
#include "model/model.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// What one engine step computes, on one data-parallel rank.
struct StepBatch {
  double decode_seqs = 0;      ///< sequences that get one token
  double decode_context = 0;   ///< sum of their context lengths, tokens
  double prefill_tokens = 0;   ///< prompt tokens in this step, all chunks together
  double prefill_seqs = 0;     ///< chunks
  double prefill_context = 0;  ///< sum over chunks of chunk x (context before + chunk / 2): attended token pairs
};

/// One line of the answer to "where does the time go".
struct OperatorTime {
  std::string name;                              ///< "qkv_proj", "attention", "moe_experts", "all_reduce", "host" ...
  Seconds time;                                  ///< per step, all layers of the busiest stage
  Seconds compute, memory, communication, host;  ///< parts before taking the larger of compute and memory
  std::string bound;                             ///< compute | memory | communication | host
};

struct CompiledStepData;  ///< flat coefficients, see cost/compiled_step.h

/// Coefficients of one (model, engine, hardware). Immutable, shared, thread-safe.
class CompiledStep {
 public:
  Seconds step_time(const StepBatch& batch) const;  ///< wall time of one step of the whole engine; no allocation
  std::vector<OperatorTime> breakdown(const StepBatch& batch) const;
  explicit CompiledStep(std::shared_ptr<const CompiledStepData> data) : data_(std::move(data)) {}
  const CompiledStepData& data() const { return *data_; }

 private:
  std::shared_ptr<const CompiledStepData> data_;
};

/// `nodes`: how many nodes of the cluster one engine (all DP ranks of it) spans and how many GPUs of each: rank r of
/// the engine sits on node r / gpus_per_node. Links follow from that.
struct EnginePlacement {
  int gpus_per_node = 8;
};

/// One step compiled; who compiles many of a model keeps a StepCompiler. `fused_all_reduce`: what a measured run states
/// and EngineConfig does not; nullopt = the version's default.
CompiledStep compile_step(const Model& model, const EngineConfig& engine, const Cluster& cluster,
                          const EnginePlacement& where, const CostConstants& constants = default_constants(),
                          std::optional<bool> fused_all_reduce = std::nullopt);

}  // namespace shardwise
