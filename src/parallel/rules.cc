#include "parallel/rules.h"

#include <vector>

#include "parallel/construction.h"
#include "parallel/rule_rows.h"

namespace shardwise {

namespace {

/// What a worker refuses for want of memory; src/memory decides them (memory_rule()), in this order.
constexpr Rule kMemoryRules[] = {
    {"memory_free_at_start",
     "memory",
     "v1/worker/utils.py:request_memory",
     "gpu_memory_utilization x total must be free when a worker starts: context and communicators are taken already.",
     "a lower --gpu-memory-utilization",
     {0, 8, 0}},
    {"memory_weights", "memory", "v1/worker/gpu_worker.py:load_model", "A rank's weights fit into its GPU.",
     "a larger TP or PP, a quantised checkpoint, or more experts' ranks"},
    {"memory_no_kv", "memory", "v1/core/kv_cache_utils.py:_check_enough_kv_cache_memory",
     "Weights, activations and CUDA graphs leave something for KV blocks.",
     "a higher --gpu-memory-utilization, a larger TP, fewer --max-num-batched-tokens or --max-num-seqs"},
    {"memory_max_model_len", "memory", "v1/core/kv_cache_utils.py:_check_enough_kv_cache_memory",
     "The KV cache holds one request of max_model_len.", "a smaller --max-model-len (or auto), --kv-cache-dtype fp8"},
};

}  // namespace

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
    for (const auto& rule : kMemoryRules) list->push_back(rule);
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
