// Length distributions: text forms, moments, quantiles, samples.
#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/input_error.h"
#include "base/text.h"
#include "config/quantity.h"
#include "workload/workload.h"

namespace shardwise {
namespace {

/// No prompt or answer is longer; also keeps every sum of lengths inside int64.
constexpr double kLongest = 1e9;
/// Where an unbounded distribution is cut.
constexpr double kLastQuantile = 0.999;

/// Standard normal quantile: Acklam's rational approximation (2003), relative error below 1.2e-9, 0 < p < 1.
double normal_quantile(double p) {
  constexpr double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                          1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  constexpr double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
                          -1.328068155288572e+01};
  constexpr double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                          -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  constexpr double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00};
  auto tail = [&](double q) {
    return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
           ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
  };
  if (p < 0.02425) return tail(std::sqrt(-2 * std::log(p)));
  if (p > 1 - 0.02425) return -tail(std::sqrt(-2 * std::log1p(-p)));
  const double q = p - 0.5, r = q * q;
  return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
         (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

double lognormal_mu(const LengthDistribution& d) { return std::log(d.a) - d.b * d.b / 2; }

double total_weight(const LengthDistribution& d) {
  double sum = 0;
  for (const auto& [weight, tokens] : d.points) sum += weight;
  return sum;
}

/// E[L^power] of the piecewise linear quantile function, power 1 or 2.
double percentile_moment(const LengthDistribution& d, int power) {
  double sum = 0;
  for (std::size_t i = 1; i < d.points.size(); ++i) {
    const auto [p0, x0] = d.points[i - 1];
    const auto [p1, x1] = d.points[i];
    sum += (p1 - p0) * (power == 1 ? (x0 + x1) / 2 : (x0 * x0 + x0 * x1 + x1 * x1) / 3);
  }
  // Above the last point every length is the last one.
  return sum + (1 - d.points.back().first) * std::pow(d.points.back().second, power);
}

}  // namespace

double LengthDistribution::mean() const {
  switch (kind) {
    case Kind::constant:
      return a;
    case Kind::uniform:
      return (a + b) / 2;
    case Kind::lognormal:
      return a;
    case Kind::percentiles:
      return percentile_moment(*this, 1);
    case Kind::empirical: {
      double sum = 0;
      for (const auto& [weight, tokens] : points) sum += weight * tokens;
      return sum / total_weight(*this);
    }
  }
  assert(false);
  return 0;
}

double LengthDistribution::second_moment() const {
  switch (kind) {
    case Kind::constant:
      return a * a;
    case Kind::uniform: {
      const double count = b - a + 1;  // whole numbers: variance (n^2 - 1) / 12
      return mean() * mean() + (count * count - 1) / 12;
    }
    case Kind::lognormal:
      return a * a * std::exp(b * b);
    case Kind::percentiles:
      return percentile_moment(*this, 2);
    case Kind::empirical: {
      double sum = 0;
      for (const auto& [weight, tokens] : points) sum += weight * tokens * tokens;
      return sum / total_weight(*this);
    }
  }
  assert(false);
  return 0;
}

double LengthDistribution::quantile(double p) const {
  p = std::clamp(p, 0.0, 1.0);
  switch (kind) {
    case Kind::constant:
      return a;
    case Kind::uniform:
      return a + p * (b - a);
    case Kind::lognormal:
      return std::clamp(std::exp(lognormal_mu(*this) + b * normal_quantile(std::clamp(p, 1e-9, kLastQuantile))), 1.0,
                        kLongest);
    case Kind::percentiles: {
      for (std::size_t i = 1; i < points.size(); ++i) {
        const auto [p0, x0] = points[i - 1];
        const auto [p1, x1] = points[i];
        if (p <= p1) return p1 > p0 ? x0 + (x1 - x0) * std::max(0.0, (p - p0) / (p1 - p0)) : x1;
      }
      return points.back().second;
    }
    case Kind::empirical: {
      double left = p * total_weight(*this);
      for (const auto& [weight, tokens] : points) {
        left -= weight;
        if (left <= 0) return tokens;
      }
      return points.back().second;
    }
  }
  assert(false);
  return 0;
}

std::int64_t LengthDistribution::max() const {
  double longest = quantile(1);
  if (kind == Kind::empirical)
    for (const auto& [weight, tokens] : points) longest = std::max(longest, tokens);
  return std::max<std::int64_t>(1, std::llround(std::ceil(longest)));
}

std::int64_t LengthDistribution::sample(Rng& rng) const {
  if (kind == Kind::uniform) return std::max<std::int64_t>(1, rng.uniform_int(std::llround(a), std::llround(b)));
  return std::clamp<std::int64_t>(std::llround(quantile(rng.uniform())), 1, max());
}

namespace {

/// Reads the text forms. All members throw InputError in terms of `flag`.
struct LengthText {
  std::string whole;
  const std::string& flag;

  [[noreturn]] void fail(const std::string& message, const std::string& hint = "") const {
    throw InputError(flag, 0, "", message, hint);
  }

  double tokens(std::string_view text) const {
    double value = 0;
    if (!parse_number(trim(text), value))
      fail("'" + std::string(text.substr(0, 40)) + "' is no length", "tokens, as in 1024");
    if (value < 1 || value > kLongest)
      fail("length " + std::string(trim(text)) + " is out of range", "1 to 1000000000 tokens");
    return value;
  }
  double whole_tokens(std::string_view text) const {
    const double value = tokens(text);
    if (value != std::floor(value)) fail("length " + std::string(trim(text)) + " is not a whole number of tokens");
    return value;
  }
  /// "mean=1024" -> 1024 for key "mean"; a bare "1024" is taken too.
  std::string_view value_of(std::string_view key, std::string_view text) const {
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) return text;
    if (trim(text.substr(0, equals)) != key)
      fail("'" + std::string(text.substr(0, 40)) + "': expected '" + std::string(key) + "='");
    return text.substr(equals + 1);
  }

  LengthDistribution percentiles(const std::vector<std::string>& parts) const {
    LengthDistribution d{LengthDistribution::Kind::percentiles, 0, 0, {}};
    for (const auto& part : parts) {
      const std::string_view text = trim(part);
      const auto equals = text.find('=');
      double p = 0;
      if (equals == std::string_view::npos || !text.starts_with('p') ||
          !parse_number(trim(text.substr(1, equals - 1)), p) || p < 0 || p > 100)
        fail("'" + std::string(text.substr(0, 40)) + "' is no percentile", "write for example p50=900");
      d.points.emplace_back(p / 100, tokens(text.substr(equals + 1)));
    }
    if (d.points.front().first > 0) d.points.insert(d.points.begin(), {0.0, 1.0});
    for (std::size_t i = 1; i < d.points.size(); ++i)
      if (d.points[i].first <= d.points[i - 1].first || d.points[i].second < d.points[i - 1].second)
        fail("'" + whole + "': percentiles must rise, and lengths must not fall");
    return d;
  }

  LengthDistribution empirical(const std::vector<std::string>& parts) const {
    LengthDistribution d{LengthDistribution::Kind::empirical, 0, 0, {}};
    for (const auto& part : parts) {
      const auto colon = part.find(':');
      double weight = 0;
      if (colon == std::string::npos || !parse_number(trim(std::string_view(part).substr(0, colon)), weight) ||
          weight <= 0 || weight > 1e15)
        fail("'" + part.substr(0, 40) + "' is no weight:tokens pair", "write for example 3:100");
      d.points.emplace_back(weight, tokens(std::string_view(part).substr(colon + 1)));
    }
    for (std::size_t i = 1; i < d.points.size(); ++i)
      if (d.points[i].second <= d.points[i - 1].second) fail("'" + whole.substr(0, 40) + "': lengths must rise");
    return d;
  }
};

}  // namespace

LengthDistribution parse_length(std::string_view text, const std::string& flag) {
  text = trim(text);
  const LengthText reader{std::string(text.substr(0, 80)), flag};
  using Kind = LengthDistribution::Kind;
  const auto open = text.find('[');
  if (open == std::string_view::npos) {
    if (text.empty()) reader.fail("no length given", "tokens, as in 1024");
    if (std::isalpha(static_cast<unsigned char>(text[0])))
      reader.fail("'" + reader.whole + "' is no length",
                  "1024, uniform[a,b], lognormal[mean=,sigma=] or percentiles[p50=,p99=]");
    return {Kind::constant, reader.whole_tokens(text), 0, {}};
  }
  if (!text.ends_with(']')) reader.fail("'" + reader.whole + "': the ']' is missing");
  const std::string_view name = trim(text.substr(0, open));
  const std::vector<std::string> parts = split(text.substr(open + 1, text.size() - open - 2), ',');
  if (name == "uniform") {
    if (parts.size() != 2)
      reader.fail("'" + reader.whole + "': uniform has two ends", "write for example uniform[819,1024]");
    const LengthDistribution d{Kind::uniform, reader.whole_tokens(parts[0]), reader.whole_tokens(parts[1]), {}};
    if (d.a > d.b) reader.fail("'" + reader.whole + "': the first end is above the second");
    return d;
  }
  if (name == "random") {  // vLLM's sample_random_lengths: floor and ceil of tokens x (1 -+ ratio)
    double ratio = 0;
    if (parts.size() != 2 || !parse_number(trim(reader.value_of("ratio", parts[1])), ratio) || ratio < 0 || ratio >= 1)
      reader.fail("'" + reader.whole + "': random has a length and a range ratio of at least 0 and below 1",
                  "write for example random[1024,0.5]");
    const double tokens = reader.whole_tokens(parts[0]);
    return {Kind::uniform, std::max(1.0, std::floor(tokens * (1 - ratio))), std::ceil(tokens * (1 + ratio)), {}};
  }
  if (name == "lognormal") {
    if (parts.size() != 2)
      reader.fail("'" + reader.whole + "': lognormal has two parts",
                  "write for example lognormal[mean=1024,sigma=0.6]");
    LengthDistribution d{Kind::lognormal, reader.tokens(reader.value_of("mean", parts[0])), 0, {}};
    if (!parse_number(trim(reader.value_of("sigma", parts[1])), d.b) || d.b <= 0 || d.b > 4)
      reader.fail("'" + reader.whole + "': sigma (of the logarithm) must be above 0 and at most 4");
    return d;
  }
  if (name == "percentiles") return reader.percentiles(parts);
  if (name == "empirical") return reader.empirical(parts);
  const std::vector<std::string> names = {"uniform", "random", "lognormal", "percentiles", "empirical"};
  const std::string hint = did_you_mean(name, names);
  reader.fail("unknown distribution '" + std::string(name.substr(0, 40)) + "'",
              hint.empty() ? join(names, ", ") : hint);
}

std::string to_string(const LengthDistribution& d) {
  using Kind = LengthDistribution::Kind;
  switch (d.kind) {
    case Kind::constant:
      return number_text(d.a);
    case Kind::uniform:
      return "uniform[" + number_text(d.a) + "," + number_text(d.b) + "]";
    case Kind::lognormal:
      return "lognormal[mean=" + number_text(d.a) + ",sigma=" + number_text(d.b) + "]";
    case Kind::percentiles: {
      std::vector<std::string> parts;
      for (const auto& [p, tokens] : d.points) {
        if (parts.empty() && p == 0 && tokens == 1 && d.points.size() > 1) {
          parts.emplace_back();  // the start that the reader adds by itself
          continue;
        }
        // p is a hundredth of what was written: look for the text that reads back as exactly this p.
        std::string percent = number_text(p * 100);
        double value = 0;
        for (const double near : {std::round(p * 1e4) / 1e2, std::round(p * 1e6) / 1e4})
          if (near / 100 == p) {
            percent = number_text(near);
            break;
          }
        if (parse_number(percent, value) && value / 100 != p)
          percent = number_text(std::nextafter(p * 100, value / 100 < p ? 1e9 : 0));
        parts.push_back("p" + percent + "=" + number_text(tokens));
      }
      if (parts.front().empty()) parts.erase(parts.begin());
      return "percentiles[" + join(parts, ",") + "]";
    }
    case Kind::empirical: {
      std::vector<std::string> parts;
      for (const auto& [weight, tokens] : d.points) parts.push_back(number_text(weight) + ":" + number_text(tokens));
      return "empirical[" + join(parts, ",") + "]";
    }
  }
  assert(false);
  return "";
}

}  // namespace shardwise
