#include "model/requantise.h"

#include <algorithm>

#include "model/quantisation.h"
#include "model/source.h"

namespace shardwise {
namespace {

constexpr std::string_view kUnquantised =
    R"("lm_head", "re:.*router.*", "re:.*gate$", "re:.*visual.*", "re:.*vision.*", "re:.*projector.*", "re:.*mtp.*")";
constexpr std::string_view kAttention = R"(, "re:.*linear_attn.*", "re:.*self_attn.*")";
constexpr std::string_view kAllButExperts =
    R"(, "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\.(gate|up|gate_up|down)_proj.*")";

struct Stored {
  WeightFormat format;
  std::string_view config;               ///< the quantization_config; IGNORE = what such checkpoints leave as it is
  std::string_view beside_experts = "";  ///< left too where there are experts
};
constexpr Stored kStored[] = {
    {WeightFormat::fp8_channel,
     R"({"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": IGNORE, "config_groups": {"g":
        {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
        "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": true}}}})"},
    {WeightFormat::fp8_block,
     R"({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
        "modules_to_not_convert": IGNORE})"},
    {WeightFormat::fp8_tensor, R"({"quant_method": "fp8", "activation_scheme": "dynamic"})"},
    {WeightFormat::int8_channel,
     R"({"quant_method": "compressed-tensors", "format": "int-quantized", "ignore": IGNORE, "config_groups": {"g":
        {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
        "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": true}}}})"},
    {WeightFormat::int4_group,
     R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": IGNORE, "config_groups": {"g":
        {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group",
        "group_size": 128}}}})"},
    {WeightFormat::int4_experts_group,
     R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": IGNORE, "config_groups": {"g":
        {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group",
        "group_size": 32}}}})",
     kAllButExperts},
    {WeightFormat::nvfp4,
     R"({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "ignore": IGNORE, "config_groups": {"g":
        {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "strategy": "tensor_group",
        "group_size": 16}, "input_activations": {"num_bits": 4, "type": "float", "strategy": "tensor_group",
        "group_size": 16, "dynamic": "local"}}}})",
     kAttention},
    {WeightFormat::awq,
     R"({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true, "modules_to_not_convert": IGNORE})"},
    {WeightFormat::gptq, R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true})"},
    {WeightFormat::bitsandbytes_4bit, R"({"quant_method": "bitsandbytes", "load_in_4bit": true})"},
};

/// null for a format without one.
Json config_of(WeightFormat format, bool experts) {
  const auto* row =
      std::find_if(std::begin(kStored), std::end(kStored), [&](const Stored& r) { return r.format == format; });
  if (row == std::end(kStored)) return nullptr;
  std::string text(row->config);
  if (const auto at = text.find("IGNORE"); at != std::string::npos)
    text.replace(at, 6, "[" + std::string(kUnquantised) + std::string(experts ? row->beside_experts : "") + "]");
  return parse_json(text, "quantization_config");
}

using Scheme = QuantScheme;
using M = QuantScheme::Method;
constexpr Scheme kFp8Tensor{.method = M::fp8_tensor, .bits = 8, .activations = true},
    kFp8Channel{.method = M::fp8_channel, .bits = 8, .activations = true},
    kFp8Block{.method = M::fp8_block, .bits = 8, .block_n = 128, .block_k = 128, .activations = true},
    kMxfp8{.method = M::mxfp8, .bits = 8, .group_size = 32, .activations = true},
    kMxfp4{.method = M::mxfp4, .bits = 4, .group_size = 32}, kInt8{.method = M::int8_channel, .bits = 8},
    kNvfp4{.method = M::nvfp4, .bits = 4, .group_size = 16, .activations = true}, kNf4{.method = M::other, .bits = 4},
    kPlain{};

/// What a method does to a checkpoint that is not quantised.
struct Online {
  std::string_view method;
  Scheme linear, experts;
  VllmVersion since = always, until = ever;
};
// Sources: config/quantization.py _ONLINE_SHORTHANDS, layers/quantization/online/base.py (which layers: every
// LinearBase that is given a configuration, every RoutedExperts), fp8.py, experts_int8.py, fbgemm_fp8.py,
// bitsandbytes.py.
constexpr Online kOnline[] = {
    {"fp8", kFp8Tensor, kFp8Tensor},
    {"deepseek_v4_fp8", kFp8Tensor, kFp8Tensor},
    {"fp8_per_tensor", kFp8Tensor, kFp8Tensor},
    {"fp8_per_channel", kFp8Channel, kFp8Channel},
    {"ptpc_fp8", kFp8Channel, kFp8Tensor},
    {"fp8_per_block", kFp8Block, kFp8Block},
    {"mxfp8", kMxfp8, kMxfp8},
    {"mxfp4", kMxfp4, kMxfp4, {0, 28, 0}},
    {"mxfp4", kPlain, kMxfp4, always, {0, 28, 0}},
    {"gpt_oss_mxfp4", kPlain, kMxfp4},
    {"int8_per_channel_weight_only", kPlain, kInt8},
    {"experts_int8", kPlain, kInt8},
    {"nvfp4_per_token", kPlain, kNvfp4},
    {"fbgemm_fp8", kFp8Channel, kPlain},
    {"bitsandbytes", kNf4, kNf4},
};

void erase_stated(Json& config) {
  for (const char* key : {"quantization_config", "compression_config"}) config.erase(key);
  for (auto& [key, part] : config.items())
    if (part.is_object()) erase_stated(part);
}

}  // namespace

Model requantised(const Model& model, WeightFormat format) {
  const Json config = config_of(format, model.is_moe());
  auto source = std::make_shared<ModelSource>(model.source ? *model.source : ModelSource{Json::object(), nullptr});
  erase_stated(source->config);
  source->hf_quant_config = nullptr;
  if (config.is_object()) source->config["quantization_config"] = config;
  Model out = model;
  read_quantisation(config.is_object() ? &config : nullptr, *text_part(source->config).first, out);
  out.source = std::move(source);
  return out;
}

std::optional<Model> quantised_online(const Model& model, std::string_view method, VllmVersion version) {
  if (model.source && stated_quantisation(*model.source)) return std::nullopt;
  const auto* row = std::find_if(std::begin(kOnline), std::end(kOnline), [&](const Online& r) {
    return r.method == method && r.since <= version && version < r.until;
  });
  if (row == std::end(kOnline)) return std::nullopt;
  Model out = model;
  set_quantisation(QuantRules(std::string(method), row->linear, row->experts), out);
  return out;
}

}  // namespace shardwise
