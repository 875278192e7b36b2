// How a class routes tokens to experts and what stands between their two matrices: the arguments with which vLLM's
// model classes make their expert layers (model_executor/models/*.py), and what it calls the result
// (model_executor/layers/fused_moe/config.py get_routing_method_type).
#include <algorithm>
#include <string_view>

#include "config/json.h"
#include "model/layers.h"

namespace shardwise {
namespace {

using Act = MoeActivation;
using Way = RoutingMethod;

enum class Renormalise { field, always, never };

struct RoutingRow {
  std::string_view model_type;    ///< of the language part, or what it begins with
  std::string_view scoring = {};  ///< "" = config.json's, else softmax
  Renormalise renormalise = Renormalise::field;
  bool otherwise = true;               ///< where config.json does not say whether
  std::optional<Way> routing = {};     ///< of a routing function of the class's own
  std::optional<Act> activation = {};  ///< silu where none is named
};

constexpr RoutingRow kRouting[] = {
    {.model_type = "afmoe", .scoring = "sigmoid"},
    {.model_type = "cohere2_moe", .scoring = "sigmoid"},
    {.model_type = "dbrx", .renormalise = Renormalise::always},
    {.model_type = "deepseek_v2", .otherwise = false},
    {.model_type = "ernie4_5", .renormalise = Renormalise::always},
    {.model_type = "exaone", .scoring = "sigmoid"},
    {.model_type = "gemma4", .routing = Way::custom, .activation = Act::gelu_tanh},
    {.model_type = "glm4", .scoring = "sigmoid"},
    {.model_type = "gpt_oss", .scoring = "softmax", .renormalise = Renormalise::always, .activation = Act::swigluoai},
    {.model_type = "granitemoe", .renormalise = Renormalise::always},
    {.model_type = "jamba", .renormalise = Renormalise::never},
    {.model_type = "kimi_linear", .scoring = "sigmoid"},
    {.model_type = "laguna", .scoring = "sigmoid", .renormalise = Renormalise::always},
    {.model_type = "lfm2", .scoring = "sigmoid"},
    {.model_type = "llama4", .routing = Way::llama4},
    {.model_type = "longcat", .renormalise = Renormalise::never},
    {.model_type = "mimo_v2", .scoring = "sigmoid"},
    {.model_type = "minimax_m2", .renormalise = Renormalise::always},
    {.model_type = "minimax_m3", .renormalise = Renormalise::always, .activation = Act::swigluoai_uninterleave},
    {.model_type = "mixtral", .renormalise = Renormalise::always},
    {.model_type = "nemotron_h", .scoring = "sigmoid", .activation = Act::relu2_no_mul},
    {.model_type = "olmoe", .renormalise = Renormalise::never},
    {.model_type = "phimoe", .routing = Way::custom},
    {.model_type = "qwen2_moe", .otherwise = false},
    {.model_type = "qwen3_moe", .otherwise = false},
    {.model_type = "qwen3_vl_moe", .otherwise = false},
    {.model_type = "step3p", .scoring = "sigmoid"},
};

constexpr RoutingRow kOtherRouting{};

const RoutingRow& routing_row(std::string_view model_type) {
  const auto at =
      std::ranges::find_if(kRouting, [&](const auto& row) { return model_type.starts_with(row.model_type); });
  return at == std::end(kRouting) ? kOtherRouting : *at;
}

Way routing_method(std::string_view scoring, bool renormalise, const MoeFfn& moe) {
  if (scoring == "sqrtsoftplus") return renormalise ? Way::deepseek_v4 : Way::unspecified;
  if (moe.correction_bias) {
    if (scoring != "sigmoid" || !renormalise) return Way::unspecified;
    return moe.n_group ? Way::deepseek_v3 : Way::minimax2;
  }
  if (scoring == "sigmoid") return renormalise ? Way::sigmoid_renorm : Way::sigmoid;
  return renormalise ? Way::renormalize_naive : Way::softmax_only;
}

}  // namespace

void read_routing(const LayerContext& c, MoeFfn& moe) {
  const Fields& f = c.fields;
  const auto& row = routing_row(c.model_type);
  std::string scoring = "softmax";
  for (const char* name : {"scoring_func", "score_func", "score_function", "moe_router_activation_func"})
    if (const auto said = f.loose_text(name); !said.empty()) scoring = said;
  const bool stated =
      f.loose_boolean({"norm_topk_prob", "moe_renormalize", "norm_expert_weight", "route_norm"}, row.otherwise);
  const bool renormalise = row.renormalise == Renormalise::field ? stated : row.renormalise == Renormalise::always;
  moe.routing = row.routing.value_or(routing_method(row.scoring.empty() ? scoring : row.scoring, renormalise, moe));
  moe.activation = row.activation.value_or(f.loose_text("hidden_act") == "situ" ? Act::situ : Act::silu);
  const Json* limit = f.find({"swiglu_limit"});
  moe.swiglu_limit = limit && limit->is_number();
}

}  // namespace shardwise
