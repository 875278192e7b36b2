#pragma once
// Quantities with their unit, as people write them: "80 GiB", "400 Gbit/s", "5 us". A number without a unit is an
// error.
#include <string>
#include <string_view>

#include "base/units.h"

namespace shardwise {

/// Where a value stands, for the InputError of a value that cannot be read.
struct TextPlace {
  std::string file;  ///< file name or flag
  int line = 0;      ///< 1-based, 0 = none
  std::string path;  ///< nodes[0].gpu
};

/// What a quantity may be, both included: config/ranges.h.
template <class Q>
struct Range {
  Q least, most;
};

/// "80 GB" (10^9), "80 GiB" (2^30), "81559 MiB" ... Rounded to whole bytes. A missing unit and a value out of `range`
/// throw, here and below.
Bytes parse_bytes(std::string_view text, const TextPlace& place, Range<Bytes> range);
/// "3350 GB/s", "3.35 TB/s", "400 Gbit/s", "400 Gbps".
BytesPerSecond parse_bandwidth(std::string_view text, const TextPlace& place, Range<BytesPerSecond> range);
/// "5 us", "1.5 ms", "2 s".
Seconds parse_seconds(std::string_view text, const TextPlace& place, Range<Seconds> range);
/// "989.4 TFLOPS", "4.5 PFLOPS", also TOPS / POPS.
FlopsPerSecond parse_flops(std::string_view text, const TextPlace& place, Range<FlopsPerSecond> range);
/// "700 W".
Watts parse_watts(std::string_view text, const TextPlace& place, Range<Watts> range);
/// Price of one GPU for one hour: "2.5 USD/h" or "$2.5/h".
Dollars parse_price_per_hour(std::string_view text, const TextPlace& place, Range<Dollars> range);

/// Text that reads back as exactly the same value.
std::string bytes_text(Bytes bytes);
std::string bandwidth_text(BytesPerSecond bandwidth);
std::string seconds_text(Seconds seconds);
std::string flops_text(FlopsPerSecond flops);
std::string watts_text(Watts watts);
std::string price_per_hour_text(Dollars price);

/// A decimal number that fills `text`; false if it is none (also for inf and nan).
bool parse_number(std::string_view text, double& value);
bool parse_number(std::string_view text, std::int64_t& value);

}  // namespace shardwise
