#pragma once
// What a user's own measurements say about the things that no configuration states: how long host and front end take,
// how strongly tokens agree on experts, how much memory is left. Predictions with it are for that machine.
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cost/constants.h"
#include "measured/serving_rows.h"

namespace shardwise {

/// A value learned from measurements, with its standard deviation.
struct Learned {
  double value = 0, sd = 0;
  friend bool operator==(const Learned&, const Learned&) = default;
};

struct Calibration {
  std::string model, gpu;                 ///< what was measured: Model::name, Gpu::name
  std::optional<Learned> first_token_ms;  ///< added to the time to every first token
  std::optional<Learned> step;            ///< ln of a factor on every engine step
  std::optional<Learned> launch;          ///< ln of a factor on the CPU's launches of prompt steps too long for a graph
  std::optional<Learned> experts;         ///< ln of a factor on the routed experts of decode steps; of `model` alone
  std::optional<Learned> kv_gib;          ///< added to the memory left for the KV cache on every GPU; of `model` alone
  double ttft_band = 1, tpot_band = 1;    ///< factors on the half widths of intervals
  std::vector<std::string> made_from;     ///< a line for each measurement
  friend bool operator==(const Calibration&, const Calibration&) = default;
};

/// The calibration file (docs/formats/calibration_file.md); throws InputError with file, line and path.
Calibration read_calibration(std::string_view text, const std::string& file);
std::string calibration_text(const Calibration& calibration);

/// Coefficients for `model_name` under a calibration. `experts` counts for the measured model alone.
CostConstants calibrated(const CostConstants& constants, const Calibration& calibration, const std::string& model_name);

/// The default coefficients, under a calibration if there is one.
CostConstants constants_of(const Calibration* calibration, const std::string& model_name);

/// `cluster` with what the calibration knows of its GPUs' memory for `model_name`. Throws InputError if the calibration
/// is of another GPU kind.
void apply_calibration(Cluster& cluster, const Calibration& calibration, const std::string& model_name);

/// The most probable values given measured points of one model on one GPU kind (rows with ttft_ms or tpot_ms), starting
/// from `constants`: Gauss-Newton on ln TTFT and ln TPOT with the priors and noise of kCalibrationPriors. Low-load
/// points say most about the front end: a constant matters where TTFT is short.
Calibration calibrate(std::span<const ServingCase> points, const CostConstants& constants);

/// Spread of what is learned before anything is measured, and of measurements around a run's own constants. From
/// leave-out residuals of bench/data/serving.csv: between runs TPOT 5.5 %, the front end tens of ms; within a run TTFT
/// 24 % (15 % at low load), TPOT 6.6 %.
struct CalibrationPriors {
  double first_token_s = 0.030;  ///< sd of the per-run constant; measured runs lie within -25 to +95 ms
  double step = 0.055;           ///< sd of ln
  double launch = 0.5;           ///< sd of ln: one configuration on two hosts, 1.0 and 2.3 ms a layer
  double experts_unknown = 0.25, experts_known = 0.10;    ///< sd of ln, without and with a row in routing.csv
  double ttft_noise = 0.15;                               ///< sd of ln TTFT around a run's constants at low load
  double tpot_noise = 0.066;                              ///< sd of ln TPOT within a run at low load
  double ttft_within_run = 0.32, tpot_within_run = 0.10;  ///< sd of ln at other loads of the same run
};
inline constexpr CalibrationPriors kCalibrationPriors;

}  // namespace shardwise
