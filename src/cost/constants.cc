#include "cost/constants.h"

#include <algorithm>
#include <stdexcept>

#include "base/input_error.h"
#include "config/csv.h"

namespace shardwise {
namespace {

constexpr std::array<std::string_view, kCoefs> kNames = {"gemm",
                                                         "moe",
                                                         "decode_attention",
                                                         "prefill_attention",
                                                         "all_reduce",
                                                         "prefill_hopper",
                                                         "prefill_blackwell",
                                                         "sustained_hopper",
                                                         "sustained_blackwell",
                                                         "gap_hopper",
                                                         "gap_blackwell",
                                                         "moe_gap",
                                                         "host",
                                                         "sequence",
                                                         "mixed",
                                                         "http",
                                                         "first_token",
                                                         "front_end",
                                                         "old_engine",
                                                         "no_async",
                                                         "stream",
                                                         "eager_dense",
                                                         "eager_moe",
                                                         "fused_all_reduce",
                                                         "static_fp8_hopper",
                                                         "static_fp8_blackwell",
                                                         "static_scale",
                                                         "old_block_moe"};

}  // namespace

const std::vector<CostParameter>& cost_parameters() {
  static const std::vector<CostParameter> rows = [] {
    std::vector<CostParameter> out(kCoefs);
    std::size_t seen = 0;
    const CsvTable table = embedded_csv("calibration/serving.csv");
    for (const auto& line : table.rows) {
      const CsvCells r(table, line);
      const auto it = std::find(kNames.begin(), kNames.end(), r.text("name"));
      if (it == kNames.end()) r.fail("name", "unknown coefficient '" + r.text("name") + "'");
      out[static_cast<std::size_t>(it - kNames.begin())] = {r.text("name"),      r.required("value"),
                                                            r.required("prior"), r.required("prior_sd"),
                                                            r.text("unit"),      r.text("source")};
      ++seen;
    }
    if (seen != kCoefs) throw InputError("data/calibration/serving.csv", 0, "", "every coefficient needs one row");
    return out;
  }();
  return rows;
}

const CostConstants& default_constants() {
  static const CostConstants constants = [] {
    CostConstants c;
    const auto& rows = cost_parameters();
    for (std::size_t i = 0; i < kCoefs; ++i) c.value[i] = rows[i].value;
    const CsvTable table = embedded_csv("calibration/routing.csv");
    for (const auto& line : table.rows) {
      const CsvCells r(table, line);
      c.routing.push_back({r.text("pattern"), r.required("factor"), r.text("source")});
    }
    return c;
  }();
  return constants;
}

}  // namespace shardwise
