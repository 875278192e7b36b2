#include "memory/weights.h"

#include <map>
#include <mutex>

#include "config/json.h"
#include "model/load.h"
#include "parallel/resolve.h"
#include "verify/recorded.h"
#include "verify/topics.h"

namespace shardwise {
namespace {

// A model and its program under hf_overrides, compiled once.
struct Prepared {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const WeightProgram> program;
};

class PreparedModels {
 public:
  const Prepared& get(VerifyModels& models, const std::string& name, const Json* overrides, bool draft) {
    std::string key = name;
    key += draft ? "\n1" : "\n0";
    if (overrides) key += overrides->dump();
    std::lock_guard lock(mutex_);
    auto& slot = entries_[key];
    if (!slot.model) {
      slot.model = models.get(name);
      if (overrides && !overrides->empty())
        slot.model = std::make_shared<const Model>(with_overrides(*slot.model, overrides->dump()));
      slot.program = std::make_shared<const WeightProgram>(compile_weights(*slot.model, draft));
    }
    return slot;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Prepared> entries_;
};

EngineConfig engine_of(const Json& args, const NodeFacts& node) {
  EngineConfig engine;
  engine.parallel = recorded_parallel(args);
  // vLLM's default for 80 GiB and for larger GPUs
  engine.max_num_batched_tokens = node.memory_bytes >= std::int64_t{160} << 30 ? 16384 : 8192;
  for (const auto& [key, value] : args.items()) {
    if (key == "eplb_config")
      engine.parallel.num_redundant_experts = value.value("num_redundant_experts", 0);
    else if (key == "max_num_batched_tokens")
      engine.max_num_batched_tokens = value.get<std::int64_t>();
    else if (key == "max_model_len")
      engine.max_model_len = value.get<std::int64_t>();
    else if (key == "speculative_config" && value.is_object()) {
      engine.num_speculative_tokens = value.value("num_speculative_tokens", 0);
      engine.speculative_method = value.value("method", "mtp");
    }
  }
  return engine;
}

// Entries that are there: those of `present`, or all that are not 0.
template <class Enum, class Array>
Json entries(const Array& values, std::uint32_t present = 0) {
  Json out = Json::object();
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] || present >> i & 1) out[to_string(static_cast<Enum>(i))] = values[i];
  return out;
}

// A layout without a rank: is it refused, and when?
Json layout_verdict(const Model& model, const Json& args, const NodeFacts& node, const EngineConfig& engine,
                    VllmVersion version) {
  const ModelFacts facts = model_facts(model, version);
  const auto said = [](const Refusal& r) {
    return Json{{"refused_at", r.rule->stage() == "model" ? "construct" : "config"},
                {"where", r.rule->where},
                {"message", r.message}};
  };
  const auto resolution = resolve(read_engine_args(args, "input.args"), facts, node, {}, version, EntryMode::offline);
  if (const auto* refused = std::get_if<Refusal>(&resolution)) return said(*refused);
  if (const auto refused = check_layout(facts, engine.parallel)) return said(*refused);
  const auto program = weight_program(model);
  const auto& p = engine.parallel;
  for (int stage = 0; stage < p.pipeline_parallel_size; ++stage) {
    const int rank = stage * p.tensor_parallel_size * p.prefill_context_parallel_size;
    std::optional<WeightRefusal> refusal;
    run_weights(program, weight_layout(model, engine, rank, generation_of(node)), &refusal);
    if (refusal) return Json{{"refused_at", "construct"}, {"where", refusal->where}, {"message", refusal->message}};
  }
  return Json{{"refused_at", nullptr}};
}

Json predict_weights(PreparedModels& prepared, const Json& input, VerifyModels& models) {
  static const Json none = Json::object();
  const auto args_at = input.find("args");
  const Json& args = args_at == input.end() ? none : *args_at;
  const auto overrides = args.find("hf_overrides");
  const bool draft = input.value("draft", false);
  const auto& entry = prepared.get(models, input.at("model").get<std::string>(),
                                   overrides == args.end() ? nullptr : &*overrides, draft);
  const NodeFacts node = recorded_node(recorded_capability(input), 4096);
  const EngineConfig engine = engine_of(args, node);
  if (!input.contains("rank")) return layout_verdict(*entry.model, args, node, engine, recorded_version(input));
  std::optional<WeightRefusal> refusal;
  auto layout = weight_layout(*entry.model, engine, input.value("rank", 0), generation_of(node));
  layout.after_loading = input.value("after_loading", false);
  const RankWeights w = run_weights(*entry.program, layout, &refusal);
  if (refusal) return Json{{"refused_at", "construct"}, {"where", refusal->where}, {"message", refusal->message}};
  Json out = Json::object();
  out["param_bytes"] = w.param_bytes();
  out["by_class"] = entries<WeightClass>(w.bytes, w.present);
  out["num_params"] = w.num_params();
  out["num_params_by_class"] = entries<WeightClass>(w.elements, w.present);
  out["by_dtype"] = entries<StoredType>(w.by_type);
  out["buffer_bytes"] = entries<BufferKind>(w.buffers);
  out["bare_tensor_bytes"] = w.bare_tensors;
  out["rounded_512_bytes"] = w.rounded_512;
  return out;
}

}  // namespace

VerifyTopic weights_topic() {
  auto prepared = std::make_shared<PreparedModels>();
  return {.name = "weights",
          .doc = "parameters and buffers of one rank, to the byte",
          .aside = {"model_class", "where", "message"},
          .predict = [prepared](const std::string&, const Json& input, VerifyModels& models) {
            return predict_weights(*prepared, input, models);
          }};
}

}  // namespace shardwise
