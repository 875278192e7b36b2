#include "app/plan.h"
#include "config/json.h"
#include "parallel/layout_json.h"
#include "report/report.h"

namespace shardwise {
namespace {

Json interval(const Interval& v) { return {{"mean", v.mean}, {"lo", v.lo}, {"hi", v.hi}}; }

Json named_layout(const Layout& l) {
  Json j = {{"plan", to_string(l)}};
  j.update(layout_json(l));
  return j;
}

Json memory_json(const MemoryPlan& m) {
  Json stages = Json::array();
  for (const auto& s : m.stages) {
    const auto& w = s.weights;
    stages.push_back({{"pp_rank", s.pp_rank},
                      {"first_layer", s.first_layer},
                      {"last_layer", s.last_layer},
                      {"weights_bytes", w.total().value},
                      {"weights_by_category",
                       {{"embedding", w.embedding.value},
                        {"lm_head", w.lm_head.value},
                        {"attention", w.attention.value},
                        {"dense_mlp", w.dense_mlp.value},
                        {"routed_experts", w.routed_experts.value},
                        {"shared_experts", w.shared_experts.value},
                        {"router", w.router.value},
                        {"norm_other", w.norm_other.value},
                        {"vision", w.vision.value},
                        {"mtp", w.mtp.value},
                        {"buffers", w.buffers.value},
                        {"after_loading", w.after_loading.value},
                        {"lora", w.lora.value},
                        {"offload_buffers", w.offload_buffers.value},
                        {"offloaded", w.offloaded.value}}},
                      {"activation_bytes", s.activation.value},
                      {"cuda_graph_bytes", s.cuda_graph.value},
                      {"non_torch_bytes", s.non_torch.value},
                      {"kv_cache_bytes", s.kv_cache.value},
                      {"kv_blocks", m.num_blocks},
                      {"kv_tokens", m.kv_tokens}});
  }
  return stages;
}

Json estimate_json(const ServingEstimate& e) {
  return {{"ttft_ms", interval(e.ttft_ms)},
          {"tpot_ms", e.has_tpot ? interval(e.tpot_ms) : Json()},
          {"e2e_ms", interval(e.e2e_ms)},
          {"ttft_p99_ms", interval(e.ttft_p99_ms)},
          {"tpot_p99_ms", e.has_tpot ? interval(e.tpot_p99_ms) : Json()},
          {"e2e_p99_ms", interval(e.e2e_p99_ms)},
          {"output_tokens_per_second", interval(e.output_tokens_per_second)},
          {"output_tokens_per_second_per_gpu", interval(e.output_tokens_per_second_per_gpu)},
          {"requests_per_second", e.requests_per_second},
          {"concurrency", e.concurrency},
          {"kv_utilisation", e.kv_utilisation},
          {"saturated", e.saturated},
          {"band_reason", e.band_reason}};
}

Json cost_json(const Cost& c) {
  return {{"unit", c.usd ? "USD" : "GPU-hours"},
          {"per_hour", c.per_hour},
          {"per_million_output_tokens", c.per_million_output_tokens},
          {"per_million_total_tokens", c.per_million_total_tokens},
          {"per_month", c.per_month}};
}

Json launch_json(const std::vector<LaunchCommand>& launch) {
  Json out = Json::array();
  for (const auto& c : launch)
    out.push_back({{"node", c.node}, {"command", c.argv}, {"env", Json(c.env)}, {"note", c.note}});
  return out;
}

Json plan_object(const PlanRequest& request, const Plan& p, bool with_launch) {
  Json j = named_layout(p.layout);
  j["effective_expert_placement"] = to_string(p.engine.effective_placement);
  j["max_model_len"] = p.engine.max_model_len;
  j["max_num_seqs"] = p.engine.max_num_seqs;
  j["max_num_batched_tokens"] = p.engine.max_num_batched_tokens;
  j["gpu_memory_utilization"] = p.engine.gpu_memory_utilization;
  j["kv_cache_dtype"] = p.engine.kv_cache_dtype;
  j["score"] = p.score;
  const Json estimate = estimate_json(p.estimate);
  for (const auto& [key, value] : estimate.items()) j[key] = value;
  Json partition = Json::array();
  for (const auto& [first, last] : pp_layers(request.model->num_hidden_layers(), p.layout.parallel))
    partition.push_back(last - first);
  j["layers_per_stage"] = partition;
  j["memory"] = memory_json(p.memory);
  j["binding_stage"] = p.memory.binding_stage;
  j["probability_fits"] = p.memory.probability_fits;
  j["max_concurrency"] = p.memory.max_concurrency;
  j["kv_replication"] = p.memory.kv_replication;
  j["cost"] = cost_json(cost_of(request.cluster, request.gpus_taken, p, request.workload));
  if (p.request_goodput) j["request_goodput"] = *p.request_goodput;
  if (p.max_request_rate) j["max_request_rate"] = *p.max_request_rate;
  if (p.simulated) {
    j["counted"] = request.workload.as_benchmark ? "benchmark" : "steady state";
    for (const auto& o : p.slos)
      j["slos"].push_back({{"slo", to_string(o.slo)},
                           {"value_ms", 1e3 * o.value},
                           {"lo_ms", 1e3 * o.lo},
                           {"hi_ms", 1e3 * o.hi},
                           {"met", o.met}});
  }
  if (!p.slos_missed.empty()) j["slos_missed"] = p.slos_missed;
  if (with_launch) j["launch"] = launch_json(launch_plan(request, p));
  return j;
}

Json rejected_json(const std::vector<RejectionCount>& rejected) {
  Json out = Json::array();
  for (const auto& r : rejected) out.push_back({{"rule", r.rule->id}, {"count", r.count}, {"example", r.example}});
  return out;
}

Json changes_json(const std::vector<Change>& changes) {
  Json out = Json::array();
  for (const auto& c : changes) {
    Json j = {{"change", c.what}, {"stands", c.fits}, {"gain", c.gain}, {"note", c.note}};
    if (c.plan) j["plan"] = named_layout(c.plan->layout), j["estimate"] = estimate_json(c.plan->estimate);
    out.push_back(std::move(j));
  }
  return out;
}

Json question_json(const std::string& spec, const Model& model, const Cluster& cluster, const Workload& w, Goal goal,
                   VllmVersion version) {
  Json workload = {{"isl", to_string(w.isl)}, {"osl", to_string(w.osl)}};
  if (w.concurrency) workload["concurrency"] = *w.concurrency;
  if (w.request_rate) workload["request_rate"] = *w.request_rate;
  if (w.trace) workload["trace_requests"] = w.trace->requests.size();
  Json slos = Json::array();
  for (const auto& slo : w.slos) slos.push_back(to_string(slo));
  workload["slos"] = slos;
  return {{"model", spec},
          {"served_model", model.name},
          {"config_of", model.stand_in ? Json(*model.stand_in) : Json()},
          {"remarks", model.remarks},
          {"cluster", cluster.name},
          {"workload", workload},
          {"goal", to_string(goal)},
          {"vllm_version", to_string(version)}};
}

}  // namespace

std::string plan_json(const PlanAnswer& a) {
  Json j = {{"schema", "shardwise.plan/1"}};
  const auto& r = a.request;
  j["question"] = question_json(r.model_spec, *r.model, r.cluster, r.workload, r.goal, r.vllm_version);
  Json assumed = Json::object();
  for (const auto& x : a.assumptions) assumed[x.name] = {{"value", x.value}, {"why", x.why}};
  j["assumed"] = assumed;
  j["warnings"] = a.warnings;
  j["plans"] = Json::array();
  constexpr std::size_t kWithLaunch = 10;  // the rest can be pinned and asked for
  for (std::size_t i = 0; i < a.search.plans.size(); ++i)
    j["plans"].push_back(plan_object(r, a.search.plans[i], i < kWithLaunch));
  j["near_misses"] = Json::array();
  for (const auto& p : a.search.near_misses) j["near_misses"].push_back(plan_object(r, p, false));
  j["rejected"] = rejected_json(a.search.rejected);
  j["layouts"] = a.search.layouts;
  if (a.search.copies_step > 0) j["copies_step"] = a.search.copies_step;
  j["pareto"] = Json::array();
  for (const auto& p : a.search.pareto)
    j["pareto"].push_back({{"plan", to_string(p.layout)},
                           {"concurrency", p.concurrency},
                           {"output_tokens_per_second_per_gpu", p.tokens_per_s_per_gpu},
                           {"output_tokens_per_second_per_user", p.tokens_per_s_per_user}});
  if (a.found()) {
    const auto& x = a.explanation;
    Json e = {{"reasons", x.reasons}, {"binding", x.binding}};
    if (x.runner_up) e["runner_up"] = {{"index", *x.runner_up}, {"note", x.runner_up_note}};
    e["ladder"] = Json::array();
    for (const auto& s : x.ladder) {
      Json step = {{"change", s.change}, {"plan", named_layout(s.layout)}, {"note", s.note}};
      if (s.estimate) step["estimate"] = estimate_json(*s.estimate);
      e["ladder"].push_back(std::move(step));
    }
    if (x.ladder_load) e["ladder_concurrency"] = *x.ladder_load;
    e["curves"] = Json::array();
    for (const auto& c : x.curves)
      e["curves"].push_back({{"dimension", c.dimension},
                             {"value", c.value},
                             {"plan", c.layout ? Json(to_string(*c.layout)) : Json()},
                             {"relative_score", c.score},
                             {"note", c.note}});
    e["flips"] = Json::array();
    for (const auto& f : x.flips)
      e["flips"].push_back({{"change", f.change}, {"plan", to_string(f.winner)}, {"same", f.same}, {"gain", f.gain}});
    j["explanation"] = e;
  } else {
    j["no_plan"] = {{"reason", a.no_reason}, {"nearest", changes_json(a.nearest)}};
  }
  return j.dump(2) + "\n";
}

std::string comparison_json(const CompareAnswer& a) {
  const auto& r = a.request;
  Json j = {{"schema", "shardwise.comparison/1"},
            {"question", question_json(r.model_spec, *r.model, r.cluster, r.workload, r.goal, r.vllm_version)}};
  j["question"].erase("cluster");
  j["offers"] = Json::array();
  for (const auto& o : a.offers) {
    Json offer = {{"cluster", o.request.cluster.name},
                  {"gpus", o.request.cluster.total_gpus()},
                  {"stands", o.plan.has_value()},
                  {"warnings", o.warnings}};
    if (o.plan) {
      offer["plan"] = named_layout(o.plan->layout);
      offer["estimate"] = estimate_json(o.plan->estimate);
      offer["cost"] = cost_json(*o.cost);
    } else {
      offer["reason"] = o.why_not;
    }
    j["offers"].push_back(std::move(offer));
  }
  const auto index = [&](const char* name, const std::optional<std::size_t>& i) { j[name] = i ? Json(*i) : Json(); };
  index("best", a.best);
  index("cheapest", a.cheapest);
  index("most_tokens", a.most_tokens);
  index("lowest_tpot", a.lowest_tpot);
  return j.dump(2) + "\n";
}

std::string check_json(const CheckAnswer& a) {
  Json j = {{"schema", "shardwise.check/1"}};
  const auto& r = a.request;
  j["question"] = question_json(r.model_spec, *r.model, r.cluster, r.workload, r.goal, r.vllm_version);
  j["accepted"] = !a.refusal.has_value();
  if (a.refusal)
    j["refusal"] = {{"rule", a.refusal->rule->id},
                    {"stage", a.refusal->rule->stage()},
                    {"where", a.refusal->rule->where},
                    {"message", a.refusal->message},
                    {"instead", a.refusal->rule->instead}};
  Json resolved = Json::object();
  for (const auto& row : a.rows)
    resolved[row.name] = {
        {"given", row.given.empty() ? Json() : Json(row.given)}, {"resolved", row.resolved}, {"why", row.why}};
  j["resolved"] = resolved;
  j["not_used"] = a.not_used;
  j["warnings"] = a.warnings;
  j["starts"] = a.starts();
  if (a.memory) {
    j["memory"] = memory_json(*a.memory);
    if (a.memory->refusal) {
      j["memory_refusal"] = {{"rule", a.memory->refusal->rule->id},
                             {"message", a.memory->refusal->message},
                             {"missing_bytes", a.memory->refusal->missing.value}};
      if (a.memory->refusal->estimated_max_model_len)
        j["memory_refusal"]["estimated_max_model_len"] = *a.memory->refusal->estimated_max_model_len;
    }
  }
  if (a.plan) {
    j["plan"] = named_layout(a.plan->layout);
    j["prediction"] = estimate_json(a.plan->estimate);
    j["cost"] = cost_json(cost_of(r.cluster, {}, *a.plan, r.workload));
    j["decode_step"] = Json::array();
    for (const auto& op : a.decode_step)
      j["decode_step"].push_back({{"operator", op.name}, {"ms", to_ms(op.time)}, {"bound", op.bound}});
  }
  j["changes"] = changes_json(a.changes);
  return j.dump(2) + "\n";
}

std::string memory_answer_json(const MemoryAnswer& a) {
  Json j = {{"schema", "shardwise.memory/1"}, {"accepted", !a.refusal.has_value()}, {"warnings", a.warnings}};
  if (a.refusal) {
    j["refusal"] = {
        {"rule", a.refusal->rule->id}, {"message", a.refusal->message}, {"instead", a.refusal->rule->instead}};
    return j.dump(2) + "\n";
  }
  j["memory"] = memory_json(a.memory);
  j["binding_stage"] = a.memory.binding_stage;
  j["starts"] = !a.memory.refusal.has_value();
  j["max_model_len"] = a.memory.max_model_len;
  if (a.memory.refusal)
    j["memory_refusal"] = {{"rule", a.memory.refusal->rule->id}, {"message", a.memory.refusal->message}};
  j["kv_gib"] = interval(a.memory.kv_gib);
  j["kv_tokens"] = a.memory.kv_tokens;
  j["kv_blocks"] = a.memory.num_blocks;
  j["max_concurrency"] = a.memory.max_concurrency;
  j["concurrency_at_mean"] = a.concurrency_at_mean;
  j["kv_replication"] = a.memory.kv_replication;
  j["probability_fits"] = a.memory.probability_fits;
  j["margin_gib"] = to_gib(a.memory.margin());
  j["longest_max_model_len"] = a.longest_model_len ? Json(*a.longest_model_len) : Json();
  j["safe_max_model_len"] = a.safe_model_len ? Json(*a.safe_model_len) : Json();
  j["recommended_gpu_memory_utilization"] = a.recommended_gpu_memory_utilization;
  j["token_ms"] = to_ms(a.token_time);
  j["what_if"] = Json::array();
  for (const auto& w : a.what_ifs)
    j["what_if"].push_back({{"change", w.change},
                            {"gpus", w.engine.parallel.gpus()},
                            {"kv_tokens", w.kv_tokens()},
                            {"kv_gib_gain", w.kv_gib_gain},
                            {"max_concurrency", w.max_concurrency()},
                            {"probability_fits", w.plan.probability_fits},
                            {"token_ms", to_ms(w.token_time)},
                            {"starts", !w.plan.refusal.has_value()}});
  return j.dump(2) + "\n";
}

}  // namespace shardwise
