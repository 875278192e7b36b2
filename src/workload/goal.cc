// SLOs and goals: text forms.
#include <cmath>

#include "base/input_error.h"
#include "base/text.h"
#include "config/ranges.h"
#include "workload/workload.h"

namespace shardwise {
namespace {

constexpr std::pair<std::string_view, SloMetric> kMetrics[] = {
    {"ttft", SloMetric::ttft}, {"tpot", SloMetric::tpot}, {"e2e", SloMetric::e2e}};
constexpr std::pair<std::string_view, SloStat> kStats[] = {{"mean", SloStat::mean},
                                                           {"p50", SloStat::p50},
                                                           {"p90", SloStat::p90},
                                                           {"p95", SloStat::p95},
                                                           {"p99", SloStat::p99}};
constexpr std::pair<std::string_view, Goal> kGoals[] = {
    {"throughput", Goal::throughput}, {"latency", Goal::latency}, {"cost", Goal::cost}, {"balanced", Goal::balanced}};

/// The value of `word` in a table of names, or an InputError that lists them.
template <class Value, std::size_t N>
Value value_of(std::string_view word, const std::pair<std::string_view, Value> (&table)[N], const std::string& what,
               const std::string& flag) {
  std::vector<std::string> names;
  for (const auto& [name, value] : table) {
    if (name == word) return value;
    names.emplace_back(name);
  }
  const std::string hint = did_you_mean(word.substr(0, 40), names);
  throw InputError(flag, 0, "", "unknown " + what + " '" + std::string(word.substr(0, 40)) + "'",
                   hint.empty() ? join(names, ", ") : hint);
}

template <class Value, std::size_t N>
std::string name_of(Value value, const std::pair<std::string_view, Value> (&table)[N]) {
  for (const auto& [name, v] : table)
    if (v == value) return std::string(name);
  return "";
}

}  // namespace

Slo parse_slo(std::string_view text, const std::string& flag) {
  text = trim(text);
  const auto colon = text.find(':'), below = text.find('<');
  if (colon == std::string_view::npos || below == std::string_view::npos || below < colon)
    throw InputError(flag, 0, "", "'" + std::string(text.substr(0, 60)) + "' is no SLO",
                     "write for example ttft:p99<500ms");
  std::string_view limit = text.substr(below + 1);
  if (limit.starts_with('=')) limit.remove_prefix(1);
  if (double bare = 0; parse_number(trim(limit), bare))
    throw InputError(flag, 0, "", "'" + std::string(text.substr(0, 60)) + "': the limit has no unit",
                     "write for example " + std::string(text.substr(0, 60)) + "ms");
  return {value_of(trim(text.substr(0, colon)), kMetrics, "metric", flag),
          value_of(trim(text.substr(colon + 1, below - colon - 1)), kStats, "statistic", flag),
          parse_seconds(limit, {flag, 0, ""}, ranges::slo_limit)};
}

std::string to_string(const Slo& slo) {
  const std::string head = name_of(slo.metric, kMetrics) + ":" + name_of(slo.stat, kStats) + "<";
  const double ms = slo.limit.value * 1e3;
  for (const double candidate : {std::round(ms), std::round(ms * 1e3) / 1e3, ms})
    if (candidate * 1e-3 == slo.limit.value) return head + number_text(candidate) + "ms";
  return head + number_text(slo.limit.value) + "s";
}

Goal parse_goal(std::string_view text, const std::string& flag) { return value_of(trim(text), kGoals, "goal", flag); }
std::string to_string(Goal goal) { return name_of(goal, kGoals); }

}  // namespace shardwise
