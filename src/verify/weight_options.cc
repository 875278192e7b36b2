#include "config/json.h"
#include "memory/lora.h"
#include "memory/weights.h"
#include "model/load.h"
#include "parallel/resolve.h"
#include "verify/recorded.h"
#include "verify/topics.h"

namespace shardwise {
namespace {

/// One rank of a recorded command.
struct RecordedRank {
  std::shared_ptr<const Model> model;
  EngineConfig engine;
  NodeFacts node;
  int rank = 0;
};

Json refusal_of(const Refusal& refusal) { return {{"refused", true}, {"rule", refusal.rule->id}}; }

template <class Answer>
Json ask_rank(const Json& input, VerifyModels& models, Answer&& answer) {
  RecordedRank r;
  r.model = models.get(input.at("model").get<std::string>());
  r.node = recorded_node(recorded_capability(input), 4096);
  r.rank = input.value("rank", 0);
  const auto version = recorded_version(input);
  const auto args = read_engine_args(input.at("args"), "input.args");
  const auto facts = model_facts(*r.model, args, version);
  const auto resolution = resolve(args, facts, r.node, {}, version, EntryMode::offline);
  if (const auto* refused = std::get_if<Refusal>(&resolution)) return refusal_of(*refused);
  r.engine = engine_config(std::get<Resolved>(resolution));
  if (const auto refused = check_layout(facts, r.engine.parallel, version)) return refusal_of(*refused);
  return answer(r);
}

Json adapters(const RecordedRank& r) {
  const auto layout = weight_layout(*r.model, r.engine, r.rank, generation_of(r.node));
  const auto bytes = lora_bytes(weight_program(*r.model), layout, *r.engine.lora, r.engine.vllm_version);
  return {{"bytes", bytes.value}};
}

Json offloaded(const RecordedRank& r) {
  const auto of = rank_offloaded(weight_program(*r.model), *r.model, r.engine, r.rank, generation_of(r.node));
  return {{"offloaded_bytes", of.as_built.value}, {"buffer_bytes", of.buffers.value}};
}

}  // namespace

VerifyTopic adapters_topic() {
  return {.name = "adapters",
          .doc = "bytes of one rank's slots for LoRA adapters",
          .aside = {"by_class", "by_module", "rule", "error", "where", "message"},
          .predict = [](const std::string&, const Json& input, VerifyModels& models) {
            return ask_rank(input, models, adapters);
          }};
}

VerifyTopic offloaded_topic() {
  return {.name = "offloaded",
          .doc = "bytes of one rank's weights in host memory, and of the buffers that they are copied to",
          .aside = {"offloader", "layers", "rule"},
          .predict = [](const std::string&, const Json& input, VerifyModels& models) {
            return ask_rank(input, models, offloaded);
          }};
}

}  // namespace shardwise
