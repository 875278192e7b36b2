#pragma once
// Words for numbers that are already there: why the winner won, what holds it, what would flip the choice.
#include "app/answer.h"

namespace shardwise {

/// Reasons, binding constraint, runner-up, ladder, curves and flips of answer.search.plans[0]. Runs further searches.
Explanation explain(const PlanAnswer& answer, const SearchRequest& request);

/// Fills no_reason and nearest of an answer without plans.
void explain_nothing(PlanAnswer& answer, const SearchRequest& request);

/// What `other` loses (or gains) against `winner`, one sentence each, the deciding number first.
std::vector<std::string> compare_plans(const PlanAnswer& answer, const Plan& winner, const Plan& other);

/// The decode step of one engine rank at the plan's load, contexts at their mean.
StepBatch decode_batch(const Plan& plan, const Workload& workload);

}  // namespace shardwise
