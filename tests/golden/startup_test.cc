// Real start-ups of vLLM (public logs, source_url names each): weights and KV memory against the predicted ones. The
// prediction reads the launch columns alone; the bounds are what the fit reached with some slack.
#include "verify/startup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "config/csv.h"
#include "config/text_source.h"

namespace shardwise {
namespace {

double quantile(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(p * static_cast<double>(values.size() - 1))];
}

TEST(GoldenStartup, WeightsAndKvMemory) {
  const std::string file = SHARDWISE_SOURCE_DIR "/tests/golden/startup/starts.csv";
  const auto out =
      (std::filesystem::temp_directory_path() / ("shardwise_startup_" + std::to_string(::getpid()) + ".csv")).string();
  verify_startup(file, std::nullopt, out);
  const CsvTable measured = parse_csv(read_file(file), file), predicted = parse_csv(read_file(out), out);
  std::filesystem::remove(out);
  std::map<std::string, CsvCells> by_id;
  for (const auto& row : predicted.rows) {
    const CsvCells cells(predicted, row);
    by_id.emplace(cells.text("id"), cells);
  }
  std::vector<double> weights, kv;
  int inside = 0;
  for (const auto& row : measured.rows) {
    const CsvCells cells(measured, row), guess = by_id.at(cells.text("id"));
    const auto at = [&](const char* name) { return guess.number(name).value_or(0); };
    const double real = cells.number("available_kv_gib_per_gpu").value_or(0),
                 held = cells.number("weights_gib_per_gpu").value_or(0);
    if (at("available_kv_gib_per_gpu") == 0) continue;
    kv.push_back(std::abs(at("available_kv_gib_per_gpu") / real - 1));
    weights.push_back(std::abs(at("weights_gib_per_gpu") / held - 1));
    inside += at("kv_gib_lo") <= real && real <= at("kv_gib_hi");
  }
  ASSERT_GE(kv.size(), 80u);
  EXPECT_LT(quantile(weights, 0.5), 0.005);
  EXPECT_LT(quantile(kv, 0.5), 0.01);
  EXPECT_LT(quantile(kv, 0.9), 0.05);
  EXPECT_GT(inside, 0.85 * static_cast<double>(kv.size()));
}

}  // namespace
}  // namespace shardwise
