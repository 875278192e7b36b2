#pragma once
// Arithmetic on numbers that somebody has written: Python's integers have no end, ours stop at theirs.
#include <cmath>
#include <cstdint>
#include <limits>

namespace shardwise {

/// a * b, or the end of the range that it lies beyond.
inline std::int64_t saturating_product(std::int64_t a, std::int64_t b) {
  std::int64_t product;
  if (!__builtin_mul_overflow(a, b, &product)) return product;
  return (a < 0) == (b < 0) ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
}

/// A number without its fraction, or the end of the range that it lies beyond; 0 for none at all (nan).
template <class Integer>
Integer saturating_cast(double value) {
  using Range = std::numeric_limits<Integer>;
  if (std::isnan(value)) return 0;
  if (value >= static_cast<double>(Range::max())) return Range::max();
  return value <= static_cast<double>(Range::min()) ? Range::min() : static_cast<Integer>(value);
}

}  // namespace shardwise
