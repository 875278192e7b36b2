// The recorded part of a simulation in the Trace Event Format, which Perfetto and chrome://tracing open: the steps of
// each engine, its counters, and the requests as nestable asynchronous slices.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "sim/simulate.h"

namespace shardwise {
namespace {

constexpr int kEngines = 1, kRequests = 2;  // process ids
constexpr int kLanes = 64;                  // thread ids that an engine may use

double us(Nanoseconds t) { return static_cast<double>(t) * 1e-3; }

/// Slices of one thread must not overlap, but pipeline stages hold several batches at once: each engine has as many
/// threads ("lanes") as it had batches in flight.
std::vector<int> lanes_of(const SimulationResult& result, std::vector<int>& lanes_per_engine) {
  std::vector<std::vector<Nanoseconds>> busy_until(result.engines.size());
  std::vector<std::size_t> order(result.steps_recorded.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return result.steps_recorded[a].start < result.steps_recorded[b].start;
  });
  std::vector<int> lanes(order.size());
  for (const std::size_t i : order) {
    const RecordedStep& s = result.steps_recorded[i];
    auto& busy = busy_until[static_cast<std::size_t>(s.engine)];
    const auto free = std::find_if(busy.begin(), busy.end(), [&](Nanoseconds until) { return until <= s.start; });
    lanes[i] = static_cast<int>(free - busy.begin());
    if (free == busy.end())
      busy.push_back(s.end);
    else
      *free = s.end;
  }
  for (const auto& busy : busy_until) lanes_per_engine.push_back(std::max(1, static_cast<int>(busy.size())));
  return lanes;
}

class Events {
 public:
  void add(const std::string& event) {
    text_ += separator_;
    text_ += event;
    separator_ = ",\n";
  }
  void name(const char* what, int pid, int tid, const std::string& name) {
    add(fmt::format(R"({{"ph":"M","name":"{}","ts":0,"pid":{},"tid":{},"args":{{"name":"{}"}}}})", what, pid, tid,
                    name));
  }
  std::string finish() { return std::move(text_) + "\n]}\n"; }

 private:
  std::string text_ = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  const char* separator_ = "\n";
};

}  // namespace

std::string perfetto_trace(const SimulationResult& result) {
  Events events;
  std::vector<int> lanes_per_engine;
  const auto lanes = lanes_of(result, lanes_per_engine);
  events.name("process_name", kEngines, 0, "engines");
  events.name("process_name", kRequests, 0, "requests");
  const auto prefills = static_cast<std::size_t>(
      std::count_if(result.engines.begin(), result.engines.end(), [](const auto& e) { return e.prefill_only; }));
  const auto engine_name = [&](std::size_t e) {
    if (e < prefills) return fmt::format("prefill {}", e);
    return fmt::format("{} {}", prefills > 0 ? "decode" : "engine", e - prefills);
  };
  for (std::size_t e = 0; e < result.engines.size(); ++e)
    for (int lane = 0; lane < lanes_per_engine[e]; ++lane)
      events.name("thread_name", kEngines, static_cast<int>(e) * kLanes + lane,
                  engine_name(e) + (lanes_per_engine[e] > 1 ? fmt::format(", batch in flight {}", lane) : ""));
  for (std::size_t i = 0; i < result.steps_recorded.size(); ++i) {
    const RecordedStep& s = result.steps_recorded[i];
    events.add(fmt::format(
        R"({{"ph":"X","cat":"step","name":"{} tokens","ts":{:.3f},"dur":{:.3f},"pid":{},"tid":{},"args":{{"requests":{},"tokens":{},"decodes":{}}}}})",
        s.tokens, us(s.start), us(s.end - s.start), kEngines, s.engine * kLanes + lanes[i], s.requests, s.tokens,
        s.decodes));
    const auto counter = [&](const std::string& name, const std::string& values) {
      events.add(fmt::format(R"({{"ph":"C","name":"{} {}","ts":{:.3f},"pid":{},"tid":{},"args":{{{}}}}})",
                             engine_name(static_cast<std::size_t>(s.engine)), name, us(s.end), kEngines,
                             s.engine * kLanes, values));
    };
    counter("requests", fmt::format(R"("running":{},"waiting":{})", s.running, s.waiting));
    counter("KV use", fmt::format(R"("percent":{:.2f})", s.kv_use * 100));
  }
  for (const RecordedRequest& r : result.requests_recorded) {
    const auto slice = [&](const char* name, Nanoseconds from, Nanoseconds to) {
      const std::string common =
          fmt::format(R"("cat":"request","name":"{}","id":{},"pid":{},"tid":0)", name, r.id, kRequests);
      events.add(fmt::format(R"({{"ph":"b",{},"ts":{:.3f},"args":{{"prompt":{},"output":{},"engine":{}}}}})", common,
                             us(from), r.prompt, r.output, r.engine));
      events.add(fmt::format(R"({{"ph":"e",{},"ts":{:.3f}}})", common, us(to)));
    };
    slice("queued", r.start, r.scheduled);
    slice("prefill", r.scheduled, r.first_token);
    slice("decode", r.first_token, r.end);
  }
  return events.finish();
}

}  // namespace shardwise
