#include "parallel/quantization_methods.h"

#include <algorithm>

namespace shardwise {
namespace {

using W = WithoutConfig;
constexpr VllmVersion v0_17{0, 17, 0}, v0_19{0, 19, 0}, v0_20{0, 20, 0}, v0_22{0, 22, 0}, v0_24{0, 24, 0},
    v0_26{0, 26, 0}, v0_28{0, 28, 0};

// Capabilities, types and file names: get_min_capability, get_supported_act_dtypes and get_config_filenames of the
// classes in model_executor/layers/quantization.
constexpr QuantizationMethod methods[] = {
    {"awq", 75, true, true, false, W::needs_file, always, ever, "AutoAWQConfig"},
    {"auto_awq", 75, true, true, false, W::needs_file, v0_24, ever, "AutoAWQConfig"},
    {"awq_marlin", 75, true, true, false, W::needs_file, always, ever, "AutoAWQConfig"},
    {"fp8", 75, true, true, false, W::online, always, ever, "Fp8Config"},
    {"fbgemm_fp8", 80, true, true, false, W::online, always, ever, "FBGEMMFp8Config"},
    {"fp_quant", 100, true, false, false, W::online, always, ever, "FPQuantConfig"},
    {"modelopt", 89, true, true, false, W::needs_file, always, {0, 26, 0}, "ModelOptFp8Config"},
    {"modelopt", 80, true, true, false, W::needs_file, {0, 26, 0}, ever, "ModelOptFp8Config"},
    {"modelopt_fp4", 75, true, true, false, W::needs_file, always, ever, "ModelOptNvFp4Config"},
    {"modelopt_mxfp8", 80, true, false, false, W::needs_file, always, ever, "ModelOptMxFp8Config"},
    {"modelopt_mixed", 89, true, true, false, W::needs_file, v0_17, v0_24, "ModelOptMixedPrecisionConfig"},
    {"modelopt_mixed", 80, true, true, false, W::needs_file, {0, 24, 0}, ever, "ModelOptMixedPrecisionConfig"},
    {"auto_gptq", 60, true, true, false, W::needs_file, v0_22, ever, "AutoGPTQConfig"},
    {"gptq", 60, true, true, false, W::needs_file, always, ever, "AutoGPTQConfig"},
    {"gptq_marlin", 60, true, true, false, W::needs_file, always, ever, "AutoGPTQConfig"},
    {"humming", 75, true, true, false, W::online, v0_20, ever, "HummingConfig"},
    {"compressed-tensors", 70, true, true, true, W::needs_arguments, always, ever, "CompressedTensorsConfig"},
    {"experts_int8", 80, true, true, false, W::online, always, ever, "ExpertsInt8Config"},
    {"quark", 70, true, true, false, W::needs_arguments, always, ever, "QuarkConfig"},
    {"moe_wna16", 70, true, true, false, W::needs_file, always, ever, "MoeWNA16Config"},
    {"torchao", 75, true, true, true, W::needs_arguments, always, ever, "TorchAOConfig"},
    {"inc", 60, true, true, false, W::needs_file, always, ever, "INCConfig"},
    {"mxfp4", 80, true, false, false, W::online, always, ever, "Mxfp4Config"},
    {"gpt_oss_mxfp4", 80, true, false, false, W::online, v0_20, ever, "GptOssMxfp4Config"},
    {"deepseek_v4_fp8", 75, true, true, false, W::online, v0_20, ever, "DeepseekV4FP8Config"},
    {"bitsandbytes", 70, true, true, true, W::online, always, v0_28, "BitsAndBytesConfig"},
    {"gguf", 60, true, true, true, W::needs_arguments, always, v0_24, "GGUFConfig"},
    {"ptpc_fp8", 94, true, true, false, W::online, always, v0_19, "PTPCFp8Config"},
    {"online", 75, true, true, false, W::online, v0_20, ever, "OnlineQuantizationConfig"},
    {"fp8_per_tensor", 75, true, true, false, W::online, v0_20, ever, "OnlineQuantizationConfig"},
    {"fp8_per_block", 75, true, true, false, W::online, v0_20, ever, "OnlineQuantizationConfig"},
    {"fp8_per_channel", 75, true, true, false, W::online, v0_24, ever, "OnlineQuantizationConfig"},
    {"int8_per_channel_weight_only", 75, true, true, false, W::online, v0_20, ever, "OnlineQuantizationConfig"},
    {"nvfp4_per_token", 75, true, true, false, W::online, v0_26, ever, "OnlineQuantizationConfig"},
    {"mxfp8", 80, true, false, false, W::online, v0_19, ever, "ModelOptMxFp8Config"},
};

struct PlatformMethod {
  std::string_view name;
  VllmVersion since = always, until = ever;
};

/// platforms/rocm.py supported_quantization, of the versions that were read: 0.16, 0.20, 0.24, 0.28 and on.
constexpr PlatformMethod rocm_methods[] = {{"awq"},
                                           {"auto_awq", v0_24},
                                           {"awq_marlin"},
                                           {"gptq"},
                                           {"gptq_marlin", always, v0_28},
                                           {"auto_gptq", v0_24},
                                           {"fp8"},
                                           {"deepseek_v4_fp8", v0_24},
                                           {"compressed-tensors"},
                                           {"fbgemm_fp8"},
                                           {"gguf", always, v0_24},
                                           {"inc", v0_28},
                                           {"quark"},
                                           {"mxfp4"},
                                           {"gpt_oss_mxfp4", {0, 20, 0}},
                                           {"mxfp8", v0_24},
                                           {"torchao"},
                                           {"bitsandbytes", {0, 20, 0}, v0_28},
                                           {"modelopt", v0_24},
                                           {"modelopt_fp4", {0, 20, 0}},
                                           {"modelopt_mxfp8", v0_24},
                                           {"modelopt_mixed", v0_24},
                                           {"fp8_per_tensor", v0_24},
                                           {"fp8_per_block", v0_24},
                                           {"fp8_per_channel", v0_24},
                                           {"online", v0_24}};

bool among(std::string_view word, std::initializer_list<std::string_view> words) {
  for (const auto w : words)
    if (w == word) return true;
  return false;
}

}  // namespace

const QuantizationMethod* find_quantization(std::string_view name, VllmVersion version) {
  for (const auto& method : methods)
    if (method.name == name && method.since <= version && version < method.until) return &method;
  return nullptr;
}

bool platform_supports_quantization(std::string_view vendor, std::string_view name, VllmVersion version) {
  if (vendor != "amd") return true;
  return std::ranges::any_of(rocm_methods,
                             [&](const auto& m) { return m.name == name && m.since <= version && version < m.until; });
}

QuantizationChoice resolve_quantization(const ModelFacts& m, const std::string& user, VllmVersion version) {
  if (!m.quant_has_config) return {user, false};
  auto override_with = [](std::string_view name) { return QuantizationChoice{std::string(name), true}; };
  std::string method = m.quant_checkpoint_method;
  // Hooks that run before: model_executor/models/config.py. They change the dict that the override reads.
  if (method == "fp8" && (m.model_type == "deepseek_v4" || m.model_type == "deepseek_v41")) method = "deepseek_v4_fp8";
  if (method == "compressed-tensors" && m.architecture.starts_with("KimiK3") &&
      m.quant_format == "mxfp4-pack-quantized")
    method = "mxfp4";
  if (user == "humming") return override_with("humming");
  const bool marlin_names = version < VllmVersion{0, 24, 0};
  if (method == "gptq" && (user.empty() || among(user, {"gptq", "gptq_marlin", "auto_gptq", "marlin"})))
    return override_with(marlin_names ? (user == "gptq" ? "gptq" : "gptq_marlin") : "auto_gptq");
  if (method == "awq" && (user.empty() || among(user, {"awq", "awq_marlin", "auto_awq", "marlin"})))
    return override_with(marlin_names ? (user == "awq" ? "awq" : "awq_marlin") : "auto_awq");
  if (method == "auto-round") return override_with("inc");
  if (user == "moe_wna16" && among(method, {"gptq", "awq"})) return override_with("moe_wna16");
  if (method.starts_with("modelopt")) {
    if (m.modelopt_algo == "FP8") return override_with("modelopt");
    if (m.modelopt_algo.find("FP4") != std::string::npos) return override_with("modelopt_fp4");
    if (m.modelopt_algo.find("MXFP8") != std::string::npos) return override_with("modelopt_mxfp8");
    if (m.modelopt_algo == "MIXED_PRECISION") return override_with("modelopt_mixed");
  }
  if (among(method, {"mxfp4", "gpt_oss_mxfp4"}) && m.model_type == "gpt_oss")
    return override_with(version >= VllmVersion{0, 20, 0} ? "gpt_oss_mxfp4" : "mxfp4");
  if (among(method, {"fp8", "deepseek_v4_fp8"}) &&
      (m.model_type.starts_with("deepseek_v4") || user == "deepseek_v4_fp8"))
    return override_with("deepseek_v4_fp8");
  return {method, false};
}

}  // namespace shardwise
