#include "sim/request_source.h"

#include <algorithm>
#include <cmath>

#include "base/units.h"

namespace shardwise {
namespace {

constexpr std::int64_t kOwnText = std::int64_t{1} << 60, kAnswers = std::int64_t{1} << 61,
                       kGroups = std::int64_t{1} << 59;
constexpr int kTextBits = 23;  // up to 8M tokens each

/// Gamma with the given shape and mean 1 (Marsaglia and Tsang 2000).
double unit_gamma(Rng& rng, double shape) {
  if (shape < 1) {
    const double u = 1 - rng.uniform();
    return unit_gamma(rng, shape + 1) * (shape + 1) / shape * std::pow(u, 1 / shape);
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = rng.normal(), v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(1 - rng.uniform()) < x * x / 2 + d * (1 - v + std::log(v))) return d * v / shape;
  }
}

}  // namespace

RequestSource::RequestSource(const Workload& workload, std::span<const RequestLengths> given, std::int64_t num_requests,
                             std::uint64_t seed)
    : workload_(workload),
      given_(given),
      sessions_(ceil_div(num_requests, workload.turns)),
      arrivals_(Rng(seed).fork(1)),
      lengths_(Rng(seed).fork(2)),
      groups_(Rng(seed).fork(3)) {
  open_loop_ = workload.trace || workload.arrivals != Arrivals::closed_loop || workload.request_rate;
  if (workload.trace || !open_loop_ || workload.arrivals == Arrivals::burst || workload.ramp_up) return;
  // vllm bench serve stretches the gaps so that the last request comes exactly at its due time, but not those of a
  // ramp.
  Rng again = arrivals_;
  double total = 0;
  for (std::int64_t i = 0; i < sessions_; ++i) total += gap(i);
  arrivals_ = again;
  if (total > 0) rescale_ = static_cast<double>(sessions_) / *workload.request_rate / total;
}

double RequestSource::gap(std::int64_t index) {
  double rate = *workload_.request_rate;
  if (workload_.ramp_up) {  // vllm/benchmarks/serve.py _get_current_request_rate
    const RateRamp& ramp = *workload_.ramp_up;
    const double progress = static_cast<double>(index) / static_cast<double>(std::max<std::int64_t>(sessions_ - 1, 1));
    rate = ramp.strategy == RateRamp::Strategy::linear
               ? ramp.start_rps + (ramp.end_rps - ramp.start_rps) * progress
               : ramp.start_rps * std::pow(ramp.end_rps / ramp.start_rps, progress);
  }
  const double mean = 1 / rate;
  if (workload_.arrivals == Arrivals::gamma && workload_.burstiness != 1)
    return mean * unit_gamma(arrivals_, workload_.burstiness);
  return arrivals_.exponential(mean);
}

std::optional<Nanoseconds> RequestSource::next_arrival() {
  if (!open_loop_ || announced_ >= sessions_) return std::nullopt;
  const std::int64_t session = announced_++;
  if (workload_.trace) {
    const auto& requests = workload_.trace->requests;
    const auto count = static_cast<std::int64_t>(requests.size());
    const double round = static_cast<double>(session / count) * requests.back().arrival;
    return to_nanoseconds((requests[static_cast<std::size_t>(session % count)].arrival + round) * workload_.time_scale);
  }
  if (workload_.arrivals == Arrivals::burst) return Nanoseconds{0};
  clock_ += gap(session) * rescale_;
  return to_nanoseconds(clock_);
}

RequestLengths RequestSource::draw() {
  if (!given_.empty()) return given_[static_cast<std::size_t>(drawn_++) % given_.size()];
  const auto prompt = static_cast<int>(workload_.isl.sample(lengths_));
  return {prompt, static_cast<int>(workload_.osl.sample(lengths_))};
}

void RequestSource::own_text(OfferedRequest& request, std::int64_t tokens) {
  request.text.push_back({kOwnText + (request.index << kTextBits), tokens});
  request.output_first = kAnswers + (request.index << kTextBits);
}

bool RequestSource::next(OfferedRequest& request) {
  if (issued_sessions_ >= sessions_) return false;
  request.index = issued_++;
  request.text.clear();
  request.affinity = 0;
  const std::int64_t session = issued_sessions_++;
  if (workload_.trace) {
    const Trace& trace = *workload_.trace;
    const TraceRequest& r = trace.requests[static_cast<std::size_t>(session) % trace.requests.size()];
    request.prompt = static_cast<int>(std::max<std::int64_t>(r.prompt, 1));
    request.output = static_cast<int>(std::max<std::int64_t>(r.output, 1));
    std::int64_t left = request.prompt;
    for (const std::uint64_t id : r.prefix) {
      if (left <= 0) break;
      const std::int64_t tokens = std::min<std::int64_t>(left, trace.prefix_block);
      const std::uint64_t first = id * static_cast<std::uint64_t>(trace.prefix_block);
      request.text.push_back({static_cast<std::int64_t>(first & (kGroups - 1)), tokens});
      left -= tokens;
    }
    if (!r.prefix.empty()) request.affinity = r.prefix[0] + 1;
    own_text(request, left);
    return true;
  }
  const RequestLengths lengths = draw();
  request.prompt = lengths.prompt;
  request.output = lengths.output;
  const std::int64_t shared = workload_.prefix_tokens
                                  ? std::min<std::int64_t>(*workload_.prefix_tokens, request.prompt)
                                  : static_cast<std::int64_t>(std::floor(workload_.prefix_share * request.prompt));
  if (shared > 0) {
    const std::int64_t group = workload_.prefix_groups > 1 ? groups_.uniform_int(0, workload_.prefix_groups - 1) : 0;
    request.text.push_back({kGroups + (group << kTextBits), shared});
    request.affinity = static_cast<std::uint64_t>(group) + 1;
  }
  if (workload_.turns > 1) request.affinity = static_cast<std::uint64_t>(session + 1) << 20;
  own_text(request, request.prompt - shared);
  return true;
}

void RequestSource::follow(const OfferedRequest& before, OfferedRequest& request) {
  request.index = issued_++;
  request.text = before.text;
  request.text.push_back({before.output_first, before.output});
  request.affinity = before.affinity;
  const RequestLengths lengths = draw();
  request.prompt = before.prompt + before.output + lengths.prompt;
  request.output = lengths.output;
  own_text(request, lengths.prompt);
}

}  // namespace shardwise
