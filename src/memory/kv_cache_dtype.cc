// What --kv-cache-dtype auto becomes.
#include <algorithm>

#include "config/json.h"
#include "memory/kv_specs.h"

namespace shardwise {

namespace {

bool has_architecture(const Model& model, std::string_view part) {
  return std::any_of(model.architectures.begin(), model.architectures.end(),
                     [&](const std::string& a) { return a.find(part) != std::string::npos; });
}

/// Only ModelOpt checkpoints decide the cache's type: by quant_method, or by the producer named in hf_quant_config.json
/// (utils/torch_utils.py:get_kv_cache_quant_algo_string).
bool modelopt_checkpoint(const Model& model) {
  if (!model.quant_config) return false;
  const auto& q = *model.quant_config;
  if (const auto it = q.find("quant_method"); it != q.end() && it->is_string())
    return it->get_ref<const std::string&>().starts_with("modelopt");
  const auto producer = q.find("producer");
  return q.contains("quantization") && producer != q.end() && producer->is_object() &&
         producer->value("name", "") == "modelopt";
}

}  // namespace

std::string resolved_cache_dtype(const Model& model, const std::string& asked, const GpuGeneration& generation) {
  for (const auto& layer : model.layers) {
    const auto* mla = std::get_if<MlaAttention>(&layer.attention);
    if (mla && mla->compress_ratio) return asked == "auto" || asked.starts_with("fp8") ? "fp8_ds_mla" : asked;
    if (!std::holds_alternative<NoAttention>(layer.attention)) break;
  }
  if (asked != "auto") return asked == "bfloat16" && has_architecture(model, "DeepseekV32") ? "auto" : asked;
  if (model.quantisation.kv_cache_dtype && modelopt_checkpoint(model)) {
    const auto dtype = *model.quantisation.kv_cache_dtype;
    if (dtype == DType::fp8_e4m3) return "fp8_e4m3";
    if (dtype == DType::fp8_e5m2) return "fp8_e5m2";
    if (dtype == DType::fp4) return "nvfp4";
  }
  if (generation.glm_dsa_fp8_cache && has_architecture(model, "GlmMoeDsa")) return "fp8_e4m3";
  return "auto";
}

bool mamba_align_mode(const Model& model, bool enable_prefix_caching) {
  return enable_prefix_caching && !model.is_attention_free();
}

}  // namespace shardwise
