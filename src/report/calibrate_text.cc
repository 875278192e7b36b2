#include <fmt/format.h>

#include <cmath>

#include "base/text.h"
#include "config/json.h"
#include "report/report.h"

namespace shardwise {
namespace {

std::string shown(double x) {
  return x >= 100 ? fmt::format("{:.0f}", x) : x >= 10 ? fmt::format("{:.1f}", x) : fmt::format("{:.2f}", x);
}

std::string shown(const Interval& i) { return shown(i.mean) + " [" + shown(i.lo) + ", " + shown(i.hi) + "]"; }

std::string percent(double measured, double predicted) {
  return measured > 0 ? fmt::format("{:+.0f} %", 100 * (predicted / measured - 1)) : "-";
}

}  // namespace

std::string calibration_answer_text(const CalibrationAnswer& a, const Style& style) {
  const auto& c = a.calibration;
  std::string out = style.bold("Learned on " + c.gpu + " from " + c.model) + "\n";
  Table learned;
  learned.column("", Table::Align::left);
  learned.column("value");
  learned.column("+-");
  learned.column("meaning", Table::Align::left);
  const auto factor = [&](const char* name, const std::optional<Learned>& l, const char* meaning) {
    if (l)
      learned.row({name, fmt::format("x {:.3f}", std::exp(l->value)), fmt::format("{:.0f} %", 100 * l->sd), meaning});
  };
  if (c.first_token_ms)
    learned.row({"first token", fmt::format("{:+.1f} ms", c.first_token_ms->value),
                 fmt::format("{:.1f} ms", c.first_token_ms->sd),
                 "client, HTTP, tokeniser, host: on every first token"});
  factor("engine step", c.step, "on every step of the engine");
  factor("kernel launch", c.launch, "on the CPU's launches of prompt steps too long for a graph");
  factor("experts", c.experts, "on the routed experts of decode steps, of this model alone");
  if (c.kv_gib)
    learned.row({"KV cache", fmt::format("{:+.2f} GiB", c.kv_gib->value), fmt::format("{:.2f} GiB", c.kv_gib->sd),
                 "memory left for it on every GPU, of this model alone"});
  out += learned.text(style) + "\n";
  out += style.bold("Measured, and predicted before and after") + "\n";
  Table rows;
  rows.column("from", Table::Align::left);
  rows.column("", Table::Align::left);
  rows.column("measured");
  rows.column("before [90 %]");
  rows.column("off");
  rows.column("after [90 %]");
  rows.column("off");
  for (const auto& r : a.rows)
    rows.row({r.source, r.what + " " + r.unit, shown(r.measured), shown(r.before), percent(r.measured, r.before.mean),
              shown(r.after), percent(r.measured, r.after.mean)});
  out += rows.text(style);
  for (const auto& note : a.notes) out += "  " + style.dim("note: " + note) + "\n";
  return out;
}

std::string calibration_json(const CalibrationAnswer& a) {
  const auto& c = a.calibration;
  Json j = {{"schema", "shardwise.calibration/1"}, {"model", c.model}, {"gpu", c.gpu}};
  const auto learned = [&](const char* key, const std::optional<Learned>& l) {
    if (l) j[key] = {{"value", l->value}, {"sd", l->sd}};
  };
  learned("first_token_ms", c.first_token_ms);
  learned("step", c.step);
  learned("launch", c.launch);
  learned("experts", c.experts);
  learned("kv_gib", c.kv_gib);
  j["ttft_band"] = c.ttft_band, j["tpot_band"] = c.tpot_band;
  j["rows"] = Json::array();
  const auto interval = [](const Interval& i) { return Json{{"mean", i.mean}, {"lo", i.lo}, {"hi", i.hi}}; };
  for (const auto& r : a.rows)
    j["rows"].push_back({{"source", r.source},
                         {"what", r.what},
                         {"unit", r.unit},
                         {"measured", r.measured},
                         {"before", interval(r.before)},
                         {"after", interval(r.after)}});
  j["notes"] = a.notes;
  return j.dump(2) + "\n";
}

}  // namespace shardwise
