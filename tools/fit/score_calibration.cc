#include "score_calibration.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <mutex>

#include "base/parallel_map.h"
#include "measured/calibration.h"

namespace shardwise {
namespace {

struct Score {
  double before = 0, after = 0;
  int rows = 0, inside = 0;  ///< inside: measurements within the calibrated 90 % interval
  void add(double measured, const Interval& was, const Interval& is, const Interval& in) {
    before += std::abs(was.mean / measured - 1), after += std::abs(is.mean / measured - 1);
    inside += measured >= in.lo && measured <= in.hi;
    ++rows;
  }
  std::string cells() const {
    return rows ? fmt::format("{} | {:.1f} | {:.1f} | {:.1f} %", rows, 100 * before / rows, 100 * after / rows,
                              100.0 * inside / rows)
                : "0 | - | - | -";
  }
};

}  // namespace

std::string score_calibration(const std::vector<const ServingCase*>& rows,
                              const std::function<const CostConstants&(const ServingCase&)>& constants_of,
                              const std::function<const std::vector<BandRow>&(const ServingCase&)>& bands_of) {
  std::map<std::string, std::vector<const ServingCase*>> runs;
  for (const auto* c : rows)
    runs[c->model_name + "|" + c->system + "|" + c->quantisation + "|" + to_string(c->engine.vllm_version) + "|" +
         c->campaign]
        .push_back(c);
  std::vector<std::pair<const ServingCase*, std::vector<const ServingCase*>>> work;
  for (const auto& [name, members] : runs) {
    const ServingCase* low = nullptr;
    const auto load = [](const ServingCase& c) {
      return static_cast<double>(c.load.concurrency.value_or(1)) / c.ranks;
    };
    for (const auto* c : members)
      if (c->ttft_ms && c->tpot_ms && load(*c) <= 4 && (!low || load(*c) < load(*low))) low = c;
    if (!low || members.size() < 3) continue;
    work.push_back({low, {}});
    for (const auto* c : members)
      if (c != low) work.back().second.push_back(c);
  }
  Score ttft, tpot, tput;
  std::mutex mutex;
  parallel_for(work.size(), 0, [&](std::size_t i) {
    const auto& [low, others] = work[i];
    const auto& constants = constants_of(*low);
    const auto& bands = bands_of(*low);
    const auto learned = calibrate(std::span(low, 1), constants);
    const auto changed = calibrated(constants, learned, low->model->name);
    for (const auto* c : others) {
      const auto was = predict_serving(*c, constants), is = predict_serving(*c, changed);
      const std::lock_guard lock(mutex);
      const auto add = [&](Score& score, BandMetric metric, const std::optional<double>& measured,
                           const Interval& before, const Interval& after) {
        if (measured) score.add(*measured, before, after, band(metric, after.mean, is.slice, bands));
      };
      add(ttft, BandMetric::ttft, c->ttft_ms, was.ttft_ms, is.ttft_ms);
      add(tpot, BandMetric::tpot, c->tpot_ms, was.tpot_ms, is.tpot_ms);
      add(tput, BandMetric::throughput, c->output_tok_s_per_gpu, was.output_tok_s_per_gpu, is.output_tok_s_per_gpu);
    }
  });
  return fmt::format(
      "### Calibrated on one row\n\n`shardwise calibrate` on the lowest-load row (at most 4 requests in flight a rank) "
      "of "
      "each of {} runs,\nscored on the runs' other rows; coefficients fitted without the group.\n\n"
      "| metric | rows | before | after | inside the narrower 90 % |\n|---|--:|--:|--:|--:|\n| TTFT | {} |\n| TPOT | "
      "{} "
      "|\n| tok/s | {} |\n\n",
      work.size(), ttft.cells(), tpot.cells(), tput.cells());
}

}  // namespace shardwise
