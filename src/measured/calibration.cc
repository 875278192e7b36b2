#include "measured/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/input_error.h"
#include "base/text.h"
#include "config/yaml.h"

namespace shardwise {
namespace {

constexpr std::size_t kUnknowns = 4;  // first token (s), ln step, ln launch, ln experts
using Vector = std::array<double, kUnknowns>;
using Matrix = std::array<Vector, kUnknowns>;

/// Inverse of a symmetric positive definite matrix (Gauss-Jordan; no pivot can vanish).
Matrix inverse(Matrix a) {
  Matrix b{};
  for (std::size_t i = 0; i < kUnknowns; ++i) b[i][i] = 1;
  for (std::size_t i = 0; i < kUnknowns; ++i) {
    const double pivot = a[i][i];
    for (std::size_t j = 0; j < kUnknowns; ++j) a[i][j] /= pivot, b[i][j] /= pivot;
    for (std::size_t r = 0; r < kUnknowns; ++r) {
      if (r == i) continue;
      const double f = a[r][i];
      for (std::size_t j = 0; j < kUnknowns; ++j) a[r][j] -= f * a[i][j], b[r][j] -= f * b[i][j];
    }
  }
  return b;
}

double quadratic(const Matrix& m, const Vector& v) {
  double sum = 0;
  for (std::size_t i = 0; i < kUnknowns; ++i)
    for (std::size_t j = 0; j < kUnknowns; ++j) sum += v[i] * m[i][j] * v[j];
  return sum;
}

Calibration of_unknowns(const Vector& x, const ServingCase& c) {
  Calibration k;
  k.model = c.model->shape_name();
  k.gpu = c.cluster.first_gpu().name;
  k.first_token_ms = Learned{1e3 * x[0], 0};
  k.step = Learned{x[1], 0};
  k.launch = Learned{x[2], 0};
  if (c.model->is_moe()) k.experts = Learned{x[3], 0};
  return k;
}

/// ln TTFT and ln TPOT of a point.
std::array<double, 2> predicted(const ServingCase& c, const CostConstants& constants, const Vector& x) {
  const auto p = predict_serving(c, calibrated(constants, of_unknowns(x, c), c.model->shape_name()));
  return {std::log(std::max(p.ttft_ms.mean, 1e-6)), std::log(std::max(p.tpot_ms.mean, 1e-6))};
}

/// One measured number: its residual and how it moves with the unknowns.
struct Observation {
  bool ttft = false;
  double residual = 0, noise = 1;
  Vector gradient{};
};

std::vector<Observation> observe(std::span<const ServingCase> points, const CostConstants& constants, const Vector& x) {
  constexpr Vector delta = {0.030, 0.05, 0.30, 0.10};  // wider than the steps that arrivals wait for
  std::vector<Observation> out;
  for (const auto& c : points) {
    const auto here = predicted(c, constants, x);
    std::array<std::array<double, 2>, kUnknowns> moved{};
    for (std::size_t i = 0; i < kUnknowns; ++i) {
      auto y = x;
      y[i] += delta[i];
      moved[i] = i == 3 && !c.model->is_moe() ? here : predicted(c, constants, y);
    }
    const auto add = [&](std::size_t metric, const std::optional<double>& measured, double noise) {
      if (!measured || *measured <= 0) return;
      Observation o{metric == 0, std::log(*measured) - here[metric], noise, {}};
      for (std::size_t i = 0; i < kUnknowns; ++i) o.gradient[i] = (moved[i][metric] - here[metric]) / delta[i];
      out.push_back(o);
    };
    add(0, c.ttft_ms, kCalibrationPriors.ttft_noise);
    add(1, c.tpot_ms, kCalibrationPriors.tpot_noise);
  }
  return out;
}

/// How much narrower the spread of a metric is under `after` than under `before`, mean over its points.
double narrowing(const std::vector<Observation>& seen, bool ttft, const Matrix& before, const Matrix& after) {
  double sum = 0;
  int n = 0;
  for (const auto& o : seen) {
    if (o.ttft != ttft) continue;
    const double noise = std::pow(ttft ? kCalibrationPriors.ttft_within_run : kCalibrationPriors.tpot_within_run, 2);
    sum += std::sqrt((noise + quadratic(after, o.gradient)) / (noise + quadratic(before, o.gradient)));
    ++n;
  }
  return n ? sum / n : 1;
}

}  // namespace

CostConstants constants_of(const Calibration* calibration, const std::string& model_name) {
  return calibration ? calibrated(default_constants(), *calibration, model_name) : default_constants();
}

CostConstants calibrated(const CostConstants& constants, const Calibration& c, const std::string& model_name) {
  CostConstants k = constants;
  if (c.first_token_ms) {  // what the first token alone does not take is off the way to the engine
    const double first = k[Coef::first_token] + 1e-3 * c.first_token_ms->value;
    k[Coef::first_token] = std::max(1e-4, first);
    k[Coef::http] = std::max(1e-4, k[Coef::http] + std::min(0.0, first));
  }
  if (c.launch)
    for (const auto coef : {Coef::eager_dense, Coef::eager_moe}) k[coef] *= std::exp(c.launch->value);
  if (c.step) k.step *= std::exp(c.step->value);
  if (c.experts && model_name == c.model) {
    const auto pattern = to_lower(c.model);
    double factor = 1;
    for (const auto& row : k.routing)
      if (pattern.find(row.pattern) != std::string::npos) {
        factor = row.factor;
        break;
      }
    k.routing.insert(k.routing.begin(), {pattern, factor * std::exp(c.experts->value), "calibration"});
  }
  k.ttft_band *= c.ttft_band, k.tpot_band *= c.tpot_band;
  return k;
}

void apply_calibration(Cluster& cluster, const Calibration& c, const std::string& model_name) {
  if (cluster.first_gpu().name != c.gpu)
    throw InputError("--calibration", 0, "", "made on " + c.gpu + ", this cluster has " + cluster.first_gpu().name,
                     "shardwise calibrate on this GPU kind");
  if (c.kv_gib && c.model == model_name) cluster.gpus.at(c.gpu).kv_correction = {c.kv_gib->value, c.kv_gib->sd};
}

Calibration calibrate(std::span<const ServingCase> all, const CostConstants& constants) {
  std::vector<ServingCase> points;
  for (const auto& c : all)
    if (c.ttft_ms || c.tpot_ms) points.push_back(c);
  if (points.empty()) return {};
  const auto& first = points.front();
  const auto name = to_lower(first.model->shape_name());
  const bool known = std::any_of(constants.routing.begin(), constants.routing.end(),
                                 [&](const auto& row) { return name.find(row.pattern) != std::string::npos; });
  const auto& p = kCalibrationPriors;
  const Vector sd = {p.first_token_s, p.step, p.launch, known ? p.experts_known : p.experts_unknown};
  Matrix prior{};
  for (std::size_t i = 0; i < kUnknowns; ++i) prior[i][i] = sd[i] * sd[i];

  Vector x{};
  Matrix posterior = prior;
  std::vector<Observation> seen;
  for (int step = 0; step < 3; ++step) {
    seen = observe(points, constants, x);
    Matrix information{};
    Vector pull{};
    for (std::size_t i = 0; i < kUnknowns; ++i) information[i][i] = 1 / prior[i][i], pull[i] = -x[i] / prior[i][i];
    for (const auto& o : seen)
      for (std::size_t i = 0; i < kUnknowns; ++i) {
        const double w = o.gradient[i] / (o.noise * o.noise);
        pull[i] += w * o.residual;
        for (std::size_t j = 0; j < kUnknowns; ++j) information[i][j] += w * o.gradient[j];
      }
    posterior = inverse(information);
    for (std::size_t i = 0; i < kUnknowns; ++i) {
      double move = 0;
      for (std::size_t j = 0; j < kUnknowns; ++j) move += posterior[i][j] * pull[j];
      x[i] = std::clamp(x[i] + move, -3 * sd[i], 3 * sd[i]);
    }
  }
  auto out = of_unknowns(x, first);
  const auto deviation = [&](std::size_t i) { return std::sqrt(posterior[i][i]); };
  out.first_token_ms->sd = 1e3 * deviation(0);
  out.step->sd = deviation(1);
  out.launch->sd = deviation(2);
  if (out.experts) out.experts->sd = deviation(3);
  out.ttft_band = narrowing(seen, true, prior, posterior);
  out.tpot_band = narrowing(seen, false, prior, posterior);
  return out;
}

Calibration read_calibration(std::string_view text, const std::string& file) {
  const auto root = parse_yaml(text, file);
  root.only_keys({"shardwise_calibration", "model", "gpu", "first_token_ms", "step", "launch", "experts", "kv_gib",
                  "ttft_band", "tpot_band", "made_from"});
  root.at("shardwise_calibration").integer(1, 1);
  Calibration c;
  c.model = root.at("model").text();
  c.gpu = root.at("gpu").text();
  const auto learned = [&](const char* key, double most) -> std::optional<Learned> {
    const auto* value = root.find(key);
    if (!value) return std::nullopt;
    value->only_keys({"value", "sd"});
    return Learned{value->at("value").number(-most, most), value->at("sd").number(0, most)};
  };
  c.first_token_ms = learned("first_token_ms", 1e4);
  c.step = learned("step", 3);
  c.launch = learned("launch", 3);
  c.experts = learned("experts", 3);
  c.kv_gib = learned("kv_gib", 1e3);
  if (const auto* band = root.find("ttft_band")) c.ttft_band = band->number(0.01, 10);
  if (const auto* band = root.find("tpot_band")) c.tpot_band = band->number(0.01, 10);
  if (const auto* lines = root.find("made_from"))
    for (const auto& line : lines->items()) c.made_from.push_back(line.text());
  return c;
}

std::string calibration_text(const Calibration& c) {
  std::string out =
      "# Made by `shardwise calibrate`. Any command takes it: --calibration FILE\n"
      "shardwise_calibration: 1\n";
  out += "model: " + yaml_scalar(c.model) + "\ngpu: " + yaml_scalar(c.gpu) + "\n";
  const auto learned = [&](const char* key, const std::optional<Learned>& value, const char* comment) {
    if (value) out += fmt::format("{}: {{value: {:.4g}, sd: {:.3g}}}  # {}\n", key, value->value, value->sd, comment);
  };
  learned("first_token_ms", c.first_token_ms, "ms added to every first token: client, HTTP, tokeniser, host");
  learned("step", c.step, "ln of a factor on every engine step");
  learned("launch", c.launch, "ln of a factor on the CPU's launches of prompt steps too long for a graph");
  learned("experts", c.experts, "ln of a factor on the routed experts of this model's decode steps");
  learned("kv_gib", c.kv_gib, "GiB added to what is left for the KV cache on every GPU");
  out += fmt::format("ttft_band: {:.3g}  # factor on the half width of TTFT intervals\n", c.ttft_band);
  out += fmt::format("tpot_band: {:.3g}  # factor on the half width of TPOT and throughput intervals\n", c.tpot_band);
  if (!c.made_from.empty()) out += "made_from:\n";
  for (const auto& line : c.made_from) out += "  - " + yaml_scalar(line) + "\n";
  return out;
}

}  // namespace shardwise
