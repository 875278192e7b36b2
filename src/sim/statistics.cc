#include "sim/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/input_error.h"
#include "base/text.h"

namespace shardwise {
namespace {

constexpr int kBits = 8;  // 256 buckets per power of two
constexpr std::size_t kPerOctave = std::size_t{1} << kBits;

}  // namespace

void beyond_the_clock(double seconds) {
  throw InputError("simulation", 0, "", number_text(seconds) + " s is no time that can be simulated",
                   "at most " + number_text(kLongestSeconds) + " s: fewer requests, or a higher rate");
}

std::size_t Distribution::bucket(Nanoseconds value) {
  const auto v = static_cast<std::uint64_t>(std::max<Nanoseconds>(value, 0));
  if (v < kPerOctave) return v;
  const int shift = static_cast<int>(std::bit_width(v)) - 1 - kBits;
  return kPerOctave * static_cast<std::size_t>(shift) + (v >> shift);
}

double Distribution::bucket_start(std::size_t bucket) {
  if (bucket < kPerOctave) return static_cast<double>(bucket);
  const std::size_t shift = bucket / kPerOctave - 1;
  return std::ldexp(static_cast<double>(bucket - shift * kPerOctave), static_cast<int>(shift));
}

void Distribution::add(Nanoseconds value, std::int64_t count) {
  count_ += count;
  sum_ += static_cast<double>(value) * static_cast<double>(count);
  max_ = std::max(max_, value);
  if (histogram_.empty()) {
    if (exact_.size() + static_cast<std::size_t>(count) <= kExact) {
      exact_.insert(exact_.end(), static_cast<std::size_t>(count), value);
      sorted_ = false;
      return;
    }
    to_histogram();
  }
  const std::size_t b = bucket(value);
  if (b >= histogram_.size()) histogram_.resize(b + 1);
  histogram_[b] += count;
  below_.clear();
}

void Distribution::to_histogram() {
  histogram_.assign(bucket(max_) + 1, 0);
  for (const Nanoseconds v : exact_) ++histogram_[bucket(v)];
  exact_ = {};
}

double Distribution::quantile(double p) const {
  if (count_ == 0) return 0;
  const double rank = p * static_cast<double>(count_ - 1);
  if (histogram_.empty()) {
    if (!sorted_) std::sort(exact_.begin(), exact_.end());
    sorted_ = true;
    const auto lower = static_cast<std::size_t>(rank);
    const std::size_t upper = std::min(lower + 1, exact_.size() - 1);
    const double part = rank - static_cast<double>(lower);
    return static_cast<double>(exact_[lower]) + part * static_cast<double>(exact_[upper] - exact_[lower]);
  }
  if (below_.empty()) {
    below_.reserve(histogram_.size());
    std::int64_t below = 0;
    for (const std::int64_t here : histogram_) below_.push_back(below), below += here;
  }
  // The last bucket that begins at or below the rank, and is not empty.
  const auto after = std::upper_bound(below_.begin(), below_.end(), rank,
                                      [](double r, std::int64_t b) { return r < static_cast<double>(b); });
  const auto b = static_cast<std::size_t>(after - below_.begin()) - 1;
  const double start = bucket_start(b), end = std::min(bucket_start(b + 1), static_cast<double>(max_));
  return start + std::max(0.0, end - start) * (rank - static_cast<double>(below_[b]) + 0.5) /
                     static_cast<double>(histogram_[b]);
}

void BatchMeans::add(double value) {
  current_ += value;
  if (++in_current_ < size_) return;
  means_[full_++] = current_ / static_cast<double>(size_);
  current_ = 0;
  in_current_ = 0;
  if (full_ < kBatches) return;
  for (int i = 0; i < kBatches / 2; ++i) means_[i] = (means_[2 * i] + means_[2 * i + 1]) / 2;
  full_ = kBatches / 2;
  size_ *= 2;
}

std::optional<double> BatchMeans::half_width() const {
  if (full_ < 20) return std::nullopt;
  double mean = 0, squares = 0;
  for (int i = 0; i < full_; ++i) mean += means_[i] / full_;
  for (int i = 0; i < full_; ++i) squares += (means_[i] - mean) * (means_[i] - mean);
  // Student's t at 95 %: 1.729 with 19 degrees of freedom, 1.685 with 38.
  return 1.71 * std::sqrt(squares / (full_ - 1) / full_);
}

}  // namespace shardwise
