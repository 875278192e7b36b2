// What --kv-cache-dtype auto becomes, and how a cache of it is stored.
#include "memory/kv_cache_dtype.h"

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

KvDType model_dtype(const Model& model) {
  return model.dtype == DType::float16   ? KvDType::float16
         : model.dtype == DType::float32 ? KvDType::float32
                                         : KvDType::bfloat16;
}

KvQuantMode quant_mode(const std::string& cache_dtype) {
  if (cache_dtype == "fp8_per_token_head") return KvQuantMode::fp8_per_token_head;
  if (cache_dtype == "int8_per_token_head") return KvQuantMode::int8_per_token_head;
  if (cache_dtype == "int4_per_token_head") return KvQuantMode::int4_per_token_head;
  if (cache_dtype == "nvfp4_ds_mla") return KvQuantMode::nvfp4_ds_mla;
  if (cache_dtype.starts_with("nvfp4")) return KvQuantMode::nvfp4;
  return cache_dtype.starts_with("fp8") ? KvQuantMode::fp8_per_tensor : KvQuantMode::none;
}

KvDType cache_torch_dtype(const Model& model, const std::string& cache_dtype) {
  if (cache_dtype == "auto") return model_dtype(model);
  if (cache_dtype == "bfloat16") return KvDType::bfloat16;
  if (cache_dtype == "float16" || cache_dtype == "half") return KvDType::float16;
  if (cache_dtype == "float32") return KvDType::float32;
  return KvDType::uint8;
}

bool mamba_align_mode(const Model& model, bool enable_prefix_caching) {
  return enable_prefix_caching && !model.is_attention_free();
}

}  // namespace shardwise
