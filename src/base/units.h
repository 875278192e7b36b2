#pragma once
// Quantities with a unit in their type. Sums and ratios that make no physical sense do not compile:
// Bytes + Seconds is an error, Bytes / BytesPerSecond is Seconds, Bytes / Bytes is a plain number.
#include <compare>
#include <cstdint>

namespace shardwise {

/// A number of one kind (Tag), held as Rep. Integer kinds (Bytes, Tokens) add up exactly.
template <class Tag, class Rep>
struct Quantity {
  Rep value{};
  constexpr Quantity() = default;
  constexpr explicit Quantity(Rep v) : value(v) {}
  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity& operator+=(Quantity o) {
    value += o.value;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity o) {
    value -= o.value;
    return *this;
  }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return Quantity(a.value + b.value); }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return Quantity(a.value - b.value); }
  friend constexpr Quantity operator-(Quantity a) { return Quantity(-a.value); }
  friend constexpr Quantity operator*(Quantity a, Rep k) { return Quantity(a.value * k); }
  friend constexpr Quantity operator*(Rep k, Quantity a) { return Quantity(a.value * k); }
  friend constexpr Quantity operator/(Quantity a, Rep k) { return Quantity(a.value / k); }
  friend constexpr double operator/(Quantity a, Quantity b) {
    return static_cast<double>(a.value) / static_cast<double>(b.value);
  }
};

using Bytes = Quantity<struct BytesTag, std::int64_t>;
using Seconds = Quantity<struct SecondsTag, double>;
using BytesPerSecond = Quantity<struct BytesPerSecondTag, double>;
using Flops = Quantity<struct FlopsTag, double>;  ///< floating-point operations (multiply-add = 2)
using FlopsPerSecond = Quantity<struct FlopsPerSecondTag, double>;
using Watts = Quantity<struct WattsTag, double>;
using Dollars = Quantity<struct DollarsTag, double>;

constexpr Seconds operator/(Bytes b, BytesPerSecond r) { return Seconds(static_cast<double>(b.value) / r.value); }
constexpr Seconds operator/(Flops f, FlopsPerSecond r) { return Seconds(f.value / r.value); }

constexpr Bytes kib(std::int64_t n) { return Bytes(n << 10); }
constexpr Bytes mib(std::int64_t n) { return Bytes(n << 20); }
constexpr Bytes gib(double n) { return Bytes(static_cast<std::int64_t>(n * 1073741824.0)); }
constexpr double to_gib(Bytes b) { return static_cast<double>(b.value) / 1073741824.0; }
constexpr Seconds microseconds(double us) { return Seconds(us * 1e-6); }
constexpr Seconds milliseconds(double ms) { return Seconds(ms * 1e-3); }
constexpr double to_ms(Seconds s) { return s.value * 1e3; }
constexpr double to_us(Seconds s) { return s.value * 1e6; }
constexpr BytesPerSecond gb_per_second(double gb) { return BytesPerSecond(gb * 1e9); }  ///< decimal GB/s
constexpr FlopsPerSecond tflops(double tf) { return FlopsPerSecond(tf * 1e12); }

/// A prediction: the value expected, and the interval that should hold it 9 times in 10. Same unit throughout.
struct Interval {
  double mean = 0, lo = 0, hi = 0;
  friend bool operator==(const Interval&, const Interval&) = default;
};

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t multiple) { return ceil_div(a, multiple) * multiple; }

}  // namespace shardwise
