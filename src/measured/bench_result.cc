#include "measured/bench_result.h"

#include <algorithm>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "config/quantity.h"

namespace shardwise {
namespace {

/// What a run can have measured.
struct BenchRange {
  const char* key;
  double least, most;
};

constexpr BenchRange kRanges[] = {
    {"completed", 1, 1e12},      {"total_input_tokens", 1, 1e15}, {"total_output_tokens", 1, 1e15},
    {"max_concurrency", 1, 1e6}, {"request_rate", 1e-6, 1e9},     {"burstiness", 1e-3, 1e6},
    {"mean_ttft_ms", 1e-3, 1e9}, {"mean_tpot_ms", 1e-3, 1e9},     {"output_throughput", 1e-6, 1e9}};

std::optional<double> measured_number(const Json& object, const char* key, const std::string& file) {
  const auto value = number_at(object, key);
  for (const auto& range : kRanges)
    if (value && std::string_view(range.key) == key && !(*value >= range.least && *value <= range.most))
      throw InputError(file, 0, key, number_text(*value) + " is out of range",
                       "from " + number_text(range.least) + " to " + number_text(range.most));
  return value;
}

double required_number(const Json& object, const char* key, const std::string& file) {
  if (const auto value = measured_number(object, key, file)) return *value;
  throw InputError(file, 0, key, "missing or no number",
                   "a result file of vllm bench serve --save-result; its metrics must hold ttft and tpot");
}

/// Number behind `words` in a line: "Available KV cache memory: 54.12 GiB" -> 54.12.
std::optional<double> gib_behind(std::string_view line, std::string_view words) {
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
  b.model_id = text_at(j, "model_id");
  b.completed = static_cast<std::int64_t>(required_number(j, "completed", file));
  b.isl = required_number(j, "total_input_tokens", file) / static_cast<double>(b.completed);
  b.osl = required_number(j, "total_output_tokens", file) / static_cast<double>(b.completed);
  if (b.isl < 1 || b.osl < 2)
    throw InputError(file, 0, "total_output_tokens", "fewer than two output tokens a request say nothing of TPOT",
                     "a run with longer outputs");
  if (const auto n = measured_number(j, "max_concurrency", file)) b.max_concurrency = static_cast<int>(*n);
  b.request_rate = measured_number(j, "request_rate", file);  // else the text "inf"
  b.burstiness = measured_number(j, "burstiness", file).value_or(1);
  b.mean_ttft_ms = required_number(j, "mean_ttft_ms", file);
  b.mean_tpot_ms = required_number(j, "mean_tpot_ms", file);
  b.output_throughput = required_number(j, "output_throughput", file);
  return b;
}

StartupLog read_startup_log(std::string_view text, const std::string& file) {
  std::optional<double> least;
  for (const auto& line : split(text, '\n'))
    if (const auto gib = gib_behind(line, "Available KV cache memory:")) least = std::min(least.value_or(*gib), *gib);
  if (!least)
    throw InputError(file, 0, "", "no line says 'Available KV cache memory: ... GiB'",
                     "the log of a vLLM server from its start, at level INFO");
  return {file.substr(file.find_last_of('/') + 1), *least};
}

}  // namespace shardwise
