#pragma once
// What a calibration reads: results of `vllm bench serve --save-result` and vLLM's start-up logs.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shardwise {

/// One result file of `vllm bench serve` (vllm/benchmarks/serve.py).
struct BenchResult {
  std::string name;                     ///< file name
  std::optional<std::string> model_id;  ///< as the server called it
  double isl = 0, osl = 0;              ///< mean tokens of the completed requests
  std::int64_t completed = 0;           ///< requests
  std::optional<int> max_concurrency;
  std::optional<double> request_rate;  ///< requests/s; none: all at once
  double burstiness = 1;
  double mean_ttft_ms = 0, mean_tpot_ms = 0, output_throughput = 0;  ///< tokens/s
};
/// Throws InputError naming the missing or impossible field.
BenchResult read_bench_result(std::string_view text, const std::string& file);

/// What a start-up log says of memory, per GPU; the least over its ranks.
struct StartupLog {
  std::string name;
  double available_kv_gib = 0;
};
/// Throws InputError if no line of the log says how much memory was left for the KV cache.
StartupLog read_startup_log(std::string_view text, const std::string& file);

}  // namespace shardwise
