#include "app/simulate.h"

#include <fmt/format.h>

#include <cmath>

#include "app/check.h"
#include "base/input_error.h"
#include "base/text.h"
#include "parallel/not_modelled.h"
#include "serve/compiled_step_time.h"
#include "serve/simulation_config.h"

namespace shardwise {
namespace {

/// Bytes of KV that one token leaves in the whole model, copies inside the TP group counted once.
Bytes kv_bytes_per_token(const Plan& plan) {
  const auto& m = plan.memory;
  if (m.kv_tokens <= 0) return {};
  const auto& stage = m.stages[static_cast<std::size_t>(m.binding_stage)];
  double layers = 0;
  for (const auto& s : m.stages) layers += s.last_layer - s.first_layer;
  const double of_rank = static_cast<double>(stage.kv_cache.value) / static_cast<double>(m.kv_tokens);
  return Bytes(std::llround(of_rank * plan.layout.parallel.tensor_parallel_size / m.kv_replication * layers /
                            std::max(1, stage.last_layer - stage.first_layer)));
}

/// The `index`-th GPU of the cluster.
GpuAt gpu_at(const Cluster& cluster, int index) {
  int node = 0;
  while (index >= cluster.nodes[static_cast<std::size_t>(node)].usable_gpus())
    index -= cluster.nodes[static_cast<std::size_t>(node++)].usable_gpus();
  return {node, index};
}

/// Prefill instances take the first GPUs, those that decode the ones behind them; rank sends to rank.
KvTransfer kv_transfer(const Cluster& cluster, const Plan& prefill, int prefill_replicas, const Plan& decode) {
  const Link& link =
      link_between(cluster, gpu_at(cluster, 0), gpu_at(cluster, prefill_replicas * prefill.layout.gpus()));
  const int lanes = std::min(prefill.layout.parallel.world_size(), decode.layout.parallel.world_size());
  return {link.name, kv_bytes_per_token(decode), BytesPerSecond(link.bandwidth.value * lanes), link.latency};
}

void check_gpus(const SimulateRequest& r, const Plan& decode, const std::optional<Plan>& prefill) {
  const int decode_gpus = r.replicas * decode.layout.gpus(),
            prefill_gpus = prefill ? r.prefill->replicas * prefill->layout.gpus() : 0;
  const int offered = r.command.cluster.total_gpus();
  if (decode_gpus + prefill_gpus <= offered) return;
  throw InputError(
      prefill ? "--prefill" : "--replicas", 0, "",
      fmt::format(
          "{}{} x {} GPUs = {}, the cluster has {}",
          prefill ? fmt::format("{} x {} GPUs to prefill and ", r.prefill->replicas, prefill->layout.gpus()) : "",
          r.replicas, decode.layout.gpus(), decode_gpus + prefill_gpus, offered),
      "fewer replicas, or more GPUs");
}

CheckAnswer check_for_simulation(const SimulateRequest& request, const EngineArgs& args) {
  CheckRequest c = request.command;
  c.args = args;
  c.find_changes = c.simulate = false;
  // The estimate wants one kind of load; the simulator takes a limit on an open loop too.
  if (c.workload.request_rate) c.workload.concurrency.reset();
  return check(c);
}

void add_notes(SimulateAnswer& a) {
  const auto& w = a.workload;
  const auto& e = a.check.plan->engine;
  if (!w.trace && w.concurrency && !a.request.command.workload.concurrency && !a.max_rate)
    a.notes.push_back(fmt::format("no load given: {} requests in flight", *w.concurrency));
  if (!(w.osl == a.request.command.workload.osl))
    a.notes.push_back(
        fmt::format("answers vary by a tenth around {} tokens, as measured closed loops do; for equal ones "
                    "write uniform[n,n]",
                    number_text(a.request.command.workload.osl.a)));
  if (e.num_speculative_tokens > 0)
    a.notes.push_back(fmt::format("{} draft tokens a step, each accepted with a chance of {:.0f} % (--acceptance-rate)",
                                  e.num_speculative_tokens, 100 * a.request.acceptance_rate));
  if (const auto note = not_modelled_note(a.request.command.args); !note.empty()) a.notes.push_back(note);
  if (a.request.command.args.scheduling_policy == "priority") a.notes.push_back("all requests have the same priority");
}

}  // namespace

SimulateAnswer simulate_command(const SimulateRequest& request) {
  SimulateAnswer a;
  a.request = request;
  a.check = check_for_simulation(request, request.command.args);
  if (request.prefill) a.prefill = check_for_simulation(request, request.prefill->args);
  if (!a.check.plan || (a.prefill && !a.prefill->plan)) return a;

  const Plan& plan = *a.check.plan;
  const auto config_of = [&](const Plan& p, const EngineArgs& args) {
    return simulation_config({*a.check.request.model, p.engine, p.memory, *p.step, request.replicas}, args,
                             request.command.workload);
  };
  check_gpus(request, *a.check.plan, a.prefill ? a.prefill->plan : std::nullopt);

  auto config = config_of(plan, request.command.args);
  config.routing = request.routing;
  if (request.dp_balancing) config.dp_balancing = *request.dp_balancing;
  config.num_requests = request.requests;
  config.warmup_requests = request.warmup_requests;
  config.acceptance_rate = request.acceptance_rate;
  config.record_steps = request.record_steps;
  const CompiledStepTime time(plan.step);
  std::optional<CompiledStepTime> prefill_time;
  if (a.prefill) {
    const Plan& p = *a.prefill->plan;
    if (p.layout.parallel.data_parallel_size > 1)
      throw InputError("--prefill", 0, "", "data parallel prefill instances are not simulated",
                       "give each rank as an instance: --prefill-replicas");
    prefill_time.emplace(p.step);
    a.transfer = kv_transfer(request.command.cluster, p, request.prefill->replicas, plan);
    config.disaggregation = DisaggregationConfig{config_of(p, request.prefill->args).scheduler,
                                                 request.prefill->replicas,
                                                 &*prefill_time,
                                                 a.transfer->bytes_per_token,
                                                 a.transfer->bandwidth,
                                                 a.transfer->latency};
  }
  a.workload = simulated_workload(request.command.workload, plan.estimate.concurrency);
  if (request.find_max_rate) {
    const double start = std::max(0.01, a.check.plan->estimate.requests_per_second * request.replicas);
    a.max_rate = max_rate_under_slo(config, a.workload, time, request.seed, start);
    if (a.max_rate->request_rate) a.result = a.max_rate->result;
  } else {
    a.result = simulate(config, a.workload, time, request.seed);
  }
  add_notes(a);
  return a;
}

}  // namespace shardwise
