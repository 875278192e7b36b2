// JSON of simulate: schema shardwise.simulation/1, docs/formats/plan.md.
#include "config/json.h"
#include "report/report.h"

namespace shardwise {
namespace {

Json latency(const LatencySummary& s) {
  if (s.count == 0) return nullptr;
  Json cdf = Json::array();
  for (const double seconds : s.cdf) cdf.push_back(1e3 * seconds);
  return {{"count", s.count},
          {"mean", 1e3 * s.mean},
          {"mean_half_width", s.mean_half_width ? Json(1e3 * *s.mean_half_width) : Json()},
          {"median", 1e3 * s.median},
          {"p90", 1e3 * s.p90},
          {"p95", 1e3 * s.p95},
          {"p99", 1e3 * s.p99},
          {"max", 1e3 * s.max},
          {"cdf", std::move(cdf)}};
}

Json engine_json(const SimulatedEngine& e, bool apart) {
  return {{"role", e.prefill_only ? "prefill"
                   : apart        ? "decode"
                                  : "serve"},
          {"requests", e.requests},
          {"output_tokens", e.output_tokens},
          {"steps", e.steps},
          {"dummy_steps", e.dummy_steps},
          {"preemptions", e.preemptions},
          {"prompt_tokens", e.prompt_tokens},
          {"prefix_hit_tokens", e.prefix_hit_tokens},
          {"busy", e.busy},
          {"mean_running", e.mean_running},
          {"mean_waiting", e.mean_waiting},
          {"mean_kv_use", e.mean_kv_use},
          {"max_kv_use", e.max_kv_use}};
}

/// `apart`: prefill and decode on engines of their own.
void write_result(Json& j, const SimulationResult& r, bool apart) {
  j["completed"] = r.completed;
  j["failed"] = r.failed;
  j["warmup"] = r.warmup;
  j["duration_s"] = r.duration;
  j["input_tokens"] = r.input_tokens;
  j["output_tokens"] = r.output_tokens;
  j["ttft_ms"] = latency(r.ttft);
  j["tpot_ms"] = latency(r.tpot);
  j["itl_ms"] = latency(r.itl);
  j["e2e_ms"] = latency(r.e2e);
  j["queue_ms"] = latency(r.queue);
  j["request_throughput"] = r.request_throughput;
  j["output_throughput"] = r.output_throughput;
  const auto& width = r.output_throughput_half_width;
  j["output_throughput_half_width"] = width ? Json(*width) : Json();
  j["total_token_throughput"] = r.total_token_throughput;
  j["request_goodput"] = r.request_goodput;
  j["goodput_share"] = r.goodput_share;
  j["preemptions"] = r.preemptions;
  j["steps"] = r.steps;
  j["prefix_hit_rate"] = r.prefix_hit_rate;
  j["mean_concurrency"] = r.mean_concurrency;
  j["engine_skew"] = r.engine_skew;
  j["slos"] = Json::array();
  for (const auto& s : r.slos)
    j["slos"].push_back({{"slo", to_string(s.slo)}, {"value_ms", 1e3 * s.value}, {"met", s.met}});
  j["engines"] = Json::array();
  for (const auto& e : r.engines) j["engines"].push_back(engine_json(e, apart));
  j["timeline"] = Json::array();
  for (const auto& p : r.timeline)
    j["timeline"].push_back({{"seconds", p.seconds},
                             {"running", p.running},
                             {"waiting", p.waiting},
                             {"kv_use", p.kv_use},
                             {"output_tokens_per_second", p.output_tokens_per_second}});
}

}  // namespace

std::string simulation_json(const SimulateAnswer& a) {
  Json j = {{"schema", "shardwise.simulation/1"},
            {"model", a.request.command.model_spec},
            {"served_model", a.request.command.model->name},
            {"cluster", a.request.command.cluster.name},
            {"plan", to_string(a.check.plan->layout)},
            {"replicas", a.request.replicas},
            {"seed", a.request.seed},
            {"notes", a.notes}};
  if (a.prefill)
    j["prefill"] = {{"plan", to_string(a.prefill->plan->layout)},
                    {"replicas", a.request.prefill->replicas},
                    {"link", a.transfer->link},
                    {"kv_bytes_per_token", a.transfer->bytes_per_token.value},
                    {"bandwidth_bytes_per_second", a.transfer->bandwidth.value}};
  if (a.max_rate)
    j["max_rate"] = {{"request_rate", a.max_rate->request_rate ? Json(*a.max_rate->request_rate) : Json()},
                     {"goodput_share", a.max_rate->goodput_share},
                     {"bounded", a.max_rate->bounded},
                     {"simulations", a.max_rate->simulations}};
  if (a.result) write_result(j, *a.result, a.prefill.has_value());
  return j.dump(2) + "\n";
}

}  // namespace shardwise
