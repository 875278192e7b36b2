#include "app/calibration_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/quantity.h"

namespace shardwise {
namespace {

double number_at(const Json& object, const char* key, const std::string& file) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number())
    throw InputError(file, 0, key, "missing or no number",
                     "a result file of vllm bench serve --save-result; its metrics must hold ttft and tpot");
  return it->get<double>();
}

/// Number behind `words` in a line: "Available KV cache memory: 54.12 GiB" -> 54.12.
std::optional<double> number_behind(std::string_view line, std::string_view words) {
  const auto at = line.find(words);
  if (at == std::string_view::npos) return std::nullopt;
  std::string digits;
  for (const char c : line.substr(at + words.size())) {
    if (std::isdigit(static_cast<unsigned char>(c)) || c == '.' || (c == '-' && digits.empty()))
      digits += c;
    else if (c != ',' && !(c == ' ' && digits.empty()))
      break;
  }
  double value = 0;
  if (!parse_number(digits, value)) return std::nullopt;
  return value;
}

}  // namespace

BenchResult read_bench_result(std::string_view text, const std::string& file) {
  const auto j = parse_python_json(text, file);
  if (!j.is_object())
    throw InputError(file, 0, "", "no JSON object", "a result file of vllm bench serve --save-result");
  BenchResult b;
  b.name = file.substr(file.find_last_of('/') + 1);
  b.model_id = j.value("model_id", std::string());
  b.completed = static_cast<std::int64_t>(number_at(j, "completed", file));
  if (b.completed < 1) throw InputError(file, 0, "completed", "no request was completed", "a run that worked");
  b.isl = number_at(j, "total_input_tokens", file) / static_cast<double>(b.completed);
  b.osl = number_at(j, "total_output_tokens", file) / static_cast<double>(b.completed);
  if (b.isl < 1 || b.osl < 2)
    throw InputError(file, 0, "total_output_tokens", "fewer than two output tokens a request say nothing of TPOT",
                     "a run with longer outputs");
  if (const auto it = j.find("max_concurrency"); it != j.end() && it->is_number()) b.max_concurrency = it->get<int>();
  // The rate is a number, or the text "inf".
  if (const auto it = j.find("request_rate"); it != j.end() && it->is_number()) b.request_rate = it->get<double>();
  if (const auto it = j.find("burstiness"); it != j.end() && it->is_number()) b.burstiness = it->get<double>();
  b.mean_ttft_ms = number_at(j, "mean_ttft_ms", file);
  b.mean_tpot_ms = number_at(j, "mean_tpot_ms", file);
  b.output_throughput = number_at(j, "output_throughput", file);
  return b;
}

StartupLog read_startup_log(std::string_view text, const std::string& file) {
  StartupLog log;
  log.name = file.substr(file.find_last_of('/') + 1);
  for (const auto& line : split(text, '\n')) {
    const auto gib = number_behind(line, "Available KV cache memory:");
    if (gib) log.available_kv_gib = std::min(log.available_kv_gib.value_or(*gib), *gib);
  }
  if (!log.available_kv_gib)
    throw InputError(file, 0, "", "no line says 'Available KV cache memory: ... GiB'",
                     "the log of a vLLM server from its start, at level INFO");
  return log;
}

ServingCase bench_case(const CheckAnswer& served, const BenchResult& bench) {
  ServingCase c;
  const Plan& plan = *served.plan;
  c.id = bench.name;
  c.model = served.request.model;
  c.model_name = c.model->name;
  c.engine = plan.engine;
  c.cluster = served.request.cluster;
  c.memory = plan.memory;
  c.gpus = plan.layout.gpus();
  c.ranks = std::max(1, plan.engine.parallel.data_parallel_size);
  c.load.isl = {LengthDistribution::Kind::constant, bench.isl, 0, {}};
  c.load.osl = {LengthDistribution::Kind::constant, bench.osl, 0, {}};
  c.steady = true;  // only the means are known
  c.num_prompts = bench.completed;
  if (bench.max_concurrency) {
    c.load_class = "closed_loop";
    c.load.concurrency = *bench.max_concurrency;
  } else if (bench.request_rate) {
    c.load_class = "open_loop";
    c.load.request_rate = *bench.request_rate;
    c.load.burstiness = bench.burstiness;
    c.load.arrivals = bench.burstiness == 1 ? Arrivals::poisson : Arrivals::gamma;
  } else {
    c.load_class = "burst";
    c.load.arrivals = Arrivals::burst;
  }
  c.ttft_ms = bench.mean_ttft_ms, c.tpot_ms = bench.mean_tpot_ms;
  c.output_tok_s_per_gpu = bench.output_throughput / c.gpus;
  return c;
}

CalibrationAnswer calibrate_command(const CheckRequest& request, const std::vector<BenchResult>& benches,
                                    const std::vector<StartupLog>& logs) {
  if (benches.empty() && logs.empty())
    throw InputError("calibrate", 0, "", "nothing measured was given", "--bench RESULT.json or --log SERVER.log");
  const auto before = check(request);
  if (!before.plan)
    throw InputError("vllm serve", 0, "",
                     before.refusal
                         ? "vLLM refuses this command (" + before.refusal->rule + "): " + before.refusal->message
                     : before.memory && before.memory->refusal ? before.memory->refusal->message
                                                               : "this command cannot be priced",
                     "the flags that the measured server ran with, behind --");
  CalibrationAnswer out;
  auto& c = out.calibration;

  std::vector<ServingCase> points;
  for (const auto& b : benches) points.push_back(bench_case(before, b));
  c = calibrate(points, default_constants());
  c.model = before.request.model->name;
  c.gpu = request.cluster.first_gpu().name;

  if (!logs.empty()) {
    // The log's own scatter (ranks, fragmentation) against what the built-in figures do not know.
    constexpr double kLogNoise = 0.1;  // GiB
    const double prior = (before.memory->kv_gib.hi - before.memory->kv_gib.lo) / (2 * 1.645);
    const double information = static_cast<double>(logs.size()) / (kLogNoise * kLogNoise);
    double residual = 0;
    for (const auto& log : logs)
      residual += (*log.available_kv_gib - before.memory->kv_gib.mean) / static_cast<double>(logs.size());
    const double variance = 1 / (1 / (prior * prior) + information);
    c.kv_gib = Learned{variance * information * residual, std::sqrt(variance + kLogNoise * kLogNoise)};
  }
  for (const auto& b : benches) {
    const auto load = b.max_concurrency ? fmt::format("{} in flight", *b.max_concurrency)
                      : b.request_rate  ? fmt::format("{:.3g} requests/s", *b.request_rate)
                                        : "all at once";
    c.made_from.push_back(fmt::format("{}: {:.0f} in, {:.0f} out, {}: TTFT {:.1f} ms, TPOT {:.2f} ms", b.name, b.isl,
                                      b.osl, load, b.mean_ttft_ms, b.mean_tpot_ms));
    if (!b.model_id.empty() && b.model_id != request.model_spec && b.model_id != c.model)
      out.notes.push_back(b.name + ": measured on '" + b.model_id + "', calibrated as " + c.model);
  }
  for (const auto& log : logs)
    c.made_from.push_back(fmt::format("{}: {:.2f} GiB for the KV cache", log.name, *log.available_kv_gib));

  // Before and after, on the points themselves.
  auto changed = request;
  apply_calibration(changed.cluster, c, c.model);
  changed.calibration = std::make_shared<const Calibration>(c);
  const auto after = check(changed);
  const auto constants = calibrated(default_constants(), c, c.model);
  for (std::size_t i = 0; i < benches.size(); ++i) {
    const auto was = predict_serving(points[i], default_constants());
    const auto is = predict_serving(after.plan ? bench_case(after, benches[i]) : points[i], constants);
    out.rows.push_back({benches[i].name, "TTFT", "ms", benches[i].mean_ttft_ms, was.ttft_ms, is.ttft_ms});
    out.rows.push_back({benches[i].name, "TPOT", "ms", benches[i].mean_tpot_ms, was.tpot_ms, is.tpot_ms});
    out.rows.push_back({benches[i].name, "output/GPU", "tokens/s", *points[i].output_tok_s_per_gpu,
                        was.output_tok_s_per_gpu, is.output_tok_s_per_gpu});
  }
  for (const auto& log : logs)
    if (after.memory)
      out.rows.push_back(
          {log.name, "KV cache", "GiB", *log.available_kv_gib, before.memory->kv_gib, after.memory->kv_gib});
  return out;
}

}  // namespace shardwise
