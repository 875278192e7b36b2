// What --kv-cache-dtype auto becomes.
#include "memory/kv_specs.h"
#include "model/architectures.h"

namespace shardwise {

std::string resolved_cache_dtype(const Model& model, const std::string& asked, const GpuGeneration& generation) {
  for (const auto& layer : model.layers) {
    const auto* mla = std::get_if<MlaAttention>(&layer.attention);
    if (mla && mla->compress_ratio) return asked == "auto" || asked.starts_with("fp8") ? "fp8_ds_mla" : asked;
    if (!std::holds_alternative<NoAttention>(layer.attention)) break;
  }
  const Hook hook = find_traits(model.architectures).hook;
  if (asked != "auto") return asked == "bfloat16" && hook == Hook::deepseek_v32 ? "auto" : asked;
  if (model.quantisation.kv_cache_dtype && model.quantisation.decides_kv_cache) {
    const auto dtype = *model.quantisation.kv_cache_dtype;
    if (dtype == DType::fp8_e4m3) return "fp8_e4m3";
    if (dtype == DType::fp8_e5m2) return "fp8_e5m2";
    if (dtype == DType::fp4) return "nvfp4";
  }
  if (generation.glm_dsa_fp8_cache && hook == Hook::glm_moe_dsa) return "fp8_e4m3";
  return "auto";
}

bool mamba_align_mode(const Model& model, bool enable_prefix_caching) {
  return enable_prefix_caching && !model.is_attention_free();
}

}  // namespace shardwise
