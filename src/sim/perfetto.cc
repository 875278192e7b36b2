// The recorded part of a simulation as a Chrome trace: one track of steps per engine, counters, one slice per request.
#include <fmt/format.h>

#include <iterator>

#include "sim/simulate.h"

namespace shardwise {
namespace {

double us(Nanoseconds t) { return static_cast<double>(t) * 1e-3; }

}  // namespace

std::string perfetto_trace(const SimulationResult& result) {
  std::string out = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  const char* separator = "\n";
  const auto add = [&](const std::string& event) {
    out += separator;
    out += event;
    separator = ",\n";
  };
  for (std::size_t e = 0; e < result.engines.size(); ++e)
    add(fmt::format(R"({{"ph":"M","pid":1,"tid":{},"name":"thread_name","args":{{"name":"engine {}"}}}})", e, e));
  for (const RecordedStep& s : result.steps_recorded) {
    add(fmt::format(
        R"({{"ph":"X","pid":1,"tid":{},"name":"{} tokens","ts":{:.3f},"dur":{:.3f},"args":{{"requests":{},"tokens":{},"decodes":{}}}}})",
        s.engine, s.tokens, us(s.start), us(s.end - s.start), s.requests, s.tokens, s.decodes));
    add(fmt::format(
        R"({{"ph":"C","pid":1,"name":"engine {} requests","ts":{:.3f},"args":{{"running":{},"waiting":{}}}}})",
        s.engine, us(s.end), s.running, s.waiting));
    add(fmt::format(R"({{"ph":"C","pid":1,"name":"engine {} KV use","ts":{:.3f},"args":{{"percent":{:.2f}}}}})",
                    s.engine, us(s.end), s.kv_use * 100));
  }
  for (const RecordedRequest& r : result.requests_recorded) {
    const auto slice = [&](const char* name, Nanoseconds from, Nanoseconds to) {
      add(fmt::format(
          R"({{"ph":"b","cat":"request","pid":2,"tid":0,"id":{},"name":"{}","ts":{:.3f},"args":{{"prompt":{},"output":{},"engine":{}}}}})",
          r.id, name, us(from), r.prompt, r.output, r.engine));
      add(fmt::format(R"({{"ph":"e","cat":"request","pid":2,"tid":0,"id":{},"name":"{}","ts":{:.3f}}})", r.id, name,
                      us(to)));
    };
    slice("queued", r.start, r.scheduled);
    slice("prefill", r.scheduled, r.first_token);
    slice("decode", r.first_token, r.end);
  }
  out += "\n]}\n";
  return out;
}

}  // namespace shardwise
