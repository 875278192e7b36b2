#include "verify/serving.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "base/input_error.h"
#include "base/parallel_map.h"
#include "base/text.h"
#include "config/text_source.h"
#include "config/write_file.h"
#include "measured/serving_rows.h"
#include "verify/verify.h"

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

/// A row with its prediction, or with why there is none.
struct Answered {
  std::string id;
  bool closed_loop = false;
  std::optional<ServingCase> measured;
  std::optional<ServingPrediction> predicted;
  std::string reason;
};

Answered answer(const ServingRow& row, ServingMethod method) {
  Answered a;
  std::visit([&](const auto& r) { a.id = r.id, a.closed_loop = r.load_class == "closed_loop"; }, row);
  if (const auto* unpriced = std::get_if<UnpricedRow>(&row)) {
    a.reason = unpriced->reason;
    return a;
  }
  a.measured = std::get<ServingCase>(row);
  try {
    a.predicted = predict_serving(*a.measured, default_constants(), method);
  } catch (const std::exception& e) {
    a.reason = e.what();
  }
  return a;
}

std::string prediction_line(const Answered& a) {
  if (const auto& p = a.predicted)
    return fmt::format("{},{:.4f},{:.5f},{:.5f},{:.4f},{:.4f},{:.5f},{:.5f},{:.5f},{:.5f},\n", a.id, p->ttft_ms.mean,
                       p->tpot_ms.mean, p->output_tok_s_per_gpu.mean, p->ttft_ms.lo, p->ttft_ms.hi, p->tpot_ms.lo,
                       p->tpot_ms.hi, p->output_tok_s_per_gpu.lo, p->output_tok_s_per_gpu.hi);
  std::string why = a.reason;
  std::replace(why.begin(), why.end(), ',', ';');
  std::replace(why.begin(), why.end(), '\n', ' ');
  return a.id + ",,,,,,,,,," + why + "\n";
}

void write_predictions(const std::string& file, const std::vector<Answered>& answers) {
  std::string out = "id,ttft_ms,tpot_ms,output_tok_s_per_gpu,ttft_lo,ttft_hi,tpot_lo,tpot_hi,tput_lo,tput_hi,reason\n";
  for (const auto& a : answers) out += prediction_line(a);
  write_file(file, out);
}

/// Errors of closed loops that are not saturated.
std::string error_text(const std::vector<Answered>& answers) {
  Errors ttft, tpot, tput;
  for (const auto& a : answers) {
    if (!a.predicted || !a.closed_loop || a.measured->saturated) continue;
    ttft.add(a.measured->ttft_ms, a.predicted->ttft_ms.mean);
    tpot.add(a.measured->tpot_ms, a.predicted->tpot_ms.mean);
    tput.add(a.measured->output_tok_s_per_gpu, a.predicted->output_tok_s_per_gpu.mean);
  }
  return fmt::format("closed loop, not saturated, |error| % mean / median / p90: TTFT {}; TPOT {}; tokens/s {}\n",
                     ttft.text(), tpot.text(), tput.text());
}

}  // namespace

ServingVerifyResult verify_serving(const ServingVerifyOptions& options) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto rows = read_serving_rows(read_file(options.file), options.file, options.threads);
  if (rows.empty()) throw no_cases(options.file);
  const auto read = Clock::now();
  std::vector<Answered> answers(rows.size());
  parallel_for(rows.size(), options.threads, [&](std::size_t i) { answers[i] = answer(rows[i], options.method); });
  const auto end = Clock::now();
  if (options.predictions) write_predictions(*options.predictions, answers);
  std::size_t closed = 0, closed_priced = 0, priced = 0;
  std::map<std::string, int> refused;
  for (const auto& a : answers) {
    closed += a.closed_loop, closed_priced += a.closed_loop && a.predicted, priced += a.predicted.has_value();
    if (!a.predicted) ++refused[a.reason];
  }
  const auto seconds = [](auto a, auto b) { return std::chrono::duration<double>(b - a).count(); };
  ServingVerifyResult result;
  result.text = fmt::format("{} rows, {} priced; closed loop: {} of {} priced; {:.2f} s to read, {:.2f} s to predict\n",
                            answers.size(), priced, closed_priced, closed, seconds(start, read), seconds(read, end));
  result.text += error_text(answers);
  for (const auto& [why, n] : refused) result.text += fmt::format("  {} not priced: {}\n", n, why);
  result.exit_code = closed == 0 || static_cast<double>(closed_priced) >= 0.98 * static_cast<double>(closed) ? 0 : 1;
  return result;
}

}  // namespace shardwise
