#pragma once
// Measured rows as the fit and its reports see them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "measured/serving_rows.h"

namespace shardwise {

struct Row {
  const ServingCase* c;
  double weight = 1;
  std::string group, model;
};

struct Predicted {
  double ttft = 0, tpot = 0, tput = 0;  // ms, ms, tokens/s per GPU
  BandSlice slice;
  std::string gpu, shape;
};

/// Relative errors of one metric.
struct Stats {
  std::vector<double> e;
  void add(double measured, double predicted) { e.push_back(predicted / measured - 1); }
  std::string text() const {
    if (e.empty()) return "      -             ";
    std::vector<double> a;
    double sum = 0, bias = 0;
    for (double v : e) a.push_back(std::abs(v)), sum += std::abs(v), bias += v;
    std::sort(a.begin(), a.end());
    const double n = static_cast<double>(a.size());
    return fmt::format("{:5.1f} /{:5.1f} /{:5.1f} ({:+5.1f})", 100 * sum / n, 100 * a[a.size() / 2],
                       100 * a[static_cast<std::size_t>(.9 * (n - 1))], 100 * bias / n);
  }
};

inline std::string short_name(const std::string& model) { return model.substr(model.rfind('/') + 1); }

inline std::string architecture_and_generation(const ServingCase& c) {
  return c.architecture + ", " + (c.cluster.first_gpu().peak.count(GpuDType::fp4) ? "Blackwell" : "Hopper and older");
}

}  // namespace shardwise
