#pragma once
// A clock for tests of the simulator: a step takes 1 ms and 1 us a token, so that answers can be worked out by hand.
#include "sim/step_time.h"

namespace shardwise {

struct LinearStep final : StepTime {
  Seconds step_time(std::span<const ScheduledChunk> batch) const override {
    double us = 1000;
    for (const ScheduledChunk& c : batch) us += static_cast<double>(c.tokens);
    return microseconds(us);
  }
};

}  // namespace shardwise
