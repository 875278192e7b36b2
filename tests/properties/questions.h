#pragma once
// The question that properties vary.
#include <memory>
#include <string>

#include "app/plan.h"
#include "model/bundled_model.h"
#include "workload/options.h"

namespace shardwise {

/// 1,024 tokens in, 256 out, at each plan's best load; without explanation.
inline PlanRequest question(const std::string& model, const std::string& gpus, Goal goal = Goal::balanced) {
  PlanRequest r;
  r.model_spec = model;
  r.model = std::make_shared<const Model>(bundled_model(model));
  r.cluster = parse_cluster(gpus);
  r.workload.isl = parse_length("1024", "--isl");
  r.workload.osl = parse_length("256", "--osl");
  r.goal = goal;
  r.explain = false;
  return r;
}

}  // namespace shardwise
