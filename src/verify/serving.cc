#include "verify/serving.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>

#include "base/input_error.h"
#include "base/parallel_map.h"
#include "base/text.h"
#include "config/text_source.h"
#include "measured/serving_rows.h"

namespace shardwise {
namespace {

struct Errors {
  std::vector<double> values;
  void add(std::optional<double> measured, double predicted) {
    if (measured && *measured > 0) values.push_back(std::abs(predicted / *measured - 1));
  }
  std::string text() const {
    if (values.empty()) return "-";
    auto v = values;
    std::sort(v.begin(), v.end());
    double sum = 0;
    for (double x : v) sum += x;
    const auto at = [&](double p) { return 100 * v[static_cast<std::size_t>(p * static_cast<double>(v.size() - 1))]; };
    return fmt::format("{:.1f} / {:.1f} / {:.1f}", 100 * sum / static_cast<double>(v.size()), at(.5), at(.9));
  }
};

}  // namespace

ServingVerifyResult verify_serving(const ServingVerifyOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const auto cases = read_serving_rows(read_file(options.file), options.file, options.threads);
  const auto read = std::chrono::steady_clock::now();
  std::vector<std::optional<ServingPrediction>> predicted(cases.size());
  std::vector<std::string> reasons(cases.size());
  parallel_for(cases.size(), options.threads, [&](std::size_t i) {
    reasons[i] = cases[i].refusal;
    if (!reasons[i].empty()) return;
    try {
      predicted[i] = predict_serving(cases[i], default_constants(), options.method);
    } catch (const std::exception& e) {
      reasons[i] = e.what();
    }
  });
  const auto end = std::chrono::steady_clock::now();
  if (!options.predictions.empty()) {
    std::ofstream out(options.predictions);
    if (!out) throw InputError(options.predictions, 0, "", "cannot be written");
    out << "id,ttft_ms,tpot_ms,output_tok_s_per_gpu,ttft_lo,ttft_hi,tpot_lo,tpot_hi,tput_lo,tput_hi,reason\n";
    for (std::size_t i = 0; i < cases.size(); ++i) {
      std::string why = reasons[i];
      std::replace(why.begin(), why.end(), ',', ';');
      std::replace(why.begin(), why.end(), '\n', ' ');
      out << cases[i].id;
      if (const auto& p = predicted[i])
        out << fmt::format(",{:.4f},{:.5f},{:.5f},{:.4f},{:.4f},{:.5f},{:.5f},{:.5f},{:.5f},", p->ttft_ms.mean,
                           p->tpot_ms.mean, p->output_tok_s_per_gpu.mean, p->ttft_ms.lo, p->ttft_ms.hi, p->tpot_ms.lo,
                           p->tpot_ms.hi, p->output_tok_s_per_gpu.lo, p->output_tok_s_per_gpu.hi);
      else
        out << ",,,,,,,,,," << why;
      out << '\n';
    }
  }
  std::size_t closed = 0, closed_priced = 0, priced = 0;
  Errors ttft, tpot, tput;
  std::map<std::string, int> refused;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const bool loop = cases[i].load_class == "closed_loop";
    closed += loop, closed_priced += loop && predicted[i], priced += predicted[i].has_value();
    if (!predicted[i]) ++refused[reasons[i]];
    if (!predicted[i] || !loop || cases[i].saturated) continue;
    ttft.add(cases[i].ttft_ms, predicted[i]->ttft_ms.mean);
    tpot.add(cases[i].tpot_ms, predicted[i]->tpot_ms.mean);
    tput.add(cases[i].output_tok_s_per_gpu, predicted[i]->output_tok_s_per_gpu.mean);
  }
  const auto seconds = [](auto a, auto b) { return std::chrono::duration<double>(b - a).count(); };
  ServingVerifyResult result;
  result.text = fmt::format("{} rows, {} priced; closed loop: {} of {} priced; {:.2f} s to read, {:.2f} s to predict\n",
                            cases.size(), priced, closed_priced, closed, seconds(start, read), seconds(read, end));
  result.text +=
      fmt::format("closed loop, not saturated, |error| % mean / median / p90: TTFT {}; TPOT {}; tokens/s {}\n",
                  ttft.text(), tpot.text(), tput.text());
  for (const auto& [why, n] : refused) result.text += fmt::format("  {} not priced: {}\n", n, why);
  result.exit_code = closed == 0 || static_cast<double>(closed_priced) >= 0.98 * static_cast<double>(closed) ? 0 : 1;
  return result;
}

}  // namespace shardwise
