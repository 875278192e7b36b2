#pragma once
// What a deployment did over time, in a bounded number of equal slices whose width doubles as time goes on.
#include <optional>
#include <vector>

#include "sim/simulate.h"

namespace shardwise {

class Timeline {
 public:
  explicit Timeline(int most_points) : most_(most_points < 4 ? 4 : most_points / 2 * 2) {}
  /// The state since the last call, up to `now`.
  void advance(Nanoseconds now, double running, double waiting, double kv_use);
  void add_tokens(Nanoseconds now, std::int64_t tokens);
  /// Points up to `end`.
  std::vector<TimelinePoint> points(Nanoseconds end) const;
  /// Half width (90 %) of the mean output rate, tokens/s, from the slices after `start`; 0 with fewer than 20.
  std::optional<double> rate_half_width(Nanoseconds start, Nanoseconds end) const;

 private:
  struct Slice {
    double running = 0, waiting = 0, kv = 0, tokens = 0;
  };  ///< areas, ns; tokens
  Slice& slice_at(Nanoseconds now);
  int most_;
  Nanoseconds width_ = 1'000'000;
  Nanoseconds last_ = 0;
  std::vector<Slice> slices_;
};

}  // namespace shardwise
