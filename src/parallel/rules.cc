#include "parallel/rules.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

std::vector<const Rule*> all_rules() {
  std::vector<const Rule*> all;
  for (const std::span<const Rule> part : {field_rules(), config_rules(), execution_rules(), construction_rules(),
                                           weight_rules(), std::span<const Rule>(kOtherRules)})
    for (const auto& rule : part) all.push_back(&rule);
  const auto first_phase = [](const Rule* rule) { return std::countr_zero(rule->when.phases); };
  std::stable_sort(all.begin(), all.end(),
                   [&](const Rule* a, const Rule* b) { return first_phase(a) < first_phase(b); });
  return all;
}

/// Per phase the rows with a predicate of their own.
auto rules_by_phase() {
  std::array<std::vector<const Rule*>, kPhases> by_phase;
  for (int phase = 0; phase < kPhases; ++phase)
    for (const Rule* rule : rules())
      if (rule->when.in(Phase{phase}) && (rule->check.of_start || rule->check.of_layout))
        by_phase[static_cast<std::size_t>(phase)].push_back(rule);
  return by_phase;
}

}  // namespace

std::string_view Rule::stage() const {
  switch (Phase{std::countr_zero(when.phases)}) {
    case Phase::launch:
      return "launch";
    case Phase::worker:
      return "worker";
    case Phase::construction:
      return "model";
    case Phase::memory:
      return "memory";
    default:
      return "config";
  }
}

std::span<const Rule* const> rules() {
  static const auto all = all_rules();
  return all;
}

const Rule* find_rule(std::string_view id) {
  const auto at = std::ranges::find(rules(), id, &Rule::id);
  return at == rules().end() ? nullptr : *at;
}

Refusal refuse(RuleId id, std::string message) { return {id.row(), std::move(message)}; }

std::optional<Refusal> first_violation(Phase phase, const LayoutView& layout, const ResolveState* start) {
  static const auto by_phase = rules_by_phase();
  for (const Rule* rule : by_phase[static_cast<std::size_t>(phase)]) {
    if (!rule->when.holds(layout.v)) continue;
    if (auto what = rule->check.of_layout ? rule->check.of_layout(layout) : rule->check.of_start(*start))
      return Refusal(*rule, std::move(*what));
  }
  return std::nullopt;
}

}  // namespace shardwise
