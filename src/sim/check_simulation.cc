// What simulate() refuses.
#include "base/input_error.h"
#include "sim/simulate.h"

namespace shardwise {

void check_simulation(const SimulationConfig& c, const Workload& w) {
  const auto need = [](bool ok, const char* path, const char* message, const char* hint) {
    if (!ok) throw InputError("", 0, path, message, hint);
  };
  check_scheduler_config(c.scheduler);
  if (c.disaggregation) {
    check_scheduler_config(c.disaggregation->prefill_scheduler);
    need(c.disaggregation->prefill_engines >= 1, "disaggregation.prefill_engines", "no engine", "at least 1");
    need(c.disaggregation->bandwidth.value > 0, "disaggregation.bandwidth", "no bandwidth", "bytes/s above 0");
  }
  need(c.data_parallel_size >= 1, "data_parallel_size", "no engine", "at least 1");
  need(c.replicas >= 1, "replicas", "no server", "at least 1");
  need(c.api_server_count >= 1, "api_server_count", "no API server", "at least 1");
  need(c.dp_stats_interval.value > 0, "dp_stats_interval", "must be above 0", "0.1 s in vLLM");
  need(w.turns >= 1, "turns", "no turn", "at least 1");
  need(w.turns == 1 || !w.trace, "turns", "a trace already says who follows whom", "leave out turns");
  need(w.time_scale > 0, "time_scale", "must be above 0", "1 = as recorded");
  need(!c.num_requests || *c.num_requests >= 1, "num_requests", "no request", "at least 1");
  need(!c.num_requests || *c.num_requests > c.cooldown_requests, "cooldown_requests", "no request is left to measure",
       "fewer than num_requests");
  if (w.trace) return need(!w.trace->requests.empty(), "trace", "is empty", "at least one request");
  if (w.arrivals == Arrivals::closed_loop && !w.request_rate)
    return need(w.concurrency && *w.concurrency >= 1, "concurrency", "a closed loop needs it",
                "requests in flight, at least 1");
  if (w.arrivals == Arrivals::burst) return;
  need(w.request_rate && *w.request_rate > 0, "request_rate", "an open loop needs it", "requests/s above 0");
  need(w.burstiness > 0, "burstiness", "must be above 0", "1 = Poisson");
  need(!w.ramp_up || (w.ramp_up->start_rps > 0 && w.ramp_up->end_rps >= w.ramp_up->start_rps), "ramp_up_start_rps",
       "must be above 0 and at most the end", "requests/s");
}

}  // namespace shardwise
