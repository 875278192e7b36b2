#include "workload/options.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/input_error.h"
#include "base/text.h"
#include "config/ranges.h"
#include "config/text_source.h"
#include "config/yaml.h"

namespace shardwise {
namespace {

constexpr WorkloadOption kOptions[] = {
    {"isl",
     "prompt tokens: 1024, uniform[800,1200], random[1024,0.5] (vllm bench serve --random-range-ratio), "
     "lognormal[mean=1024,sigma=0.6], percentiles[p50=900,p99=8000]"},
    {"osl", "output tokens, in the same forms"},
    {"concurrency", "requests in flight on the whole deployment (closed loop)", false, 1, 1e6},
    {"rate", "requests per second on the whole deployment (open loop); inf: all at once", false, 1e-6, 1e9},
    {"burstiness", "shape of the gaps between requests, as in vllm bench serve; 1 = Poisson, below 1 burstier", false,
     1e-3, 1e6},
    {"ramp_up_strategy", "linear or exponential: the rate changes from the first request to the last"},
    {"ramp_up_start_rps", "requests per second at the first request of a ramp", false, 1e-6, 1e9},
    {"ramp_up_end_rps", "requests per second at the last request of a ramp", false, 1e-6, 1e9},
    {"prefix_share", "share of each prompt that requests have in common, 0 to 1", false, 0, 1},
    {"prefix_tokens", "the same in tokens, the first of each prompt", false, 1, 1e9},
    {"prefix_groups", "how many different such prefixes there are", false, 1, 1e6},
    {"turns", "requests of a session, each with all text before it and isl new tokens (simulated only)", false, 1,
     10'000},
    {"think_time", "between an answer and the session's next turn: 5s (simulated only)"},
    {"trace", "file of requests: JSONL, Mooncake JSONL or Azure CSV; replaces lengths and load"},
    {"time_scale", "of the trace's times: 0.5 = twice as fast", false, 1e-6, 1e6},
    {"ttft", "SLO on time to first token: 500ms, p99<2s", true},
    {"tpot", "SLO on time per output token: 30ms, p95<50ms", true},
    {"e2e", "SLO on the whole request: 10s, p90<20s", true},
    {"slo", "SLO in full: ttft:p99<500ms", true},
};

/// "--prefix-groups", or the file and line.
std::string shown(const TextPlace& place) {
  return place.line > 0 ? place.file + ":" + std::to_string(place.line) : place.file;
}

std::string option_of(std::string_view name) {
  std::string text = "--" + std::string(name);
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

struct Parts {
  std::span<const WorkloadPart> all;

  const WorkloadPart* find(std::string_view name) const {
    const WorkloadPart* last = nullptr;
    for (const auto& p : all)
      if (p.name == name) last = &p;
    return last;
  }
  [[noreturn]] static void fail(const WorkloadPart& p, const std::string& message, const std::string& hint) {
    throw InputError(p.place.file, p.place.line, p.place.path, message, hint);
  }
  void contradicts(const char* name, std::initializer_list<const char*> others, const std::string& why) const {
    const auto* part = find(name);
    if (!part) return;
    for (const char* other : others)
      if (find(other)) fail(*part, why + " " + option_of(other) + " says", "leave out " + option_of(other));
  }
  /// A value of the type and in the range of its option.
  template <class T>
  std::optional<T> number(const char* name) const {
    const auto* p = find(name);
    if (!p) return std::nullopt;
    const auto& option = *std::find_if(std::begin(kOptions), std::end(kOptions),
                                       [&](const auto& o) { return std::string_view(o.name) == name; });
    T value = 0;
    const std::string range = "from " + range_end<T>(option.least) + " to " + range_end<T>(option.most);
    const std::string shown = "'" + p->value.substr(0, 40) + "'";
    if (!parse_number(trim(p->value), value))
      fail(*p, shown + (std::is_integral_v<T> ? " is no whole number" : " is no number"), range);
    if (!(static_cast<double>(value) >= option.least && static_cast<double>(value) <= option.most))
      fail(*p, shown + " is out of range", range);
    return value;
  }
  template <class T>
  static std::string range_end(double value) {
    return std::is_integral_v<T> ? std::to_string(static_cast<std::int64_t>(value)) : number_text(value);
  }
};

void read_lengths(const Parts& parts, Workload& w) {
  const auto lengths = [&](const char* name, const char* otherwise) {
    const auto* p = parts.find(name);
    return p ? parse_length(p->value, shown(p->place)) : parse_length(otherwise, option_of(name));
  };
  w.isl = lengths("isl", "1024");
  w.osl = lengths("osl", "256");
}

void read_load(const Parts& parts, Workload& w) {
  if (const auto n = parts.number<std::int64_t>("concurrency")) w.concurrency = static_cast<int>(*n);
  w.burstiness = parts.number<double>("burstiness").value_or(1);
  const auto open = [&](double rate) {
    w.request_rate = rate;
    w.arrivals = w.burstiness == 1 ? Arrivals::poisson : Arrivals::gamma;
  };
  const auto* rate = parts.find("rate");
  if (rate && trim(rate->value) == "inf") {
    if (!w.concurrency) w.arrivals = Arrivals::burst;
  } else if (rate) {
    open(*parts.number<double>("rate"));
  }
  const auto* strategy = parts.find("ramp_up_strategy");
  const auto start = parts.number<double>("ramp_up_start_rps"), end = parts.number<double>("ramp_up_end_rps");
  if (!strategy) {
    for (const char* name : {"ramp_up_start_rps", "ramp_up_end_rps"})
      if (const auto* p = parts.find(name)) Parts::fail(*p, "a ramp needs --ramp-up-strategy", "linear or exponential");
    return;
  }
  RateRamp ramp;
  if (strategy->value != "linear" && strategy->value != "exponential")
    Parts::fail(*strategy, "unknown strategy '" + strategy->value.substr(0, 40) + "'", "linear or exponential");
  if (strategy->value == "exponential") ramp.strategy = RateRamp::Strategy::exponential;
  if (!start || !end)
    Parts::fail(*strategy, "a ramp has a start and an end", "give --ramp-up-start-rps and --ramp-up-end-rps");
  if (*start > *end) Parts::fail(*strategy, "the ramp's start is above its end", "vLLM's ramps go up");
  if (rate) Parts::fail(*strategy, "the ramp says what --rate says", "leave out --rate");
  ramp.start_rps = *start, ramp.end_rps = *end;
  open((*start + *end) / 2);
  w.ramp_up = ramp;
}

/// The trace with its own load, its clock scaled by time_scale or to a mean rate.
Workload read_trace_load(const Parts& parts, const WorkloadPart& trace) {
  constexpr const char* kSays = "a trace already says what";
  parts.contradicts("trace",
                    {"isl", "osl", "concurrency", "burstiness", "ramp_up_strategy", "prefix_share", "prefix_tokens",
                     "prefix_groups", "turns", "think_time"},
                    kSays);
  parts.contradicts("time_scale", {"rate"}, "the scaled trace has a rate, as");
  Workload w = workload_of(std::make_shared<const Trace>(read_trace(read_file(trace.value), trace.value)));
  if (const auto scale = parts.number<double>("time_scale")) w.time_scale = *scale;
  if (const auto rate = parts.number<double>("rate")) {
    if (!w.request_rate)
      Parts::fail(*parts.find("rate"), "all requests of the trace come at once: it has no rate to scale", "");
    w.time_scale = *w.request_rate / *rate;
  }
  if (w.request_rate) *w.request_rate /= w.time_scale;
  return w;
}

void read_sharing(const Parts& parts, Workload& w) {
  parts.contradicts("prefix_share", {"prefix_tokens"}, "the shared prefix is what");
  w.prefix_share = parts.number<double>("prefix_share").value_or(0);
  if (const auto tokens = parts.number<std::int64_t>("prefix_tokens")) {
    w.prefix_tokens = *tokens;
    w.prefix_share = std::min(1.0, static_cast<double>(*tokens) / std::max(1.0, w.isl.mean()));
  }
  w.prefix_groups = static_cast<int>(parts.number<std::int64_t>("prefix_groups").value_or(1));
  w.turns = static_cast<int>(parts.number<std::int64_t>("turns").value_or(1));
  if (const auto* p = parts.find("think_time")) {
    w.think_time = parse_seconds(p->value, p->place, ranges::think_time);
    if (w.turns == 1) Parts::fail(*p, "a session of one request has no next turn", "give --turns");
  }
}

/// "500ms" -> "ttft:mean<500ms", "p99<2s" -> "ttft:p99<2s".
std::string full_slo(const WorkloadPart& p) {
  if (p.name == "slo") return p.value;
  return p.name + ":" + (p.value.find('<') == std::string::npos ? "mean<" + p.value : p.value);
}

}  // namespace

std::span<const WorkloadOption> workload_options() { return kOptions; }

std::vector<WorkloadPart> read_workload_parts(std::string_view text, const std::string& file) {
  const YamlValue root = parse_yaml(text, file);
  if (root.kind != YamlValue::Kind::map) root.fail("a workload file is a map", "for example isl: 1024");
  std::vector<std::string> names;
  for (const auto& option : kOptions) names.emplace_back(option.name);
  std::vector<WorkloadPart> parts;
  for (const auto& entry : root.map) {
    const auto& key = entry.key;
    const auto& value = entry.value;
    const auto option =
        std::find_if(std::begin(kOptions), std::end(kOptions), [&](const auto& o) { return o.name == key; });
    if (option == std::end(kOptions)) {
      const std::string hint = did_you_mean(key.substr(0, 40), names);
      value.fail("unknown key '" + key.substr(0, 40) + "'", hint.empty() ? "keys: " + join(names, ", ") : hint);
    }
    const auto add = [&](const YamlValue& v) {
      std::string word = v.text();
      if (key == "trace") word = (std::filesystem::path(file).parent_path() / word).string();
      parts.push_back({key, std::move(word), v.place});
    };
    if (value.kind == YamlValue::Kind::list) {
      if (!option->repeatable) value.fail("takes one value", "no list");
      for (const auto& v : value.list) add(v);
    } else {
      add(value);
    }
  }
  return parts;
}

Workload build_workload(std::span<const WorkloadPart> all) {
  const Parts parts{all};
  Workload w;
  if (const auto* trace = parts.find("trace")) {
    w = read_trace_load(parts, *trace);
  } else {
    if (const auto* p = parts.find("time_scale")) Parts::fail(*p, "only a trace has times to scale", "give --trace");
    read_lengths(parts, w);
    read_load(parts, w);
    read_sharing(parts, w);
  }
  for (const auto& p : all)
    if (p.name == "ttft" || p.name == "tpot" || p.name == "e2e" || p.name == "slo")
      w.slos.push_back(parse_slo(full_slo(p), shown(p.place)));
  return w;
}

}  // namespace shardwise
