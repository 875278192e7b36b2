#include "config/quantity.h"

#include <charconv>
#include <cmath>
#include <span>

#include "base/input_error.h"
#include "base/text.h"

namespace shardwise {
namespace {

struct Unit {
  std::string_view name;
  double scale;
};

constexpr Unit kBytes[] = {
    {"GiB", 1073741824.0}, {"MiB", 1048576.0}, {"KiB", 1024.0}, {"TiB", 1099511627776.0}, {"GB", 1e9}, {"MB", 1e6},
    {"kB", 1e3},           {"TB", 1e12},       {"B", 1}};
constexpr Unit kBandwidth[] = {{"GB/s", 1e9},       {"TB/s", 1e12},    {"MB/s", 1e6},     {"GiB/s", 1073741824.0},
                               {"Gbit/s", 1e9 / 8}, {"Gbps", 1e9 / 8}, {"Gb/s", 1e9 / 8}, {"Tbit/s", 1e12 / 8},
                               {"Mbit/s", 1e6 / 8}, {"B/s", 1}};
constexpr Unit kSeconds[] = {{"us", 1e-6}, {"ns", 1e-9}, {"ms", 1e-3}, {"s", 1}};
constexpr Unit kFlops[] = {{"TFLOPS", 1e12}, {"PFLOPS", 1e15}, {"GFLOPS", 1e9},
                           {"TOPS", 1e12},   {"POPS", 1e15},   {"FLOPS", 1}};
constexpr Unit kWatts[] = {{"W", 1}, {"kW", 1e3}};
constexpr Unit kPrice[] = {{"USD/h", 1}, {"USD/hour", 1}, {"$/h", 1}};

/// A kind of quantity: its units, the usual one first, what it is called, an example.
struct Kind {
  std::span<const Unit> units;
  std::string_view what, example;
};

constexpr Kind kSizes{kBytes, "a size", "80 GiB"}, kBandwidths{kBandwidth, "a bandwidth", "450 GB/s"},
    kTimes{kSeconds, "a time", "5 us"}, kPeaks{kFlops, "a peak rate", "989.4 TFLOPS"},
    kPowers{kWatts, "a power", "700 W"}, kPrices{kPrice, "a price per GPU-hour", "2.5 USD/h"};

/// `text` in the unit that the quantity is held in; `range` and `shown`: how an end of it is written.
template <class Q>
double parse_with_unit(std::string_view text, const Kind& kind, const TextPlace& place, const Range<Q>& range,
                       std::string (*shown_as)(Q)) {
  const auto& units = kind.units;
  auto fail = [&](const std::string& message, const std::string& hint) -> double {
    throw InputError(place.file, place.line, place.path, message, hint);
  };
  const std::string_view trimmed = trim(text);
  double number = 0;
  const auto [end, error] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), number);
  const std::string shown(trimmed.substr(0, 60));
  if (error != std::errc() || !std::isfinite(number))
    return fail("'" + shown + "' is not " + std::string(kind.what),
                "write for example '" + std::string(kind.example) + "'");
  const std::string_view unit = trim(trimmed.substr(static_cast<std::size_t>(end - trimmed.data())));
  if (unit.empty())
    return fail("'" + shown + "' has no unit", "write for example '" + shown + " " + std::string(units[0].name) + "'");
  for (const Unit& candidate : units) {
    if (candidate.name != unit) continue;
    const double value = number * candidate.scale;
    if (!(value >= static_cast<double>(range.least.value) && value <= static_cast<double>(range.most.value)))
      return fail("'" + shown + "' is out of range", "from " + shown_as(range.least) + " to " + shown_as(range.most));
    return value;
  }
  std::vector<std::string> names;
  for (const Unit& candidate : units) names.emplace_back(candidate.name);
  std::string hint = did_you_mean(unit, names);
  return fail("unknown unit '" + std::string(unit.substr(0, 20)) + "'",
              hint.empty() ? "units: " + join(names, ", ") : hint);
}

/// `value` in the first unit whose text reads back exactly, else in the last one.
std::string text_with_unit(double value, std::span<const Unit> units) {
  std::string best;
  for (const Unit& unit : units) {
    const std::string number = number_text(value / unit.scale);
    double back = 0;
    parse_number(number, back);
    if (back * unit.scale != value) continue;
    if (best.empty() || number.size() + unit.name.size() + 1 < best.size())
      best = number + " " + std::string(unit.name);
  }
  return best;
}

}  // namespace

bool parse_number(std::string_view text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() && std::isfinite(value);
}

bool parse_number(std::string_view text, std::int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

Bytes parse_bytes(std::string_view text, const TextPlace& place, Range<Bytes> range) {
  return Bytes(std::llround(parse_with_unit(text, kSizes, place, range, bytes_text)));
}
BytesPerSecond parse_bandwidth(std::string_view text, const TextPlace& place, Range<BytesPerSecond> range) {
  return BytesPerSecond(parse_with_unit(text, kBandwidths, place, range, bandwidth_text));
}
Seconds parse_seconds(std::string_view text, const TextPlace& place, Range<Seconds> range) {
  return Seconds(parse_with_unit(text, kTimes, place, range, seconds_text));
}
FlopsPerSecond parse_flops(std::string_view text, const TextPlace& place, Range<FlopsPerSecond> range) {
  return FlopsPerSecond(parse_with_unit(text, kPeaks, place, range, flops_text));
}
Watts parse_watts(std::string_view text, const TextPlace& place, Range<Watts> range) {
  return Watts(parse_with_unit(text, kPowers, place, range, watts_text));
}
Dollars parse_price_per_hour(std::string_view text, const TextPlace& place, Range<Dollars> range) {
  std::string_view trimmed = trim(text);
  const bool in_front = trimmed.starts_with('$') && trimmed.ends_with("/h");
  const std::string rewritten =
      in_front ? std::string(trimmed.substr(1, trimmed.size() - 3)) + " USD/h" : std::string(trimmed);
  return Dollars(parse_with_unit(rewritten, kPrices, place, range, price_per_hour_text));
}

std::string bytes_text(Bytes bytes) {
  constexpr Unit exact[] = {{"GiB", 1073741824.0}, {"MiB", 1048576.0}, {"GB", 1e9}, {"MB", 1e6}};
  for (const Unit& unit : exact) {
    const double n = static_cast<double>(bytes.value) / unit.scale;
    if (n == std::floor(n) && n != 0) return number_text(n) + " " + std::string(unit.name);
  }
  return std::to_string(bytes.value) + " B";
}
std::string bandwidth_text(BytesPerSecond bandwidth) {
  constexpr Unit units[] = {{"GB/s", 1e9}, {"Gbit/s", 1e9 / 8}, {"B/s", 1}};
  return text_with_unit(bandwidth.value, units);
}
std::string seconds_text(Seconds seconds) {
  constexpr Unit units[] = {{"us", 1e-6}, {"ns", 1e-9}, {"ms", 1e-3}, {"s", 1}};
  return text_with_unit(seconds.value, units);
}
std::string flops_text(FlopsPerSecond flops) {
  constexpr Unit units[] = {{"TFLOPS", 1e12}, {"FLOPS", 1}};
  return text_with_unit(flops.value, units);
}
std::string watts_text(Watts watts) { return number_text(watts.value) + " W"; }
std::string price_per_hour_text(Dollars price) { return number_text(price.value) + " USD/h"; }

}  // namespace shardwise
