#include "verify/startup.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/input_error.h"
#include "base/text.h"
#include "config/text_source.h"
#include "config/write_file.h"
#include "measured/startup_launch.h"
#include "memory/memory_plan.h"
#include "memory/startup.h"
#include "model/name_guess.h"
#include "verify/verify.h"

namespace shardwise {

namespace {

constexpr const char* kColumns[] = {"id",
                                    "outcome",
                                    "weights_gib_per_gpu",
                                    "available_kv_gib_per_gpu",
                                    "kv_cache_tokens",
                                    "max_concurrency",
                                    "activation_peak_gib",
                                    "non_torch_gib",
                                    "cuda_graph_gib",
                                    "kv_gib_lo",
                                    "kv_gib_hi",
                                    "probability_fits",
                                    "total_gib",
                                    "utilization",
                                    "f_logits",
                                    "f_hidden",
                                    "f_mlp",
                                    "f_moe",
                                    "f_hyper",
                                    "f_mla",
                                    "f_vision",
                                    "f_encoder",
                                    "f_mxfp4",
                                    "f_layers",
                                    "f_graphs",
                                    "f_outside",
                                    "f_logits_term",
                                    "f_version",
                                    "note"};

/// Cells by column; what is not set stays empty.
class Prediction {
 public:
  void set(const std::string& column, std::string value) { cells_[column] = std::move(value); }
  void set(const std::string& column, double value, int decimals) {
    set(column, fmt::format("{:.{}f}", value, decimals));
  }
  std::string line() const {
    std::string out;
    for (const char* column : kColumns) {
      const auto it = cells_.find(column);
      if (column != kColumns[0]) out += ',';
      if (it != cells_.end()) out += it->second;
    }
    return out + "\n";
  }

 private:
  std::map<std::string, std::string, std::less<>> cells_;
};

std::string quoted(std::string text) {
  std::replace(text.begin(), text.end(), '"', '\'');
  return '"' + text + '"';
}

void set_features(Prediction& out, const StartupFeatures& f, const EngineConfig& engine, const Gpu& gpu) {
  out.set("f_logits", f.logits, 6);
  out.set("f_hidden", f.hidden, 6);
  out.set("f_mlp", f.mlp, 6);
  out.set("f_moe", f.moe, 6);
  out.set("f_hyper", f.hyper, 6);
  out.set("f_mla", f.mla, 0);
  out.set("f_vision", f.vision, 0);
  out.set("f_encoder", f.encoder, 6);
  out.set("f_mxfp4", f.mxfp4, 0);
  out.set("f_layers", f.layers, 0);
  out.set("f_graphs", f.graphs, 0);
  out.set("f_outside", std::string(non_torch_term(engine, gpu)));
  out.set("f_logits_term", std::string(logits_term(engine, gpu)));
  out.set("f_version", to_string(engine.vllm_version));
}

Prediction predict_start_row(const StartRow& row, const StartLaunch& launch) {
  Prediction out;
  out.set("id", row.id);
  std::vector<std::string> notes = launch.assumed;
  const auto done = [&] {
    if (!notes.empty()) out.set("note", quoted(join(notes, "; ")));
    return out;
  };
  if (launch.rejected) {
    out.set("outcome", std::string("rejected_config"));
    notes.insert(notes.begin(), *launch.rejected);
    return done();
  }
  Gpu gpu;
  gpu.vendor = "nvidia", gpu.compute_capability = 80;
  gpu.memory_total = gib(1e6);
  if (launch.gpu) gpu = *launch.gpu;
  const auto& e = launch.engine;
  const auto plan = plan_memory(launch.model, e, gpu);
  const auto& stage = plan.stages[static_cast<std::size_t>(plan.binding_stage)];
  const auto features = startup_features(launch.model, e, gpu, stage.first_layer, stage.last_layer);
  out.set("weights_gib_per_gpu", to_gib(stage.weights.total()), 4);
  out.set("activation_peak_gib", to_gib(stage.activation), 3);
  out.set("cuda_graph_gib", to_gib(startup_terms(features, e, gpu).cuda_graph), 3);
  set_features(out, features, e, gpu);
  if (!launch.gpu) {
    notes.insert(notes.begin(), "GPU not named: weights only");
    return done();
  }
  out.set("outcome", std::string(!plan.refusal                        ? "ok"
                                 : plan.refusal->is("memory_weights") ? "oom_load"
                                                                      : "kv_too_small"));
  out.set("available_kv_gib_per_gpu", to_gib(stage.kv_cache), 4);
  out.set("kv_cache_tokens", std::to_string(plan.kv_tokens));
  out.set("max_concurrency", plan.max_concurrency, 4);
  out.set("non_torch_gib", to_gib(stage.non_torch), 3);
  out.set("kv_gib_lo", plan.kv_gib.lo, 4);
  out.set("kv_gib_hi", plan.kv_gib.hi, 4);
  out.set("probability_fits", plan.probability_fits, 4);
  out.set("total_gib", to_gib(gpu.memory_total), 3);
  out.set("utilization", number_text(e.gpu_memory_utilization));
  if (plan.refusal) notes.insert(notes.begin(), plan.refusal->message);
  return done();
}

/// What the rows name and the bundle lacks.
struct Unknown {
  std::map<std::string, std::string> models, guessed;  ///< why; taken as
  std::set<std::string> gpus;                          ///< rows that name none

  std::string text() const {
    std::string out;
    for (const auto& [name, why] : models) out += fmt::format("  unknown model: {} ({})\n", name, why);
    for (const auto& [name, as] : guessed) out += fmt::format("  not bundled: {}, taken as {}\n", name, as);
    if (!gpus.empty()) out += fmt::format("  weights only, the GPU is not named: {}\n", fmt::join(gpus, " "));
    return out;
  }
};

/// The row's model from the bundle, else guessed from its name, which `assumed` then says; null if neither is possible.
std::shared_ptr<const Model> find_model(const std::string& name, VerifyModels& models, Unknown& unknown,
                                        std::vector<std::string>& assumed) {
  try {
    return models.get(name);
  } catch (const InputError& e) {
    auto guess = guess_model(name);
    if (!guess) return unknown.models.emplace(name, e.what()), nullptr;
    assumed.push_back("model taken as " + guess->assumption);
    unknown.guessed.emplace(name, guess->assumption);
    return std::make_shared<const Model>(std::move(guess->model));
  }
}

Prediction answer(const StartRow& row, VerifyModels& models, Unknown& unknown, int& answered) {
  std::vector<std::string> assumed;
  const auto model = find_model(row.model, models, unknown, assumed);
  if (!model) {
    Prediction none;
    none.set("id", row.id);
    none.set("note", quoted("unknown model " + row.model));
    return none;
  }
  auto launch = read_launch(row, *model);
  launch.assumed.insert(launch.assumed.end(), assumed.begin(), assumed.end());
  if (!launch.gpu && !launch.rejected) unknown.gpus.insert(row.id);
  ++answered;
  return predict_start_row(row, launch);
}

}  // namespace

StartupVerification verify_startup(const std::string& file, const std::optional<std::string>& models_dir,
                                   const std::optional<std::string>& predictions) {
  const CsvTable csv = parse_csv(read_file(file), file);
  if (csv.rows.empty()) throw no_cases(file);
  VerifyModels models(models_dir);
  Unknown unknown;
  int answered = 0;
  std::string out = join(std::vector<std::string>(std::begin(kColumns), std::end(kColumns)), ",") + "\n";
  for (const auto& row : csv.rows) out += answer(read_start_row({csv, row}), models, unknown, answered).line();
  if (predictions) write_file(*predictions, out);
  return {unknown.models.empty() ? 0 : 3,
          fmt::format("{} rows, {} answered\n", csv.rows.size(), answered) + unknown.text()};
}

}  // namespace shardwise
