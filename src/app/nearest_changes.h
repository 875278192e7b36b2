#pragma once
// Changes of a question that has no plan, one at a time, each tried as `plan` would answer it.
#include <functional>
#include <optional>
#include <string>

#include "app/answer.h"
#include "app/plan.h"

namespace shardwise {

/// The question of `answer` with `edit` applied; nullopt if that is no question.
std::optional<Change> try_change(const PlanAnswer& answer, const std::string& what,
                                 const std::function<void(PlanRequest&)>& edit);

/// "TP8: 1,860 tokens/s, TPOT 17.1 ms, TTFT 139 ms"
std::string plan_words(const Plan& plan);

/// As many nodes like the first.
Cluster with_nodes(const Cluster& cluster, int nodes);

// Each adds what stands to `answer.nearest`.
/// The fewest more GPUs of the same kind, in one node or in at most `most_nodes` (or twice as many as there are).
void more_gpus(PlanAnswer& answer, int most_nodes);
/// As many GPUs of the vendor's kinds that have more of `measure`, the two nearest.
void other_gpus(PlanAnswer& answer, double (*measure)(const Gpu&));
/// Checkpoints of 8 and 4 bits; those that do not stand are added too.
void fewer_bits(PlanAnswer& answer);

}  // namespace shardwise
