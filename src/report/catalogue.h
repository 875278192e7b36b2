#pragma once
// The catalogues as tables for people and as JSON (docs/formats/plan.md).
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hardware/hardware.h"
#include "model/model.h"
#include "parallel/rules.h"
#include "report/table.h"

namespace shardwise {

std::string models_text(std::span<const Model> models, const Style& style);
std::string models_json(std::span<const Model> models);
std::string gpus_text(std::span<const Gpu> gpus, const Style& style);
std::string gpus_json(std::span<const Gpu> gpus);
std::string instances_text(std::span<const Instance> instances, const Style& style);
std::string instances_json(std::span<const Instance> instances);
std::string rules_text(std::span<const Rule* const> rules, const Style& style);
std::string rule_text(const Rule& rule, const Style& style);  ///< in full
std::string rules_json(std::span<const Rule* const> rules);

}  // namespace shardwise
