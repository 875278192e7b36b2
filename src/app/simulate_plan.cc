#include "app/simulate_plan.h"

#include <algorithm>
#include <cmath>

#include "base/parallel_map.h"
#include "cost/compiled_step.h"
#include "search/goal.h"

namespace shardwise {

namespace {

StepBatch batch_of(std::span<const ScheduledChunk> batch) {
  StepBatch b;
  for (const auto& c : batch) {
    const auto tokens = static_cast<double>(c.tokens), context = static_cast<double>(c.context);
    if (c.decode) {
      b.decode_seqs += 1;
      b.decode_context += context + tokens;
    } else {
      b.prefill_seqs += 1;
      b.prefill_tokens += tokens;
      b.prefill_context += tokens * (context + tokens / 2);
    }
  }
  return b;
}

}  // namespace

Seconds PlanStepTime::step_time(std::span<const ScheduledChunk> batch) const {
  return step_->step_time(batch_of(batch));
}

Seconds PlanStepTime::stage_time(std::span<const ScheduledChunk> batch, int) const {
  return Seconds(step_parts(step_->data(), batch_of(batch)).busiest);
}

SimulationConfig simulation_config(const PlanRequest& request, const Plan& plan) {
  SimulationConfig c;
  const auto& p = plan.layout.parallel;
  auto& s = c.scheduler;
  s.kv_groups.clear();
  // Groups in the planner's linear form: tokens a block spans, and windows as a limit on the tokens held.
  for (const auto& g : plan.memory.groups) {
    SchedulerConfig::KvGroup group;
    group.block_size =
        std::max(1, static_cast<int>(std::lround(g.tokens_per_block)) / std::max(1, p.decode_context_parallel_size));
    if (g.max_tokens) {
      group.kind = SchedulerConfig::KvGroup::Kind::sliding_window;
      group.sliding_window = std::max(1, static_cast<int>(*g.max_tokens));
    }
    s.kv_groups.push_back(group);
  }
  if (s.kv_groups.empty()) s.kv_groups.push_back({});
  s.num_blocks = static_cast<int>(std::min<std::int64_t>(plan.memory.num_blocks, 2'000'000'000));
  s.max_model_len = static_cast<int>(plan.engine.max_model_len);
  s.max_num_seqs = static_cast<int>(plan.engine.max_num_seqs);
  s.max_num_batched_tokens = static_cast<int>(plan.engine.max_num_batched_tokens);
  s.enable_chunked_prefill = plan.engine.enable_chunked_prefill;
  // Random prompts share nothing; hashing them would only cost time.
  s.enable_prefix_caching =
      plan.engine.enable_prefix_caching && (request.workload.prefix_share > 0 || request.workload.trace);
  s.async_scheduling = plan.engine.async_scheduling;
  s.pipeline_parallel_size = p.pipeline_parallel_size;
  s.decode_context_parallel_size = p.decode_context_parallel_size;
  s.use_v2_model_runner = true;
  c.data_parallel_size = p.data_parallel_size;
  c.lockstep = request.model->is_moe() && p.data_parallel_size > 1;
  c.replicas = plan.layout.replicas;
  c.api_server_count = std::max(1, p.data_parallel_size);
  const auto& d = plan.step->data();
  c.api_request_time = Seconds(d.http);
  c.api_prompt_token_time = Seconds(d.front_end);
  return c;
}

SimulationResult simulate_plan(const PlanRequest& request, const Plan& plan, const SimulationOptions& options) {
  auto config = simulation_config(request, plan);
  Workload workload = request.workload;
  if (!workload.concurrency && !workload.request_rate && !workload.trace)
    workload.concurrency = std::max(1, static_cast<int>(std::lround(plan.estimate.concurrency)));
  if (options.requests > 0) config.num_requests = options.requests;
  config.record_steps = options.record_steps;
  const PlanStepTime time(plan.step);
  return simulate(config, workload, time, options.seed);
}

namespace {

/// Moves an interval to another mean, its relative width kept.
void move(Interval& interval, double mean) {
  const double scale = interval.mean > 0 ? mean / interval.mean : 1;
  interval = {mean, interval.lo * scale, interval.hi * scale};
}

/// One replica alone carries its share of the load: replicas are equal and independent.
Plan simulated(const PlanRequest& request, const SearchRequest& search, Plan plan) {
  PlanRequest one = request;
  const int copies = plan.layout.replicas;
  Plan single = plan;
  single.layout.replicas = 1;
  single.estimate.concurrency = plan.estimate.concurrency / copies;
  if (one.workload.concurrency) one.workload.concurrency = std::max(1, *one.workload.concurrency / copies);
  if (one.workload.request_rate) *one.workload.request_rate /= copies;
  const double load = one.workload.concurrency ? *one.workload.concurrency : single.estimate.concurrency;
  const auto requests = std::clamp<std::int64_t>(static_cast<std::int64_t>(3 * load), 128, 2000);
  const auto r = simulate_plan(one, single, {one.workload.trace ? 0 : requests, 1, 0});
  auto& e = plan.estimate;
  move(e.ttft_ms, 1e3 * r.ttft.mean);
  move(e.tpot_ms, 1e3 * r.tpot.mean);
  move(e.e2e_ms, 1e3 * r.e2e.mean);
  move(e.ttft_p99_ms, 1e3 * r.ttft.p99);
  move(e.tpot_p99_ms, 1e3 * r.tpot.p99);
  move(e.e2e_p99_ms, 1e3 * r.e2e.p99);
  move(e.output_tokens_per_second, r.output_throughput * copies);
  move(e.output_tokens_per_second_per_gpu, r.output_throughput * copies / plan.layout.gpus());
  e.requests_per_second = r.request_throughput * copies;
  plan.score = goal_score(search, plan.layout, e, budget_gpus(search));
  plan.slos_missed.clear();
  plan.slos_kept = true;
  if (one.workload.request_rate && r.request_throughput < 0.9 * *one.workload.request_rate) {
    plan.slos_kept = false;
    plan.slos_missed.push_back("falls behind the request rate");
  }
  for (const auto& slo : r.slos)
    if (!slo.met) {
      plan.slos_kept = false;
      plan.slos_missed.push_back(to_string(slo.slo) + ": simulated " +
                                 std::to_string(static_cast<long>(std::lround(1e3 * slo.value))) + " ms");
    }
  e.band_reason += e.band_reason.empty() ? "simulated" : "; simulated";
  return plan;
}

}  // namespace

void decide_by_simulation(const PlanRequest& request, const SearchRequest& search, SearchResult& result, int count) {
  // Finalists: the best plans, then the nearest misses: the closed form may be too strict about a percentile.
  std::vector<Plan> finalists;
  const auto most = static_cast<std::size_t>(std::max(0, count));
  const auto take = [&](std::vector<Plan>& from) {
    const auto n = std::min(from.size(), most - finalists.size());
    finalists.insert(finalists.end(), std::make_move_iterator(from.begin()),
                     std::make_move_iterator(from.begin() + static_cast<std::ptrdiff_t>(n)));
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(n));
  };
  take(result.plans);
  take(result.near_misses);
  parallel_for(finalists.size(), request.threads,
               [&](std::size_t i) { finalists[i] = simulated(request, search, std::move(finalists[i])); });
  const auto kept =
      std::stable_partition(finalists.begin(), finalists.end(), [](const Plan& p) { return p.slos_kept; });
  std::sort(finalists.begin(), kept,
            [&](const Plan& a, const Plan& b) { return better_plan(a, b, search.fewest_gpus); });
  result.near_misses.insert(result.near_misses.begin(), std::make_move_iterator(kept),
                            std::make_move_iterator(finalists.end()));
  finalists.erase(kept, finalists.end());
  // Plans that were not simulated follow: their closed-form scores are not comparable with simulated ones.
  finalists.insert(finalists.end(), std::make_move_iterator(result.plans.begin()),
                   std::make_move_iterator(result.plans.end()));
  result.plans = std::move(finalists);
}

}  // namespace shardwise
