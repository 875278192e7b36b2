#include "serve/replay.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <queue>

namespace shardwise {
namespace {

/// Decode steps taken at once at most, so that the context stays current.
constexpr double kJump = 64;

struct Live {
  std::int64_t prompt = 0, output = 0;
  double sent = 0, first = 0;        // s at the client
  double done_prompt = 0;            // prompt tokens computed
  double finish_tick = 0;            // decode tick at which the last token comes
  double start_tick = 0;             // tick of the first token; context = prompt + 1 + ticks since
  std::int64_t produced_before = 0;  // tokens made before a preemption
  bool decoding = false;
};

class Run {
 public:
  Run(const CompiledStepData& step, const ReplayLimits& limits, const std::vector<ReplayRequest>& requests,
      int concurrency)
      : d_(step), l_(limits), requests_(requests), closed_(concurrency > 0) {
    live_.resize(requests.size());
    const std::size_t opening =
        closed_ ? std::min<std::size_t>(requests.size(), static_cast<std::size_t>(concurrency)) : requests.size();
    for (next_ = 0; next_ < opening; ++next_) send(next_, closed_ ? 0 : requests[next_].arrival);
  }

  ReplayResult go() {
    while (finished_ < requests_.size()) {
      // With asynchronous scheduling a step was put together when the one before it began.
      const bool busy = !decoding_.empty() || !prefilling_.empty();
      const double horizon = busy && d_.host.async_scheduling ? scheduled_ : now_;
      while (!arriving_.empty() && arriving_.top().first <= horizon)
        waiting_.push_back(arriving_.top().second), arriving_.pop();
      if (decoding_.empty() && prefilling_.empty() && waiting_.empty()) {
        now_ = std::max(now_, arriving_.top().first);
        continue;
      }
      step();
    }
    return result();
  }

 private:
  using Timed = std::pair<double, std::size_t>;
  using MinHeap = std::priority_queue<Timed, std::vector<Timed>, std::greater<Timed>>;

  /// The client sends request i at `at`; the front end takes prompts one at a time.
  void send(std::size_t i, double at) {
    auto& r = live_[i];
    r.prompt = requests_[i].prompt, r.output = requests_[i].output, r.sent = at;
    r.done_prompt = std::floor(l_.prefix_share * static_cast<double>(r.prompt));
    front_free_ = std::max(front_free_, at + d_.host.http / 2) + d_.host.front_end * static_cast<double>(r.prompt);
    arriving_.push({front_free_, i});
  }

  double held(const Live& r) const { return static_cast<double>(r.prompt) + l_.kv_fixed_per_request; }
  double used() const { return prompt_held_ + grown_; }

  void step() {
    double budget = l_.max_num_batched_tokens - static_cast<double>(decoding_.size());
    StepBatch b;
    b.decode_seqs = static_cast<double>(decoding_.size());
    b.decode_context = context_;
    chunks_.clear();
    const auto take = [&](std::size_t i) {
      auto& r = live_[i];
      const double chunk = std::min(budget, static_cast<double>(r.prompt) - r.done_prompt);
      b.prefill_tokens += chunk, b.prefill_seqs += 1, b.prefill_context += chunk * (r.done_prompt + chunk / 2);
      budget -= chunk;
      chunks_.push_back({i, chunk});
    };
    for (const auto i : prefilling_) {
      if (budget <= 0) break;
      take(i);
    }
    while (budget > 0 && !waiting_.empty() &&
           static_cast<double>(decoding_.size() + prefilling_.size()) < l_.max_num_seqs) {
      const auto i = waiting_.front();
      auto& r = live_[i];
      if (used() + held(r) > l_.kv_tokens && decoding_.size() + prefilling_.size() > 0) break;
      waiting_.pop_front();
      queue_ += now_ - r.sent;
      prompt_held_ += held(r);
      prefilling_.push_back(i);
      order_.push_back(i);
      take(i);
    }
    double ticks = 1;
    if (b.prefill_tokens <= 0) {
      // Only decodes: to the next completion, the next arrival that could be admitted, or a full cache.
      ticks = std::min(kJump, decoding_.top().first - tick_);
      const bool room = static_cast<double>(decoding_.size()) < l_.max_num_seqs;
      const double n = b.decode_seqs;
      if (l_.kv_tokens < 1e17) ticks = std::min(ticks, std::max(1.0, std::floor((l_.kv_tokens - used()) / n)));
      b.decode_context += n * ticks / 2;
      const double t = seconds(b);
      if (room && !arriving_.empty())
        ticks = std::min(ticks, std::max(1.0, std::ceil((arriving_.top().first - now_) / t)));
      advance(t, ticks, n);
    } else {
      advance(seconds(b), 1, b.decode_seqs);
    }
    for (const auto& [i, chunk] : chunks_) {
      auto& r = live_[i];
      r.done_prompt += chunk;
      if (r.done_prompt < static_cast<double>(r.prompt)) continue;
      std::erase(prefilling_, i);
      if (r.produced_before == 0)
        r.first = now_ + d_.host.http / 2 + d_.host.first_token + d_.host.stream * b.decode_seqs;
      r.decoding = true, r.start_tick = tick_;
      const double left = static_cast<double>(r.output - r.produced_before) - 1;
      r.finish_tick = tick_ + left;
      context_ += static_cast<double>(r.prompt) + 1;
      decoding_.push({r.finish_tick, i});
    }
    while (!decoding_.empty() && decoding_.top().first <= tick_ + 1e-9) finish();
    while (used() > l_.kv_tokens && decoding_.size() > 1) preempt();
  }

  double seconds(const StepBatch& b) {
    ++steps_;
    if (d_.layout.pp == 1) return step_parts(d_, b).all;
    StepBatch part = b;  // pp batches in flight, each with its share
    const double share = 1.0 / d_.layout.pp;
    part.decode_seqs *= share, part.decode_context *= share;
    part.prefill_tokens *= share, part.prefill_seqs *= share, part.prefill_context *= share;
    const auto t = step_parts(d_, part);
    return std::max(t.all, d_.layout.pp * t.busiest);
  }

  void advance(double t, double ticks, double decoding) {
    scheduled_ = now_ + t * (ticks - 1);
    now_ += t * ticks, tick_ += ticks;
    context_ += decoding * ticks, grown_ += decoding * ticks;
    area_ += static_cast<double>(decoding_.size() + prefilling_.size()) * t * ticks;
    peak_ = std::max(peak_, used());
  }

  void release(const Live& r) {
    const double grown = tick_ - r.start_tick;
    context_ -= static_cast<double>(r.prompt) + 1 + grown;
    grown_ -= grown, prompt_held_ -= held(r);
  }

  void finish() {
    const auto i = decoding_.top().second;
    decoding_.pop();
    auto& r = live_[i];
    release(r);
    r.decoding = false;
    ++finished_;
    const double end = now_ + d_.host.http / 2, total = static_cast<double>(requests_[i].output);
    ttft_.push_back(r.first - r.sent);
    if (total > 1) tpot_.push_back((end - r.first) / (total - 1));
    e2e_ += end - r.sent, tokens_ += total, last_ = std::max(last_, end);
    if (closed_ && next_ < requests_.size()) send(next_, end), ++next_;
  }

  /// The newest running sequence gives its blocks back and is computed again (vLLM V1 scheduler).
  void preempt() {
    while (!order_.empty() && !live_[order_.back()].decoding) order_.pop_back();
    if (order_.empty()) return;
    const auto i = order_.back();
    order_.pop_back();
    auto& r = live_[i];
    std::vector<Timed> keep;
    while (decoding_.top().second != i) keep.push_back(decoding_.top()), decoding_.pop();
    decoding_.pop();
    for (const auto& k : keep) decoding_.push(k);
    release(r);
    const auto made = static_cast<std::int64_t>(tick_ - r.start_tick) + 1;
    r.produced_before += made, r.prompt += made;
    r.done_prompt = 0, r.decoding = false;
    waiting_.push_front(i);
    ++preemptions_;
  }

  static double quantile(std::vector<double>& v, double p) {
    if (v.empty()) return 0;
    const auto k = static_cast<std::size_t>(p * static_cast<double>(v.size() - 1) + 0.5);
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(k), v.end());
    return v[k];
  }

  ReplayResult result() {
    ReplayResult out;
    const auto mean = [](const std::vector<double>& v) {
      double s = 0;
      for (double x : v) s += x;
      return v.empty() ? 0 : s / static_cast<double>(v.size());
    };
    const auto n = static_cast<double>(requests_.size());
    out.ttft = mean(ttft_), out.tpot = mean(tpot_), out.e2e = e2e_ / n;
    out.ttft_p50 = quantile(ttft_, .5), out.ttft_p90 = quantile(ttft_, .9), out.ttft_p95 = quantile(ttft_, .95),
    out.ttft_p99 = quantile(ttft_, .99);
    out.tpot_p50 = quantile(tpot_, .5), out.tpot_p90 = quantile(tpot_, .9), out.tpot_p95 = quantile(tpot_, .95),
    out.tpot_p99 = quantile(tpot_, .99);
    out.duration = last_, out.output_tokens_per_second = tokens_ / std::max(last_, 1e-9);
    out.running = area_ / std::max(now_, 1e-9), out.queue = queue_ / n;
    out.kv_peak = peak_ / l_.kv_tokens, out.steps = steps_, out.preemptions = preemptions_;
    return out;
  }

  const CompiledStepData& d_;
  const ReplayLimits& l_;
  const std::vector<ReplayRequest>& requests_;
  bool closed_;
  std::vector<Live> live_;
  MinHeap arriving_;  // (time it reaches the scheduler, request)
  std::deque<std::size_t> waiting_;
  std::vector<std::size_t> prefilling_, order_;
  MinHeap decoding_;  // (finish tick, request)
  std::vector<std::pair<std::size_t, double>> chunks_;
  std::vector<double> ttft_, tpot_;
  double now_ = 0, scheduled_ = 0, tick_ = 0, front_free_ = 0;
  double context_ = 0, prompt_held_ = 0, grown_ = 0, peak_ = 0;
  double e2e_ = 0, tokens_ = 0, last_ = 0, area_ = 0, queue_ = 0;
  std::size_t next_ = 0, finished_ = 0;
  std::int64_t steps_ = 0, preemptions_ = 0;
};

}  // namespace

ReplayResult replay(const CompiledStepData& step, const ReplayLimits& limits,
                    const std::vector<ReplayRequest>& requests, int concurrency) {
  return Run(step, limits, requests, concurrency).go();
}

}  // namespace shardwise
