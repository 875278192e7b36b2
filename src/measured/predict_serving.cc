#include <algorithm>
#include <cmath>
#include <functional>

#include "cost/bands.h"
#include "measured/serving_rows.h"
#include "serve/closed_form.h"
#include "serve/compiled_step_time.h"
#include "serve/replay.h"
#include "serve/simulation_config.h"

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

/// The requests of a run, and when they come (s, open loops).
std::vector<ReplayRequest> requests_of(const ServingCase& c, std::int64_t count, double rate_per_rank, Rng rng) {
  std::vector<ReplayRequest> out(static_cast<std::size_t>(count));
  const auto prompts = quantiles(out.size(), rng), outputs = quantiles(out.size(), rng);
  double at = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    auto& r = out[i];
    r.prompt = std::clamp<std::int64_t>(std::llround(c.load.isl.quantile(prompts[i])), 1, c.load.isl.max());
    double o = std::min(c.load.osl.quantile(outputs[i]), static_cast<double>(c.load.osl.max()));
    if (c.steady) o *= 0.9 + 0.2 * outputs[i];  // equal ones would keep all requests in lock step
    r.output = std::max<std::int64_t>(1, std::llround(o));
    if (rate_per_rank > 0) at += rng.exponential(1 / rate_per_rank), r.arrival = at;
  }
  return out;
}

struct Means {
  double ttft = 0, tpot = 0, rate = 0;  // s, s, tokens/s of one engine
};

/// What one engine or DP rank is asked: ranks are alike, one stands for all.
struct RankLoad {
  std::int64_t requests = 1;
  double offered = 0;             ///< requests in flight, or of a burst
  int concurrency = 0;            ///< of a closed loop
  double rate = 0;                ///< requests/s of an open loop
  double fit = 1e9;               ///< requests that the KV cache holds
  double tokens_per_request = 0;  ///< in the cache, mean
};

RankLoad rank_load(const ServingCase& c, int ranks) {
  RankLoad l;
  const double isl = c.load.isl.mean(), osl = c.load.osl.mean();
  if (c.load.concurrency) {
    l.offered = static_cast<double>(*c.load.concurrency) / ranks;
    if (c.load_class != "burst") l.concurrency = static_cast<int>(std::max(1.0, std::round(l.offered)));
  } else if (c.load_class == "burst") {
    l.offered = static_cast<double>(c.num_prompts) / ranks;
  }
  if (c.load.request_rate) l.rate = *c.load.request_rate / ranks;
  l.tokens_per_request = isl + osl / 2;
  const double blocks = c.memory.num_blocks > 0 ? c.memory.blocks_per_request(l.tokens_per_request) : 0;
  if (blocks > 0) l.fit = c.memory.usable_blocks() / blocks;
  l.requests = std::clamp<std::int64_t>((c.num_prompts + ranks - 1) / ranks, std::max(1, l.concurrency), 20000);
  return l;
}

/// Few requests make chance, if anything is left to it: so many runs.
int runs_of(const ServingCase& c, const RankLoad& load) {
  using Kind = LengthDistribution::Kind;
  const bool chance =
      c.steady || load.rate > 0 || c.load.isl.kind != Kind::constant || c.load.osl.kind != Kind::constant;
  return chance ? static_cast<int>(std::clamp<std::int64_t>(600 / load.requests, 1, 12)) : 1;
}

/// The run on compiled steps.
Means replayed(const ServingCase& c, const CompiledStepData& step, const RankLoad& load, int run) {
  ReplayLimits limits;
  limits.max_num_batched_tokens = static_cast<double>(c.engine.max_num_batched_tokens);
  limits.max_num_seqs = static_cast<double>(c.engine.max_num_seqs);
  if (load.fit < 1e9) limits.kv_tokens = load.fit * load.tokens_per_request;
  const auto requests = requests_of(c, load.requests, load.rate, Rng(0x5EED).fork(static_cast<std::uint64_t>(run)));
  const auto r = replay(step, limits, requests, load.concurrency);
  const bool p50 = c.p50_statistics;
  return {p50 ? r.ttft_p50 : r.ttft, p50 ? r.tpot_p50 : r.tpot, r.output_tokens_per_second};
}

/// The same run, every step as vLLM's scheduler decides it.
class EngineRuns {
 public:
  EngineRuns(const ServingCase& c, const CompiledStep& step, const RankLoad& load)
      : c_(c), load_(load), step_(std::make_shared<CompiledStep>(step)), workload_(c.load) {
    config_ = simulation_config({*c.model, c.engine, c.memory, step}, {}, c.load);
    // Ranks that step together are simulated together; of independent ones one stands for all.
    if (!config_.lockstep) config_.data_parallel_size = config_.api_server_count = 1;
    ranks_ = config_.data_parallel_size;
    config_.num_requests = load.requests * ranks_;
    config_.api_streaming_time = Seconds(step.data().host.stream / c.stream_interval);
    if (workload_.concurrency)
      workload_.concurrency = std::max(1, static_cast<int>(std::lround(load.offered * ranks_)));
    if (workload_.request_rate) workload_.request_rate = load.rate * ranks_;
  }
  Means run(int run) const {
    auto config = config_;
    for (const auto& r : requests_of(c_, load_.requests * ranks_, 0, Rng(0x5EED).fork(static_cast<std::uint64_t>(run))))
      config.lengths.push_back({static_cast<int>(r.prompt), static_cast<int>(r.output)});
    const auto r = simulate(config, workload_, CompiledStepTime(step_), static_cast<std::uint64_t>(run) + 1);
    const bool p50 = c_.p50_statistics;
    return {p50 ? r.ttft.median : r.ttft.mean, p50 ? r.tpot.median : r.tpot.mean, r.output_throughput / ranks_};
  }

 private:
  const ServingCase& c_;
  const RankLoad& load_;
  std::shared_ptr<const CompiledStep> step_;
  SimulationConfig config_;
  int ranks_ = 1;
  Workload workload_;
};

using OneRun = std::function<Means(int run)>;

/// Mean over runs. The replay makes them all; the simulator, where it is asked, as many
/// of the same requests as it takes to know by what factor it differs: chance is common to both.
Means mean_of_runs(int runs, const OneRun& replay, const OneRun* simulate) {
  constexpr double kAgree = 0.003;  // ln: below this a run says what the others would
  Means mean, replayed, simulated;
  const auto add = [](Means& sum, const Means& r, double weight) {
    sum.ttft += weight * r.ttft, sum.tpot += weight * r.tpot, sum.rate += weight * r.rate;
  };
  bool agree = simulate == nullptr;
  for (int k = 0; k < runs; ++k) {
    const auto r = replay(k);
    add(mean, r, 1.0 / runs);
    if (agree) continue;
    const auto s = (*simulate)(k);
    add(replayed, r, 1), add(simulated, s, 1);
    agree = std::abs(std::log(s.ttft / r.ttft)) < kAgree && std::abs(std::log(s.tpot / r.tpot)) < kAgree;
  }
  if (!simulate) return mean;
  const auto scaled = [](double value, double from, double to) { return from > 0 ? value * to / from : to; };
  return {scaled(mean.ttft, replayed.ttft, simulated.ttft), scaled(mean.tpot, replayed.tpot, simulated.tpot),
          scaled(mean.rate, replayed.rate, simulated.rate)};
}

}  // namespace

ServingPrediction predict_serving(const ServingCase& c, const CostConstants& constants, ServingMethod method) {
  const auto step =
      compile_step(*c.model, c.engine, c.cluster, {c.cluster.nodes.front().gpus}, constants, c.fused_all_reduce);
  auto d = step.data();
  d.host.stream /= c.stream_interval;
  double ttft = 0, tpot = 0, rate = 0;  // ms, ms, tokens/s of the whole instance
  const int ranks = c.ranks * c.replicas;
  const double osl = c.load.osl.mean();
  const auto load = rank_load(c, ranks);
  if (method == ServingMethod::closed_form) {
    const auto e = estimate_serving(step, c.memory, c.engine, c.replicas, c.load);
    ttft = e.ttft_ms.mean, tpot = e.tpot_ms.mean, rate = e.output_tokens_per_second.mean;
  } else {
    const OneRun replay = [&](int run) { return replayed(c, d, load, run); };
    std::optional<EngineRuns> engine;
    if (method == ServingMethod::simulator) engine.emplace(c, step, load);
    const OneRun simulate = [&](int run) { return engine->run(run); };
    const auto r = mean_of_runs(runs_of(c, load), replay, engine ? &simulate : nullptr);
    ttft = 1e3 * r.ttft, tpot = 1e3 * r.tpot, rate = r.rate * ranks;
  }
  if (c.derived_throughput && c.load.concurrency) rate = *c.load.concurrency * osl / ((ttft + (osl - 1) * tpot) * 1e-3);
  ServingPrediction out;
  auto& slice = out.slice;
  slice = band_slice(d);
  slice.concurrency = std::max(load.offered, 1.0), slice.ttft_ms = ttft;
  slice.closed_form = method == ServingMethod::closed_form;
  slice.kv_limited = load.offered > 0.95 * load.fit, slice.open_loop = c.load.request_rate.has_value();
  out.ttft_ms = band(BandMetric::ttft, ttft, slice);
  out.tpot_ms = band(BandMetric::tpot, tpot, slice);
  out.output_tok_s_per_gpu = band(BandMetric::throughput, rate / std::max(1, c.gpus), slice);
  out.gpu = d.band.gpu, out.shape = d.band.shape;
  out.band_reason = d.band.reason;
  return out;
}

}  // namespace shardwise
