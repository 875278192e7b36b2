// Speed of the simulator, single-threaded. The cases of vllm_* are those that vLLM 0.32's own scheduler was timed on
// (schedule + update_from_output, Python, one thread of a 2-core AMD EPYC VM): times_vllm = our requests/s over its.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "config/csv.h"
#include "config/text_source.h"
#include "sim/scheduler.h"
#include "sim/simulate.h"

namespace shardwise {
namespace {

/// Next to nothing, so that the simulator itself is timed.
struct CheapStep final : StepTime {
  Seconds step_time(std::span<const ScheduledChunk> batch) const override {
    return microseconds(1000 + 0.5 * static_cast<double>(batch.size()));
  }
};

struct VllmCase {
  std::string name;
  int requests, prompt_lo, prompt_hi, output_lo, output_hi, seqs, budget, concurrency;
  bool caching, async_scheduling;
  double vllm_requests_per_s;
};

std::vector<VllmCase> vllm_cases() {
  const std::string file = SHARDWISE_SOURCE_DIR "/bench/data/vllm_scheduler.csv";
  const CsvTable table = parse_csv(read_file(file), file);
  std::vector<VllmCase> cases;
  for (const CsvRow& row : table.rows) {
    const CsvCells cells(table, row);
    const auto whole = [&](const char* column) { return cells.whole(column); };
    cases.push_back({cells.text("name"), whole("requests"), whole("prompt_lo"), whole("prompt_hi"), whole("output_lo"),
                     whole("output_hi"), whole("max_num_seqs"), whole("max_num_batched_tokens"), whole("concurrency"),
                     whole("prefix_caching") != 0, whole("async_scheduling") != 0,
                     cells.required("vllm_requests_per_s")});
  }
  return cases;
}

/// schedule + update alone, as the real one was timed: no clock, no metrics.
void vllm_case(benchmark::State& state, const VllmCase& c) {
  std::int64_t rows = 0, requests = 0;
  for (auto _ : state) {
    SchedulerConfig config;
    config.num_blocks = 60000;
    config.max_num_seqs = c.seqs;
    config.max_num_batched_tokens = c.budget;
    config.enable_prefix_caching = c.caching;
    config.async_scheduling = c.async_scheduling;
    Scheduler scheduler(config);
    Rng rng(5);
    int next = 0;
    const auto add = [&] {
      const TokenRun run{200'000'000 + std::int64_t{next} * 200'000, rng.uniform_int(c.prompt_lo, c.prompt_hi)};
      NewRequest n;
      n.id = next;
      n.prompt = {&run, 1};
      n.max_tokens = static_cast<int>(rng.uniform_int(c.output_lo, c.output_hi));
      n.output_first = 1'000'000'000'000 + std::int64_t{next++} * 100'000;
      scheduler.add(n);
    };
    for (int i = 0; i < c.concurrency && next < c.requests; ++i) add();
    ScheduledStep steps[2];
    std::vector<Scheduler::Output> outputs;
    int flying = 0;
    std::size_t newest = 0;
    const int queue = config.max_concurrent_batches();
    while (scheduler.has_requests() || flying > 0) {
      if (scheduler.has_requests()) {
        newest ^= queue == 2 ? 1 : 0;
        scheduler.schedule(false, steps[newest]);
        rows += static_cast<std::int64_t>(steps[newest].rows.size());
        ++flying;
        if (flying < queue && (steps[newest].total_tokens > 0 || scheduler.has_requests())) continue;
      }
      const std::size_t oldest = queue == 2 && flying == 2 ? newest ^ 1 : newest;
      scheduler.update(
          steps[oldest], [](const SchedulerRequest&, const ScheduledRow&) { return 0; }, outputs);
      --flying;
      for (const auto& out : outputs)
        if (out.finished && next < c.requests) add();
    }
    requests += c.requests;
  }
  state.counters["requests/s"] = benchmark::Counter(static_cast<double>(requests), benchmark::Counter::kIsRate);
  state.counters["ns/row"] =
      benchmark::Counter(static_cast<double>(rows) * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["times_vllm"] =
      benchmark::Counter(static_cast<double>(requests) / c.vllm_requests_per_s, benchmark::Counter::kIsRate);
}

LengthDistribution uniform(double a, double b) {
  LengthDistribution d;
  d.kind = LengthDistribution::Kind::uniform;
  d.a = a, d.b = b;
  return d;
}

void run(benchmark::State& state, const SimulationConfig& config, const Workload& workload) {
  std::int64_t requests = 0, steps = 0;
  for (auto _ : state) {
    const SimulationResult r = simulate(config, workload, CheapStep{}, 1);
    requests += r.completed;
    steps += r.steps;
    benchmark::DoNotOptimize(r.ttft.mean);
  }
  state.counters["requests/s"] = benchmark::Counter(static_cast<double>(requests), benchmark::Counter::kIsRate);
  state.counters["steps/s"] = benchmark::Counter(static_cast<double>(steps), benchmark::Counter::kIsRate);
}

/// The whole simulator, clock and metrics included: prompts of 64 to 256, answers of 1 to 16 tokens.
void short_requests(benchmark::State& state) {
  SimulationConfig c;
  c.scheduler.num_blocks = 20000;
  c.scheduler.max_num_seqs = 256;
  c.scheduler.max_num_batched_tokens = 8192;
  c.num_requests = state.range(0);
  Workload w;
  w.isl = uniform(64, 256);
  w.osl = uniform(1, 16);
  w.concurrency = 256;
  run(state, c, w);
}
BENCHMARK(short_requests)->Arg(300'000)->Unit(benchmark::kMillisecond);

/// Lengths of the Mooncake conversation trace: 8,600 in, 180 out on average.
void mooncake_lengths(benchmark::State& state) {
  SimulationConfig c;
  c.scheduler.num_blocks = 200'000;
  c.scheduler.max_model_len = 131'072;
  c.scheduler.max_num_seqs = 256;
  c.scheduler.max_num_batched_tokens = 8192;
  c.scheduler.async_scheduling = state.range(1) != 0;
  c.num_requests = state.range(0);
  Workload w;
  w.isl.kind = w.osl.kind = LengthDistribution::Kind::lognormal;
  w.isl.a = 8600, w.isl.b = 0.9;
  w.osl.a = 180, w.osl.b = 0.7;
  w.concurrency = 256;
  run(state, c, w);
}
BENCHMARK(mooncake_lengths)->Args({50'000, 0})->Args({50'000, 1})->Unit(benchmark::kMillisecond);

/// What `plan` asks for each finalist: 8 engines of one deployment.
void finalist(benchmark::State& state) {
  SimulationConfig c;
  c.scheduler.num_blocks = 30'000;
  c.scheduler.max_model_len = 16'384;
  c.scheduler.max_num_seqs = 256;
  c.scheduler.max_num_batched_tokens = 8192;
  c.scheduler.async_scheduling = true;
  c.data_parallel_size = 8;
  c.num_requests = 640;
  Workload w;
  w.isl = uniform(819, 1024);
  w.osl = uniform(819, 1024);
  w.concurrency = 64;
  run(state, c, w);
}
BENCHMARK(finalist)->Unit(benchmark::kMillisecond);

const bool registered = [] {
  for (const VllmCase& c : vllm_cases())
    benchmark::RegisterBenchmark(("vllm_" + c.name).c_str(), [c](benchmark::State& s) {
      vllm_case(s, c);
    })->Unit(benchmark::kMillisecond);
  return true;
}();

}  // namespace
}  // namespace shardwise
