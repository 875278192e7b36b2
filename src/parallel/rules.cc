#include "parallel/rules.h"

#include <vector>

#include "parallel/construction.h"
#include "parallel/rule_rows.h"

namespace shardwise {

std::span<const RuleRow> rule_rows() {
  static const auto* all = [] {
    auto* list = new std::vector<RuleRow>;
    for (const auto part : {config_rule_rows(), execution_rule_rows()})
      list->insert(list->end(), part.begin(), part.end());
    return list;
  }();
  return *all;
}

std::span<const Rule> rules() {
  static const auto* all = [] {
    auto* list = new std::vector<Rule>;
    for (const auto& row : rule_rows())
      if (row.phase != Phase::spec_target) list->push_back(row.rule);
    for (const auto& rule : construction_rules()) list->push_back(rule);
    return list;
  }();
  return *all;
}

const Rule* find_rule(std::string_view id) {
  for (const auto& rule : rules())
    if (rule.id == id) return &rule;
  return nullptr;
}

}  // namespace shardwise
