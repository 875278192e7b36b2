#include <algorithm>
#include <cmath>

#include "app/serving_rows.h"
#include "app/simulate_plan.h"
#include "cost/bands.h"

namespace shardwise {
namespace {

/// Stratified draws in random order: the mean of few requests is already the mean, their order is chance.
std::vector<double> quantiles(std::size_t n, Rng& rng) {
  std::vector<double> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = (static_cast<double>(i) + 0.5) / static_cast<double>(n);
  for (std::size_t i = n; i-- > 1;)
    std::swap(out[i], out[static_cast<std::size_t>(rng.uniform_int(0, static_cast<std::int64_t>(i)))]);
  return out;
}

std::vector<ReplayRequest> requests_of(const ServingCase& c, std::int64_t count, double rate_per_rank, Rng rng) {
  std::vector<ReplayRequest> out(static_cast<std::size_t>(std::max<std::int64_t>(1, count)));
  const auto prompts = quantiles(out.size(), rng), outputs = quantiles(out.size(), rng);
  double at = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    auto& r = out[i];
    r.prompt = std::max<std::int64_t>(1, std::llround(c.load.isl.quantile(prompts[i])));
    double o = c.load.osl.quantile(outputs[i]);
    if (c.steady) o *= 0.9 + 0.2 * outputs[i];  // equal ones would keep all requests in lock step
    r.output = std::max<std::int64_t>(1, std::llround(o));
    if (rate_per_rank > 0) at += rng.exponential(1 / rate_per_rank), r.arrival = at;
  }
  return out;
}

struct Means {
  double ttft = 0, tpot = 0, rate = 0;  // ms, ms, tokens/s of one engine
};

/// The scheduler-exact run of one engine or DP rank under its share of the load.
Means simulated(const ServingCase& c, const CompiledStep& step, std::int64_t requests, double concurrency,
                double rate_per_rank) {
  PlanRequest request;
  request.model = c.model;
  request.workload = c.load;
  if (c.steady) {
    auto& o = request.workload.osl;
    const double mean = o.mean();
    o.kind = LengthDistribution::Kind::uniform, o.a = 0.9 * mean, o.b = 1.1 * mean;
  }
  if (request.workload.concurrency) request.workload.concurrency = static_cast<int>(concurrency);
  if (request.workload.request_rate) request.workload.request_rate = rate_per_rank;
  Plan plan;
  plan.layout.parallel = c.engine.parallel;
  plan.engine = c.engine, plan.memory = c.memory, plan.step = std::make_shared<CompiledStep>(step);
  auto config = simulation_config(request, plan);
  config.data_parallel_size = 1, config.lockstep = false;  // the ranks are alike: one stands for all
  config.api_server_count = 1;
  config.num_requests = requests;
  config.api_streaming_time = Seconds(step.data().stream / c.stream_interval);
  const auto r = simulate(config, request.workload, PlanStepTime(plan.step), 1);
  const bool p50 = c.p50_statistics;
  return {1e3 * (p50 ? r.ttft.median : r.ttft.mean), 1e3 * (p50 ? r.tpot.median : r.tpot.mean), r.output_throughput};
}

}  // namespace

ServingPrediction predict_serving(const ServingCase& c, const CostConstants& constants, ServingMethod method) {
  const auto step = compile_step(*c.model, c.engine, c.cluster, {c.cluster.nodes.front().gpus},
                                 CostOptions{&constants, c.fused_all_reduce});
  auto d = step.data();
  d.stream /= c.stream_interval;
  double ttft = 0, tpot = 0, rate = 0;  // ms, ms, tokens/s of the whole instance
  const int ranks = c.ranks * c.replicas;
  const double isl = c.load.isl.mean(), osl = c.load.osl.mean();
  bool kv_limited = false;
  const double offered = c.load.concurrency        ? static_cast<double>(*c.load.concurrency) / ranks
                         : c.load_class == "burst" ? static_cast<double>(c.num_prompts) / ranks
                                                   : 0;
  const double per_request = c.memory.num_blocks > 0 ? c.memory.blocks_per_request(isl + osl / 2) : 0;
  const double fit = per_request > 0 ? c.memory.usable_blocks() / per_request : 1e9;
  if (method == ServingMethod::closed_form) {
    const auto e = estimate_serving(step, c.memory, c.engine, c.replicas, c.load);
    ttft = e.ttft_ms.mean, tpot = e.tpot_ms.mean, rate = e.output_tokens_per_second.mean;
  } else if (method == ServingMethod::simulator) {
    const auto n = std::max<std::int64_t>(static_cast<std::int64_t>(offered), (c.num_prompts + ranks - 1) / ranks);
    const auto r = simulated(c, step, std::min<std::int64_t>(n, 20000), std::max(1.0, std::round(offered)),
                             c.load.request_rate ? *c.load.request_rate / ranks : 0);
    ttft = r.ttft, tpot = r.tpot, rate = r.rate * ranks;
  } else {
    ReplayLimits limits;
    limits.max_num_batched_tokens = static_cast<double>(c.engine.max_num_batched_tokens);
    limits.max_num_seqs = static_cast<double>(c.engine.max_num_seqs);
    if (per_request > 0) limits.kv_tokens = fit * (isl + osl / 2);
    const int concurrency =
        c.load.concurrency && c.load_class != "burst" ? static_cast<int>(std::max(1.0, std::round(offered))) : 0;
    const double arrival = c.load.request_rate ? *c.load.request_rate / ranks : 0;
    const auto n = std::max<std::int64_t>(concurrency, (c.num_prompts + ranks - 1) / ranks);
    const auto count = std::min<std::int64_t>(n, 20000);
    // Few requests make chance: the mean over runs.
    using Kind = LengthDistribution::Kind;
    const bool chance = c.steady || arrival > 0 || c.load.isl.kind != Kind::constant || c.load.osl.kind != Kind::constant;
    const int runs =
        chance ? static_cast<int>(std::clamp<std::int64_t>(600 / std::max<std::int64_t>(1, count), 1, 12)) : 1;
    const auto run = [&] {
      ReplayResult sum;
      for (int k = 0; k < runs; ++k) {
        const auto one =
            replay(d, limits, requests_of(c, count, arrival, Rng(0x5EED).fork(static_cast<std::uint64_t>(k))), concurrency);
        sum.ttft += one.ttft / runs, sum.ttft_p50 += one.ttft_p50 / runs;
        sum.tpot += one.tpot / runs, sum.tpot_p50 += one.tpot_p50 / runs;
        sum.output_tokens_per_second += one.output_tokens_per_second / runs;
      }
      return sum;
    };
    const ReplayResult r = run();
    const bool p50 = c.p50_statistics;
    ttft = 1e3 * (p50 ? r.ttft_p50 : r.ttft), tpot = 1e3 * (p50 ? r.tpot_p50 : r.tpot);
    rate = r.output_tokens_per_second * ranks;
  }
  if (c.derived_throughput && c.load.concurrency) rate = *c.load.concurrency * osl / ((ttft + (osl - 1) * tpot) * 1e-3);
  kv_limited = offered > 0.95 * fit;
  ServingPrediction out;
  const BandSlice slice{std::max(offered, 1.0), ttft,        kv_limited, c.load.request_rate.has_value(), d.widen,
                        d.architecture_class,   d.ttft_band, d.tpot_band};
  out.ttft_ms = band(BandMetric::ttft, ttft, slice);
  out.tpot_ms = band(BandMetric::tpot, tpot, slice);
  out.output_tok_s_per_gpu = band(BandMetric::throughput, rate / std::max(1, c.gpus), slice);
  out.band_reason = d.band_reason;
  return out;
}

}  // namespace shardwise
