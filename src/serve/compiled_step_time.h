#pragma once
// Step times of the simulated engines.
#include <memory>
#include <span>

#include "cost/cost.h"
#include "sim/step_time.h"

namespace shardwise {

/// StepTime over compiled coefficients. Holds the coefficients alive.
class CompiledStepTime : public StepTime {
 public:
  explicit CompiledStepTime(std::shared_ptr<const CompiledStep> step) : step_(std::move(step)) {}
  Seconds step_time(std::span<const ScheduledChunk> batch) const override;
  /// Up to the largest captured size vLLM pads all ranks to the fullest one; a larger prompt step runs unpadded, and
  /// the experts see the tokens of all ranks together (v1/worker/dp_utils.py).
  Seconds lockstep_time(std::span<const std::span<const ScheduledChunk>> ranks) const override;
  Seconds stage_time(std::span<const ScheduledChunk> batch, int stages) const override;

 private:
  std::shared_ptr<const CompiledStep> step_;
};

}  // namespace shardwise
