#include "cost/constants.h"

#include <algorithm>
#include <stdexcept>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"

namespace shardwise {
namespace {

std::vector<std::vector<std::string>> rows_of(const std::string& name) {
  const auto text = embedded_file(name);
  if (!text) throw InputError("data/" + name, 0, "", "missing from this build");
  std::vector<std::vector<std::string>> out;
  for (const auto& line : split(*text, '\n'))
    if (!line.empty() && line[0] != '#') out.push_back(split(line, ','));
  return out;
}

}  // namespace

const std::vector<CostParameter>& cost_parameters() {
  static const std::vector<CostParameter> rows = [] {
    std::vector<CostParameter> out(kCoefs);
    std::size_t seen = 0;
    for (const auto& r : rows_of("calibration/serving.csv")) {
      const auto* row =
          std::find_if(std::begin(kCoefRows), std::end(kCoefRows), [&](const CoefRow& c) { return c.name == r.at(0); });
      if (row == std::end(kCoefRows)) throw InputError("data/calibration/serving.csv", 0, r[0], "unknown coefficient");
      out[static_cast<std::size_t>(row->coef)] = {
          r[0], std::stod(r.at(1)), std::stod(r.at(2)), std::stod(r.at(3)), r.at(4), r.at(5)};
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
    for (const auto& r : rows_of("calibration/routing.csv"))
      c.routing.push_back({r.at(0), std::stod(r.at(1)), r.at(2)});
    return c;
  }();
  return constants;
}

}  // namespace shardwise
