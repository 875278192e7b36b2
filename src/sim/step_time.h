#pragma once
// The seam between the simulator and whatever says how long a step takes.
#include <algorithm>
#include <cstdint>
#include <span>

#include "base/units.h"

namespace shardwise {

/// One scheduled request in one step, or several that decode, summed up.
struct ScheduledChunk {
  std::int64_t tokens = 0;    ///< tokens computed in this step
  std::int64_t context = 0;   ///< tokens already computed before it
  bool decode = false;        ///< a running request that gets its next token
  std::int64_t requests = 1;  ///< above 1: as many decodes, `tokens` and `context` are their sums
};

/// Duration of one step from its exact composition. Implementations are deterministic and thread-compatible.
class StepTime {
 public:
  virtual ~StepTime() = default;
  virtual Seconds step_time(std::span<const ScheduledChunk> batch) const = 0;
  /// Ranks that step together (MoE data parallelism): until the last of them is done. A rank without work has an empty
  /// batch and runs a dummy one.
  virtual Seconds lockstep_time(std::span<const std::span<const ScheduledChunk>> ranks) const {
    Seconds slowest{};
    for (const auto& batch : ranks)
      if (!batch.empty()) slowest = std::max(slowest, step_time(batch));
    return slowest;
  }
  /// With pipeline stages: the time of the busiest one, after which the next batch may follow.
  virtual Seconds stage_time(std::span<const ScheduledChunk> batch, int stages) const {
    return step_time(batch) / static_cast<double>(stages);
  }
};

}  // namespace shardwise
