#pragma once
// Seeded random streams. The same seed gives the same numbers on every machine, compiler and thread count.
#include <cmath>
#include <cstdint>

namespace shardwise {

/// splitmix64 (Steele, Lea, Flood 2014): one 64-bit state, good enough to seed and to simulate with.
struct Rng {
  std::uint64_t state;
  explicit Rng(std::uint64_t seed) : state(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Uniform integer in [lo, hi], both included.
  std::int64_t uniform_int(std::int64_t lo, std::int64_t hi) {
    return lo + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(hi - lo + 1));
  }
  /// Exponential with the given mean.
  double exponential(double mean) { return -mean * std::log1p(-uniform()); }
  /// Standard normal (Box-Muller, one value a call so that streams stay in step).
  double normal() {
    const double u = 1.0 - uniform(), v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }
  /// An independent stream for part `index` of the work, whatever the order in which parts run.
  Rng fork(std::uint64_t index) const {
    Rng child(state ^ (index + 1) * 0xD1342543DE82EF95ull);
    child.next();
    return child;
  }
};

}  // namespace shardwise
