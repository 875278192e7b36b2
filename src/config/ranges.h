#pragma once
// What the quantities that people write may be: beyond all hardware of the next years, inside of what is computed with
// exactly (times are counted in nanoseconds, bytes in bytes, of 64 bits).
#include "config/quantity.h"

namespace shardwise::ranges {

inline constexpr double most_tokens = 1 << 30;  ///< of a sequence
inline constexpr Range<Bytes> gpu_memory{Bytes(256'000'000), Bytes(64'000'000'000'000)};
inline constexpr Range<Bytes> memory_taken{Bytes(0), gpu_memory.most};
inline constexpr Range<Bytes> cache{Bytes(1024), Bytes(1'000'000'000'000)};
inline constexpr Range<BytesPerSecond> memory_bandwidth{gb_per_second(1), gb_per_second(1e6)};
inline constexpr Range<BytesPerSecond> link_bandwidth{gb_per_second(1e-3), gb_per_second(1e5)};
inline constexpr Range<Seconds> link_latency{Seconds(0), Seconds(1)};
inline constexpr Range<FlopsPerSecond> peak{tflops(1e-3), tflops(1e7)};
inline constexpr Range<Watts> power{Watts(1), Watts(1e5)};
inline constexpr Range<Dollars> price_per_hour{Dollars(0), Dollars(1e5)};
inline constexpr Range<Seconds> think_time{Seconds(0), Seconds(1e6)};
inline constexpr Range<Seconds> slo_limit{Seconds(1e-6), Seconds(1e6)};

}  // namespace shardwise::ranges
