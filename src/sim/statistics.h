#pragma once
// Statistics of a stream of durations, in constant memory.
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace shardwise {

/// Simulated time and durations: integer nanoseconds, so that sums are exact.
using Nanoseconds = std::int64_t;
constexpr double to_seconds(Nanoseconds t) { return static_cast<double>(t) * 1e-9; }
/// No time that is simulated is longer (127 years), so that the sum of two is one, too.
constexpr double kLongestSeconds = 4e9;
/// InputError: of a time that no clock holds.
[[noreturn]] void beyond_the_clock(double seconds);
constexpr Nanoseconds to_nanoseconds(double seconds) {
  if (!(seconds >= -kLongestSeconds && seconds <= kLongestSeconds)) beyond_the_clock(seconds);
  return static_cast<Nanoseconds>(seconds * 1e9 + (seconds < 0 ? -0.5 : 0.5));
}

/// Mean, and quantiles that are exact (numpy's linear interpolation) for the first 65,536 values, afterwards from a
/// histogram with buckets 0.4 % wide.
class Distribution {
 public:
  void add(Nanoseconds value, std::int64_t count = 1);
  std::int64_t count() const { return count_; }
  double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }  ///< nanoseconds
  Nanoseconds max() const { return max_; }
  /// p in [0, 1]; 0 without values. Nanoseconds.
  double quantile(double p) const;

 private:
  static constexpr std::size_t kExact = 1 << 16;
  static std::size_t bucket(Nanoseconds value);
  static double bucket_start(std::size_t bucket);
  void to_histogram();

  std::int64_t count_ = 0;
  double sum_ = 0;
  Nanoseconds max_ = 0;
  mutable std::vector<Nanoseconds> exact_;
  mutable bool sorted_ = true;
  std::vector<std::int64_t> histogram_;      ///< empty while exact
  mutable std::vector<std::int64_t> below_;  ///< values in the buckets before; empty = not counted yet
};

/// A distribution of which only weights of recurring values come in: many requests wait for the same step.
class GapDistribution {
 public:
  void add(Nanoseconds value, std::int64_t count = 1) {
    if (value != last_) flush(), last_ = value;
    pending_ += count;
  }
  const Distribution& values() {
    flush();
    return values_;
  }

 private:
  void flush() {
    if (pending_ > 0) values_.add(last_, pending_);
    pending_ = 0;
  }
  Distribution values_;
  Nanoseconds last_ = -1;
  std::int64_t pending_ = 0;
};

/// Confidence of a mean of correlated values by the method of batch means: 20 to 39 batches, whose size doubles.
class BatchMeans {
 public:
  void add(double value);
  /// Half width of the interval that holds the mean 9 times in 10; nullopt with fewer than 20 batches.
  std::optional<double> half_width() const;

 private:
  static constexpr int kBatches = 40;
  std::array<double, kBatches> means_{};
  int full_ = 0;
  std::int64_t size_ = 1, in_current_ = 0;
  double current_ = 0;
};

}  // namespace shardwise
