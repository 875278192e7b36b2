#pragma once
// Measured serving points as inputs of the model: a CSV row becomes a model, an engine, a cluster and a load.
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cost/bands.h"
#include "cost/compiled_step.h"
#include "hardware/hardware.h"
#include "memory/memory_plan.h"
#include "model/model.h"
#include "parallel/engine_config.h"
#include "workload/workload.h"

namespace shardwise {

/// A measured row, ready to price.
struct ServingCase {
  std::string id, load_class, model_name, system, quantisation, architecture, basis, repeat_group;
  std::string campaign;  ///< source and date: rows of one run of a benchmark
  std::shared_ptr<const Model> model;
  EngineConfig engine;
  Cluster cluster;
  int gpus = 1, ranks = 1, replicas = 1;  ///< ranks: engines or DP ranks that share the load
  Workload load;
  std::int64_t num_prompts = 0;
  bool steady = false;                   ///< only the mean output is known: lengths vary by a tenth
  bool derived_throughput = false;       ///< the source derives tokens/s from TTFT and TPOT
  int stream_interval = 1;               ///< tokens per streamed chunk
  std::optional<bool> fused_all_reduce;  ///< where the source states it
  bool p50_statistics = false, saturated = false;
  MemoryPlan memory;
  std::optional<double> ttft_ms, tpot_ms, output_tok_s_per_gpu;  ///< measured means, where given
};

/// A row that lacks what a prediction needs.
struct UnpricedRow {
  std::string id, load_class, reason;
};
using ServingRow = std::variant<ServingCase, UnpricedRow>;

/// In the table's order. Models come from the bundle; throws InputError on a broken table.
std::vector<ServingRow> read_serving_rows(std::string_view csv, const std::string& file, unsigned threads = 0);
std::vector<ServingCase> priced(std::vector<ServingRow> rows);

struct ServingPrediction {
  Interval ttft_ms, tpot_ms, output_tok_s_per_gpu;
  BandSlice slice;         ///< what decided the intervals
  std::string gpu, shape;  ///< the combination they may be of
  std::string band_reason;
};

enum class ServingMethod {
  closed_form,
  replay,    ///< the run on compiled steps, decode stretches jumped over
  simulator  ///< every step as vLLM schedules it; slower, differs from the replay by less than the band
};

/// What every command answers with.
inline constexpr ServingMethod kDefaultServingMethod = ServingMethod::simulator;

/// `constants` may differ from the shipped ones (fits).
ServingPrediction predict_serving(const ServingCase& c, const CostConstants& constants,
                                  ServingMethod method = kDefaultServingMethod);

}  // namespace shardwise
