#include "measured/bench_result.h"

#include <algorithm>

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

}  // namespace shardwise
