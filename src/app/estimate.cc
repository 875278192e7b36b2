#include "app/estimate.h"

#include <algorithm>

#include "app/check.h"
#include "app/explain.h"
#include "cost/compiled_step.h"

namespace shardwise {

EstimateAnswer estimate(const CheckRequest& request) {
  EstimateAnswer a;
  a.check = check(request);
  if (!a.check.plan) return a;
  const auto& plan = *a.check.plan;
  const auto by_time = [](std::vector<OperatorTime> rows) {
    std::stable_sort(rows.begin(), rows.end(), [](const auto& x, const auto& y) { return x.time > y.time; });
    return rows;
  };
  a.decode = decode_batch(plan, request.workload);
  const double chunk = std::min(request.workload.isl.mean(), static_cast<double>(plan.engine.max_num_batched_tokens));
  a.prefill.prefill_seqs = 1;
  a.prefill.prefill_tokens = chunk;
  a.prefill.prefill_context = chunk * chunk / 2;
  a.decode_time = plan.step->step_time(a.decode);
  a.prefill_time = plan.step->step_time(a.prefill);
  a.decode_step = by_time(plan.step->breakdown(a.decode));
  a.prefill_step = by_time(plan.step->breakdown(a.prefill));

  const auto constants = constants_of(request.calibration.get(), request.model->shape_name());
  const auto tpot_with = [&](const std::function<void(Cluster&)>& edit) {
    Cluster cluster = request.cluster;
    edit(cluster);
    return compile_step(*request.model, plan.engine, cluster, plan.placement, constants).step_time(a.decode).value;
  };
  const double base = tpot_with([](Cluster&) {});
  const auto add = [&](const char* of, const std::function<void(Cluster&, double)>& scale) {
    const double up = tpot_with([&](Cluster& c) { scale(c, 1.01); });
    if (base > 0) a.sensitivities.push_back({of, (up / base - 1) / 0.01});
  };
  add("memory bandwidth", [](Cluster& c, double k) {
    for (auto& [name, gpu] : c.gpus) gpu.memory_bandwidth.value *= k;
  });
  add("compute peak", [](Cluster& c, double k) {
    for (auto& [name, gpu] : c.gpus)
      for (auto& [type, peak] : gpu.peak) peak.value *= k;
  });
  add("links", [](Cluster& c, double k) {
    for (auto& n : c.nodes)
      n.scale_up.bandwidth.value *= k, n.network.bandwidth.value *= k, n.pcie.bandwidth.value *= k,
          n.pcie_cross_numa.bandwidth.value *= k;
  });
  StepBatch more = a.decode;
  more.decode_seqs *= 1.01;
  more.decode_context *= 1.01;
  if (a.decode_time.value > 0)
    a.sensitivities.push_back({"sequences in flight", (plan.step->step_time(more) / a.decode_time - 1) / 0.01});
  return a;
}

}  // namespace shardwise
