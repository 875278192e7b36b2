#include "app/calibrate.h"

#include <fmt/format.h>

#include <cmath>

#include "app/check.h"
#include "base/input_error.h"

namespace shardwise {

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

namespace {

/// The log's own scatter (ranks, fragmentation) against what the built-in figures do not know.
Learned kv_correction(const MemoryPlan& memory, const std::vector<StartupLog>& logs) {
  constexpr double kLogNoise = 0.1;  // GiB
  const auto n = static_cast<double>(logs.size());
  const double prior = (memory.kv_gib.hi - memory.kv_gib.lo) / (2 * 1.645);
  const double information = n / (kLogNoise * kLogNoise);
  double residual = 0;
  for (const auto& log : logs) residual += (log.available_kv_gib - memory.kv_gib.mean) / n;
  const double variance = 1 / (1 / (prior * prior) + information);
  return {variance * information * residual, std::sqrt(variance + kLogNoise * kLogNoise)};
}

std::string made_from(const BenchResult& b) {
  const auto load = b.max_concurrency ? fmt::format("{} in flight", *b.max_concurrency)
                    : b.request_rate  ? fmt::format("{:.3g} requests/s", *b.request_rate)
                                      : "all at once";
  return fmt::format("{}: {:.0f} in, {:.0f} out, {}: TTFT {:.1f} ms, TPOT {:.2f} ms", b.name, b.isl, b.osl, load,
                     b.mean_ttft_ms, b.mean_tpot_ms);
}

/// Why the measured command cannot be priced.
std::string no_plan(const CheckAnswer& a) {
  if (a.refusal) return "vLLM refuses this command (" + std::string(a.refusal->rule->id) + "): " + a.refusal->message;
  return a.memory && a.memory->refusal ? a.memory->refusal->message : "this command cannot be priced";
}

/// A measured run beside its predictions.
void add_rows(CalibrationAnswer& out, const BenchResult& b, const ServingCase& before, const ServingCase& after,
              const CostConstants& constants) {
  const auto was = predict_serving(before, default_constants()), is = predict_serving(after, constants);
  out.rows.push_back({b.name, "TTFT", "ms", b.mean_ttft_ms, was.ttft_ms, is.ttft_ms});
  out.rows.push_back({b.name, "TPOT", "ms", b.mean_tpot_ms, was.tpot_ms, is.tpot_ms});
  out.rows.push_back({b.name, "output/GPU", "tokens/s", *before.output_tok_s_per_gpu, was.output_tok_s_per_gpu,
                      is.output_tok_s_per_gpu});
}

}  // namespace

CalibrationAnswer calibrate_command(const CheckRequest& request, const std::vector<BenchResult>& benches,
                                    const std::vector<StartupLog>& logs) {
  if (benches.empty() && logs.empty())
    throw InputError("calibrate", 0, "", "nothing measured was given", "--bench RESULT.json or --log SERVER.log");
  const auto before = check(request);
  if (!before.plan)
    throw InputError("vllm serve", 0, "", no_plan(before), "the flags that the measured server ran with, behind --");
  CalibrationAnswer out;
  auto& c = out.calibration;
  std::vector<ServingCase> points;
  for (const auto& b : benches) points.push_back(bench_case(before, b));
  c = calibrate(points, default_constants());
  c.model = before.request.model->shape_name();
  c.gpu = request.cluster.first_gpu().name;
  if (!logs.empty()) c.kv_gib = kv_correction(*before.memory, logs);
  for (const auto& b : benches) {
    c.made_from.push_back(made_from(b));
    if (b.model_id && *b.model_id != request.model_spec && *b.model_id != c.model &&
        *b.model_id != before.request.model->name)
      out.notes.push_back(b.name + ": measured on '" + *b.model_id + "', calibrated as " + c.model);
  }
  for (const auto& log : logs)
    c.made_from.push_back(fmt::format("{}: {:.2f} GiB for the KV cache", log.name, log.available_kv_gib));

  // Before and after, on the points themselves.
  auto changed = request;
  apply_calibration(changed.cluster, c, c.model);
  changed.calibration = std::make_shared<const Calibration>(c);
  const auto after = check(changed);
  const auto constants = calibrated(default_constants(), c, c.model);
  for (std::size_t i = 0; i < benches.size(); ++i)
    add_rows(out, benches[i], points[i], after.plan ? bench_case(after, benches[i]) : points[i], constants);
  for (const auto& log : logs)
    if (after.memory)
      out.rows.push_back(
          {log.name, "KV cache", "GiB", log.available_kv_gib, before.memory->kv_gib, after.memory->kv_gib});
  return out;
}

}  // namespace shardwise
