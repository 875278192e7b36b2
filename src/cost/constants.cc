#include "cost/constants.h"

#include <algorithm>
#include <stdexcept>

#include "base/input_error.h"
#include "config/csv.h"

namespace shardwise {

const std::vector<CostParameter>& cost_parameters() {
  static const std::vector<CostParameter> rows = [] {
    std::vector<CostParameter> out(kCoefs);
    std::size_t seen = 0;
    const CsvTable table = embedded_csv("calibration/serving.csv");
    for (const auto& line : table.rows) {
      const CsvCells r(table, line);
      const auto name = r.text("name");
      const auto* row =
          std::find_if(std::begin(kCoefRows), std::end(kCoefRows), [&](const CoefRow& c) { return c.name == name; });
      if (row == std::end(kCoefRows)) r.fail("name", "unknown coefficient '" + name + "'");
      out[static_cast<std::size_t>(row->coef)] = {
          name, r.required("value"), r.required("prior"), r.required("prior_sd"), r.text("unit"), r.text("source")};
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
