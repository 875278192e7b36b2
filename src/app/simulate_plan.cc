#include "app/simulate_plan.h"

#include <fmt/format.h>

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
      b.decode_seqs += static_cast<double>(c.requests);
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

Seconds PlanStepTime::lockstep_time(std::span<const std::span<const ScheduledChunk>> ranks) const {
  const CompiledStepData& d = step_->data();
  const auto& experts = d.op_mixed[static_cast<std::size_t>(TokenOp::experts)];
  double most = 0, total = 0;
  bool prompts = false;
  for (const auto& chunks : ranks) {
    double tokens = chunks.empty() ? 1 : 0;  // a dummy batch of one token
    for (const auto& c : chunks) tokens += static_cast<double>(c.tokens), prompts = prompts || !c.decode;
    most = std::max(most, tokens), total += tokens;
  }
  const bool padded = !prompts || most <= d.largest_graph;
  const auto& table = prompts ? d.mixed_all : d.decode_all;
  const TokenAt fullest(most), mean(total / static_cast<double>(ranks.size()));
  double slowest = 0;
  for (const auto& chunks : ranks) {
    if (chunks.empty()) continue;
    const StepBatch batch = batch_of(chunks);
    const double tokens = batch.prefill_tokens + batch.decode_seqs * d.tokens_per_sequence;
    const TokenAt own(tokens);
    const double alone = step_parts(d, batch).all;
    slowest = std::max(
        slowest, padded ? alone + std::max(0.0, fullest(table) - own(table)) : alone + mean(experts) - own(experts));
  }
  return Seconds(slowest);
}

Seconds PlanStepTime::stage_time(std::span<const ScheduledChunk> batch, int) const {
  return Seconds(step_parts(step_->data(), batch_of(batch)).busiest);
}

namespace {

/// vLLM's SpeculativeConfig.use_eagle() and uses_draft_model(): what the scheduler keeps slots for.
SchedulerConfig::Speculation speculation_of(const std::string& method) {
  using Speculation = SchedulerConfig::Speculation;
  if (method.empty()) return Speculation::none;
  if (method == "draft_model") return Speculation::draft_model;
  for (const char* eagle : {"eagle", "eagle3", "mtp", "dflash"})
    if (method == eagle) return Speculation::eagle;
  return Speculation::ngram;  // no slots, no dropped hits: also suffix, medusa, mlp_speculator
}

SchedulerConfig::KvGroup kv_group(const MemoryPlan::Group& g, int max_model_len) {
  using Keeps = MemoryPlan::Group::Keeps;
  using Kind = SchedulerConfig::KvGroup::Kind;
  SchedulerConfig::KvGroup group;
  group.block_size = g.block_size;
  switch (g.keeps) {
    case Keeps::all:
      break;
    case Keeps::sliding_window:
      group.kind = Kind::sliding_window;
      group.sliding_window = g.window;
      break;
    case Keeps::attention_chunk:
      group.kind = Kind::chunked_local;
      group.attention_chunk_size = g.window;
      break;
    case Keeps::state:
      group.kind = Kind::mamba;
      group.mamba_align = g.mamba_align;
      if (!g.mamba_align) group.block_size = max_model_len;  // one state a request
      break;
  }
  return group;
}

SchedulerConfig scheduler_config(const PlanRequest& request, const Plan& plan) {
  SchedulerConfig s;
  const auto& args = request.pinned;
  s.max_model_len = static_cast<int>(plan.engine.max_model_len);
  s.kv_groups.clear();
  for (const auto& g : plan.memory.groups) s.kv_groups.push_back(kv_group(g, s.max_model_len));
  if (s.kv_groups.empty()) s.kv_groups.push_back({});
  s.num_blocks = static_cast<int>(std::min<std::int64_t>(plan.memory.num_blocks, 2'000'000'000));
  s.max_num_seqs = static_cast<int>(plan.engine.max_num_seqs);
  s.max_num_batched_tokens = static_cast<int>(plan.engine.max_num_batched_tokens);
  if (args.max_num_scheduled_tokens) s.max_num_scheduled_tokens = static_cast<int>(*args.max_num_scheduled_tokens);
  if (args.max_num_active_seqs) s.max_num_active_seqs = static_cast<int>(*args.max_num_active_seqs);
  s.long_prefill_token_threshold = static_cast<int>(args.long_prefill_token_threshold.value_or(0));
  if (args.scheduling_policy == "priority") s.policy = SchedulerConfig::Policy::priority;
  s.enable_chunked_prefill = plan.engine.enable_chunked_prefill;
  // Random prompts share nothing; hashing them would only cost time. States are cached in mode align only.
  const Workload& w = request.workload;
  const bool cacheable = std::all_of(s.kv_groups.begin(), s.kv_groups.end(), [](const auto& g) {
    return g.kind != SchedulerConfig::KvGroup::Kind::mamba || g.mamba_align;
  });
  s.enable_prefix_caching =
      plan.engine.enable_prefix_caching && cacheable && (w.prefix_share > 0 || w.trace || w.turns > 1);
  s.async_scheduling = plan.engine.async_scheduling;
  s.pipeline_parallel_size = plan.layout.parallel.pipeline_parallel_size;
  s.decode_context_parallel_size = plan.layout.parallel.decode_context_parallel_size;
  s.use_v2_model_runner = true;
  s.num_speculative_tokens = plan.engine.num_speculative_tokens;
  if (s.num_speculative_tokens > 0) s.speculation = speculation_of(plan.engine.speculative_method);
  return s;
}

}  // namespace

SimulationConfig simulation_config(const PlanRequest& request, const Plan& plan) {
  SimulationConfig c;
  const int dp = plan.layout.parallel.data_parallel_size;
  c.scheduler = scheduler_config(request, plan);
  c.data_parallel_size = dp;
  c.lockstep = request.model->is_moe() && dp > 1;
  c.replicas = plan.layout.replicas;
  c.dp_balancing =
      plan.engine.vllm_version < VllmVersion{0, 27, 0} ? DpBalancing::queue_length : DpBalancing::in_flight;
  // vllm serve starts one API server a data parallel rank.
  c.api_server_count = std::max(1, static_cast<int>(request.pinned.api_server_count.value_or(dp)));
  // The same host costs as in the closed-loop replay that is fitted to measurements (cost/replay.cc).
  const auto& d = plan.step->data();
  c.api_request_time = c.api_output_time = Seconds(d.http / 2);
  c.api_serial_prompt_token_time = Seconds(d.front_end);
  c.api_first_token_time = Seconds(d.first_token), c.api_streaming_time = Seconds(d.stream);
  return c;
}

constexpr double kLeastVaried = 10;  // tokens: a tenth of less is no token

Workload simulated_workload(const PlanRequest& request, const Plan& plan) {
  Workload w = request.workload;
  if (!w.concurrency && !w.request_rate && !w.trace && w.arrivals != Arrivals::burst)
    w.concurrency = std::max(1, static_cast<int>(std::lround(plan.estimate.concurrency)));
  // Equal answers keep all requests of a closed loop in lock step, as benchmarks of fixed length show
  // (bench/data/serving.csv). Those of users vary; uniform[n,n] stays as it is.
  const bool loop = w.concurrency && !w.request_rate;
  if (loop && w.osl.kind == LengthDistribution::Kind::constant && w.osl.a >= kLeastVaried)
    w.osl = {LengthDistribution::Kind::uniform, std::round(0.9 * w.osl.a), std::round(1.1 * w.osl.a), {}};
  return w;
}

namespace {

constexpr std::uint64_t kSeed = 1;
constexpr double kTolerance = 0.05;  // of a finalist's highest rate
constexpr double kKeepsUp = 0.9;     // of the rate at which a run that keeps up would end
// Further finalists: scores that the closed form may have wrong by that much.
constexpr std::size_t kCloseFinalists = 6;
constexpr double kClose = 0.8;
// Requests of a run: 10 x concurrency, as benchmarks send them.
constexpr std::int64_t kFewest = 200, kMost = 10'000;

struct Sustained {
  double requests = 0, tokens = 0;  ///< per second
  bool behind = false;              ///< the offered rate is more than is served
};

/// What a load keeps up, without the run's end, where fewer and fewer requests are left. Traces and sessions count as
/// they ran.
Sustained sustained(const Workload& w, const SimulationResult& r) {
  Sustained s{r.request_throughput, r.output_throughput, false};
  if (w.trace || w.turns > 1) {
    s.behind = w.request_rate && w.turns <= 1 && r.request_throughput < kKeepsUp * *w.request_rate;
  } else if (w.request_rate) {
    // A run that keeps up ends one request's time, its wait apart, after the last arrival.
    const double n = static_cast<double>(r.completed), own = std::max(0.0, r.e2e.mean - r.queue.mean);
    s.behind = r.request_throughput < kKeepsUp * n / (n / *w.request_rate + own);
    if (!s.behind) s.requests = *w.request_rate, s.tokens = s.requests * w.osl.mean();
  } else if (w.concurrency && r.e2e.mean > 0) {
    s.requests = *w.concurrency / r.e2e.mean, s.tokens = s.requests * w.osl.mean();
  }
  return s;
}

}  // namespace

Plan simulated(const PlanRequest& request, const SearchRequest& search, Plan plan, bool find_max_rate) {
  PlanRequest one = request;
  const int copies = one.workload.trace ? 1 : plan.layout.replicas;  // a trace is not split: all replicas run it
  Plan single = plan;
  single.layout.replicas /= copies;
  single.estimate.concurrency = plan.estimate.concurrency / copies;
  if (one.workload.concurrency) one.workload.concurrency = std::max(1, *one.workload.concurrency / copies);
  if (one.workload.request_rate) *one.workload.request_rate /= copies;
  if (one.workload.ramp_up) one.workload.ramp_up->start_rps /= copies, one.workload.ramp_up->end_rps /= copies;
  const double load = one.workload.concurrency ? *one.workload.concurrency : single.estimate.concurrency;
  auto config = simulation_config(one, single);
  if (!one.workload.trace)
    config.num_requests = std::clamp<std::int64_t>(static_cast<std::int64_t>(10 * load), kFewest,
                                                   std::max(kMost, static_cast<std::int64_t>(3 * load)));
  const PlanStepTime time(single.step);
  const Workload workload = simulated_workload(one, single);
  const auto r = simulate(config, workload, time, kSeed);
  auto& e = plan.estimate;
  e.ttft_ms.mean = 1e3 * r.ttft.mean, e.tpot_ms.mean = 1e3 * r.tpot.mean, e.e2e_ms.mean = 1e3 * r.e2e.mean;
  e.ttft_p99_ms.mean = 1e3 * r.ttft.p99, e.tpot_p99_ms.mean = 1e3 * r.tpot.p99, e.e2e_p99_ms.mean = 1e3 * r.e2e.p99;
  const auto kept = sustained(workload, r);
  e.output_tokens_per_second.mean = kept.tokens * copies;
  e.output_tokens_per_second_per_gpu.mean = kept.tokens * copies / plan.layout.gpus();
  e.slice.closed_form = false, e.slice.ttft_ms = e.ttft_ms.mean;
  set_intervals(e, workload.osl.mean());
  if (workload.request_rate && !kept.behind) {  // an open loop that keeps up delivers what is asked
    for (auto* t : {&e.output_tokens_per_second, &e.output_tokens_per_second_per_gpu})
      t->lo = 0.97 * t->mean, t->hi = 1.03 * t->mean;
  }
  e.requests_per_second = kept.requests * copies;
  if (!workload.slos.empty()) plan.request_goodput = r.request_goodput * copies;
  const bool no_load = !request.workload.concurrency && !request.workload.request_rate && !request.workload.trace;
  if (find_max_rate && no_load && !workload.slos.empty()) {
    config.num_requests.reset();
    const auto best =
        max_rate_under_slo(config, workload, time, kSeed, std::max(0.01, r.request_throughput), kTolerance);
    plan.max_request_rate = best.request_rate * copies;
  }
  plan.simulated = true;
  plan.score = goal_score(search, plan.layout, e, budget_gpus(search));
  plan.slos_missed.clear();
  plan.slos_kept = true;
  if (kept.behind) {
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
  if (plan.engine.num_speculative_tokens > 0)
    e.band_reason += fmt::format(", each draft token accepted with a chance of {:.0f} %", 100 * config.acceptance_rate);
  return plan;
}

bool worth_simulating(const SearchResult& result) {
  const auto n = std::min<std::size_t>(result.plans.size(), 10);
  return std::all_of(result.plans.begin(), result.plans.begin() + static_cast<std::ptrdiff_t>(n), [](const Plan& p) {
    return 10 * p.estimate.concurrency / p.layout.replicas <= static_cast<double>(kMost);
  });
}

void decide_by_simulation(const PlanRequest& request, const SearchRequest& search, SearchResult& result, int count) {
  // Finalists: the best plans, then the nearest misses: the closed form may be too strict about a percentile.
  std::vector<Plan> finalists;
  auto most = static_cast<std::size_t>(std::max(0, count));
  if (most > 0 && !result.plans.empty())
    while (most < result.plans.size() && most < static_cast<std::size_t>(count) + kCloseFinalists &&
           result.plans[most].score > kClose * result.plans.front().score)
      ++most;
  const auto take = [&](std::vector<Plan>& from) {
    const auto n = std::min(from.size(), most - finalists.size());
    finalists.insert(finalists.end(), std::make_move_iterator(from.begin()),
                     std::make_move_iterator(from.begin() + static_cast<std::ptrdiff_t>(n)));
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(n));
  };
  take(result.plans);
  take(result.near_misses);
  parallel_for(finalists.size(), request.threads,
               [&](std::size_t i) { finalists[i] = simulated(request, search, std::move(finalists[i]), true); });
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
