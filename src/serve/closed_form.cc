#include "serve/closed_form.h"

#include <algorithm>
#include <cmath>

#include "cost/bands.h"
#include "cost/compiled_step.h"
#include "cost/constants.h"

namespace shardwise {
namespace {

/// One engine rank under load: what the fixed point works with. Times in s.
struct Rank {
  const CompiledStepData& d;
  double prompt, output, budget, prefix;  // tokens; prefix: share of the prompt found in the cache

  /// Prompt tokens that one round takes: each batch of the pipeline has a budget of its own.
  double round_budget() const { return budget * d.layout.pp; }
  double new_tokens() const { return std::max(1.0, prompt * (1 - prefix)); }
  /// Attended pairs of `chunks` chunks of the prompt, each of t tokens.
  double pairs(double t) const {
    const double cached = prompt - new_tokens(), mean_before = cached + std::max(0.0, new_tokens() - t) / 2;
    return t * (mean_before + t / 2);
  }
  double step(const StepBatch& b) const {
    if (d.layout.pp == 1) return step_parts(d, b).all;
    // pp batches in flight, each with its share of the sequences.
    StepBatch part = b;
    const double share = 1.0 / d.layout.pp;
    part.decode_seqs *= share, part.decode_context *= share;
    part.prefill_tokens *= share, part.prefill_seqs *= share, part.prefill_context *= share;
    const auto t = step_parts(d, part);
    return std::max(t.all, d.layout.pp * t.busiest);
  }
  double decode(double running) const {
    StepBatch b;
    b.decode_seqs = running, b.decode_context = running * (prompt + output / 2);
    return step(b);
  }
  /// A step with `tokens` prompt tokens beside the running sequences.
  double mixed(double running, double tokens) const {
    StepBatch b;
    b.decode_seqs = running, b.decode_context = running * (prompt + output / 2);
    b.prefill_tokens = tokens;
    b.prefill_seqs = std::max(1.0, tokens / new_tokens());
    const double each = tokens / b.prefill_seqs;
    b.prefill_context = b.prefill_seqs * pairs(each);
    return step(b);
  }
};

struct State {
  double running = 0, step = 0, share_mixed = 0, mixed_tokens = 0, t_decode = 0, t_mixed = 0, utilisation = 0;
};

/// E[max of `batches` independent Poisson(mean) counts] / mean. The batches in flight of a pipeline go round in turn,
/// so the one with the most prompts sets the pace of all: `batches` times its stage time, however little the others
/// have.
double pipeline_imbalance(int batches, double mean) {
  if (batches < 2 || mean <= 0) return 1;
  const auto power = [batches](double x) {
    double result = 1;
    for (int n = batches; n; n >>= 1, x *= x)
      if (n & 1) result *= x;
    return result;
  };
  // E[max] = sum over k of P(max > k), from where the counts begin to matter to where they end.
  double term = std::exp(-mean), cumulative = term, expected = 0;
  const double spread = 5 * std::sqrt(mean);
  const int last = static_cast<int>(mean + spread + 8);
  for (int k = 0; k < last; ++k) {
    const double beyond = k + 1 < mean - spread ? 1 : 1 - power(cumulative);
    expected += beyond;
    if (beyond < 1e-6) break;
    term *= mean / (k + 1);
    cumulative = std::min(1.0, cumulative + term);
  }
  return std::max(1.0, expected / mean);
}

/// Mean step when `arrivals` requests per step bring their prompts.
State steps_at(const Rank& r, double running, double arrivals) {
  State s;
  s.running = running;
  const double per_step = arrivals * r.new_tokens();
  const double any = 1 - std::exp(-arrivals * std::max(1.0, r.new_tokens() / r.budget));
  s.share_mixed = std::min(1.0, std::max(any, per_step / r.round_budget()));
  s.mixed_tokens = std::max(1.0, std::min(r.round_budget(), per_step / std::max(s.share_mixed, 1e-12)));
  s.t_decode = running > 1e-9 ? r.decode(std::max(running, 1.0)) : 0;
  s.t_mixed = r.mixed(running, s.mixed_tokens);
  // Ranks in lockstep wait for any one's prompts.
  const double ranks = r.d.layout.lockstep() ? 1 + fixed::lockstep_waits.value * (r.d.layout.dp - 1) : 1;
  const double waits = 1 - std::pow(1 - s.share_mixed, ranks);
  s.step = (1 - waits) * s.t_decode + waits * s.t_mixed;
  if (r.d.layout.pp > 1) {
    const double chunks = arrivals * std::max(1.0, r.new_tokens() / r.budget);
    // Full budgets are alike.
    const double uneven = (pipeline_imbalance(r.d.layout.pp, chunks / r.d.layout.pp) - 1) *
                          (1 - std::min(1.0, per_step / r.round_budget()));
    s.step += (s.step - s.t_decode) * uneven;
  }
  return s;
}

struct Answer {
  double ttft = 0, tpot = 0, rate = 0;  // s, s, requests/s on one rank
  double queue = 0, running = 0, burst = 0;
  bool kv_limited = false, saturated = false;
};

/// Time from scheduling to the first token of one prompt, without waiting for others.
double own_prefill(const Rank& r, const State& s) {
  const double chunks = std::max(1.0, r.new_tokens() / r.budget);
  const double t = r.mixed(s.running, std::min(r.new_tokens(), r.budget));
  return chunks * std::max(t, s.share_mixed > 0.5 ? s.t_mixed : t);
}

Answer closed_loop(const Rank& r, double concurrency, double capacity) {
  Answer a;
  const double limit = std::max(1.0, capacity);
  const double held = std::min(concurrency, limit);
  a.kv_limited = concurrency > limit * 1.001;
  // More running sequences than that would end, and bring new prompts, faster than their prompts can be computed.
  const double fed = std::max(1.0, r.output * r.round_budget() / r.new_tokens());
  double running = std::min(held, fed);
  State s;
  double service = 0;
  for (int i = 0; i < 6; ++i) {
    s = steps_at(r, running, running / r.output);
    const double wait = (r.d.host.async_scheduling ? 1.5 : 0.5) * s.step * std::min(1.0, running);
    service = own_prefill(r, s) + wait;
    const double cycle = r.output * s.step;
    const double next = held * cycle / (cycle + service + r.d.host.http + r.d.host.front_end * r.prompt);
    running = std::min(fed, i == 0 ? next : 0.5 * (running + next));
  }
  running = std::max(running, std::min(1.0, held));
  const double cycle = r.output * s.step + service + r.d.host.http + r.d.host.front_end * r.prompt;
  a.rate = std::min(held / cycle, r.round_budget() / r.new_tokens() / s.step);
  service += held / a.rate - cycle;  // prompts wait for those before them
  a.running = running;
  a.tpot = s.step;
  // The opening burst of a benchmark of 10 x concurrency prompts: a tenth of them waits for half of the others'
  // prompts.
  const double burst_work = held * r.new_tokens() / r.budget * r.mixed(0, r.budget);
  a.burst = 0.1 * std::max(0.0, burst_work / 2 - service);
  a.queue = a.kv_limited ? (concurrency - held) / a.rate : 0;
  a.ttft = r.d.host.http + r.d.host.first_token +
           r.d.host.front_end * r.prompt * std::max(1.0, 1 + 0.05 * concurrency) + service + a.burst + a.queue;
  a.saturated = a.kv_limited;
  return a;
}

Answer open_loop(const Rank& r, double rate, double capacity) {
  Answer a;
  // Fixed point of the running sequences: Little's law with the step they cause.
  double running = 1;
  State s;
  double service = 0;
  const double limit = std::max(1.0, capacity);
  for (int i = 0; i < 12; ++i) {
    const double arrivals = rate * std::max(1e-6, i == 0 ? r.decode(1) : s.step);
    s = steps_at(r, std::min(running, limit), arrivals);
    s.utilisation = arrivals * r.new_tokens() / r.budget;
    service = own_prefill(r, s) + s.step / 2;
    const double next = rate * r.output * s.step;
    running = i < 2 ? next : 0.5 * (running + next);
    if (running > 1e7) break;
  }
  const auto best = closed_loop(r, limit, limit);  // the most this rank can serve
  const double load = rate / std::max(best.rate, 1e-12);
  a.saturated = load >= 1 || running > limit * 1.001;
  a.kv_limited = running > 0.9 * limit;
  a.rate = std::min(rate, best.rate);
  a.running = std::min(running, limit);
  a.tpot = a.saturated ? best.tpot : s.step;
  // Waiting for prompts before it: M/G/1 on the prefill work, and on the slots when these are nearly full.
  const double prompt_work =
      r.mixed(a.running, std::min(r.new_tokens(), r.budget)) * std::max(1.0, r.new_tokens() / r.budget);
  const double rho = std::min(0.99, rate * prompt_work * std::min(1.0, r.new_tokens() / r.budget));
  a.queue = rho / (2 * (1 - rho)) * prompt_work;
  if (load > 0.7)
    a.queue += (r.output * a.tpot) / limit * std::pow(std::min(load, 0.999), std::sqrt(2 * (limit + 1))) /
               (1 - std::min(load, 0.999));
  a.ttft = r.d.host.http + r.d.host.first_token + r.d.host.front_end * r.prompt + service + a.queue;
  return a;
}

}  // namespace

ServingEstimate estimate_serving(const CompiledStep& step, const MemoryPlan& memory, const EngineConfig& engine,
                                 int replicas, const Workload& load) {
  const auto& d = step.data();
  const int ranks = std::max(1, replicas) * std::max(1, engine.parallel.data_parallel_size);
  const double isl = std::max(1.0, load.isl.mean()), osl = std::max(1.0, load.osl.mean());
  const double prefix = engine.enable_prefix_caching ? std::clamp(load.prefix_share, 0.0, 1.0) : 0.0;
  const Rank rank{d, isl, osl, static_cast<double>(std::max<std::int64_t>(1, engine.max_num_batched_tokens)), prefix};
  const double blocks = memory.usable_blocks(),
               per_request = memory.num_blocks > 0 ? memory.blocks_per_request(isl + osl / 2) : 0;
  double capacity = per_request > 0 ? blocks / per_request : static_cast<double>(engine.max_num_seqs);
  capacity = std::clamp(capacity, 1.0, static_cast<double>(engine.max_num_seqs));

  ServingEstimate e;
  e.has_tpot = load.osl.max() > 1;
  Answer a;
  double per_rank = 0;
  if (load.request_rate) {
    a = open_loop(rank, *load.request_rate / ranks, capacity);
    e.concurrency = a.rate * (a.ttft + osl * a.tpot) * ranks;
    per_rank = e.concurrency / ranks;
  } else {
    per_rank = std::max(1.0, static_cast<double>(load.concurrency.value_or(1)) / ranks);
    a = closed_loop(rank, per_rank, capacity);
    const double busy = std::min<double>(ranks, load.concurrency.value_or(1));
    a.rate *= busy / ranks;
    e.concurrency = load.concurrency.value_or(1);
  }
  const double gpus = static_cast<double>(engine.parallel.gpus()) * std::max(1, replicas);
  const double output_rate = a.rate * ranks * osl;
  const double ttft = a.ttft * 1e3, tpot = a.tpot * 1e3, e2e = ttft + (osl - 1) * tpot;
  BandSlice& slice = e.slice = band_slice(d);
  slice.closed_form = true;
  slice.concurrency = per_rank, slice.ttft_ms = ttft;
  slice.kv_limited = a.kv_limited, slice.open_loop = load.request_rate.has_value();
  e.ttft_ms.mean = ttft, e.tpot_ms.mean = tpot, e.e2e_ms.mean = e2e;
  // Tails: TTFT spreads with waiting and the opening burst, TPOT with the share of mixed steps a request happens to
  // meet.
  e.ttft_p99_ms.mean = ttft * 1.6 + 1e3 * (10 * a.burst * 1.8 + a.queue * 3.6);
  e.tpot_p99_ms.mean = tpot * (load.request_rate ? 1.35 : 1.15);
  e.e2e_p99_ms.mean = e.ttft_p99_ms.mean + (load.osl.quantile(0.99) - 1) * tpot;
  e.output_tokens_per_second.mean = output_rate, e.output_tokens_per_second_per_gpu.mean = output_rate / gpus;
  set_intervals(e, osl);
  const auto& t = e.output_tokens_per_second;
  if (load.request_rate && !a.saturated) {  // an unsaturated open loop delivers what is asked
    e.output_tokens_per_second.lo = t.mean * 0.97, e.output_tokens_per_second.hi = t.mean * 1.03;
    e.output_tokens_per_second_per_gpu.lo = t.lo / gpus, e.output_tokens_per_second_per_gpu.hi = t.hi / gpus;
  }
  e.requests_per_second = a.rate * ranks;
  e.running_per_engine = a.running;
  e.queue_ms = a.queue * 1e3;
  e.kv_utilisation = blocks > 0 ? std::min(1.0, a.running * per_request / blocks) : 0;
  e.saturated = a.saturated;
  e.band_reason = d.band.reason;
  if (a.kv_limited) e.band_reason += std::string(e.band_reason.empty() ? "" : "; ") + "KV cache is the limit";
  if (load.request_rate)
    e.band_reason += std::string(e.band_reason.empty() ? "" : "; ") + "open-loop arrivals hardly measured";
  if (e.band_reason.empty())
    e.band_reason = measured_combination(BandMetric::tpot, slice)
                        ? "this model was measured on this GPU"
                        : "measured model family and GPU: residuals of left-out groups";
  return e;
}

}  // namespace shardwise
