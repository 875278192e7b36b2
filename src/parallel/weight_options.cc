#include "parallel/weight_options.h"

#include "base/saturate.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"

namespace shardwise {
namespace {

constexpr double kGiB = 1073741824.0;

OffloadConfig::Backend offload_backend(const EngineArgs& a, VllmVersion version) {
  using Backend = OffloadConfig::Backend;
  const auto asked = a.offload_backend.value_or("auto");
  if (version < VllmVersion{0, 17, 0} || asked == "auto") {
    if (a.offload_group_size.value_or(0) > 0) return Backend::prefetch;
    return a.cpu_offload_gb.value_or(0) > 0 ? Backend::uva : Backend::none;
  }
  return asked == "uva" ? Backend::uva : Backend::prefetch;
}

/// A number under one of the names that processors of Qwen's kind know.
std::optional<std::int64_t> pixels_in(const Json& kwargs) {
  if (!kwargs.is_object()) return std::nullopt;
  auto pixels = number_at(kwargs, "max_pixels");
  if (const auto size = kwargs.find("size"); !pixels && size != kwargs.end() && size->is_object())
    pixels = number_at(*size, "longest_edge");
  return pixels ? std::optional(saturating_cast<std::int64_t>(*pixels)) : std::nullopt;
}

}  // namespace

OffloadConfig offload_config(const EngineArgs& a, VllmVersion version) {
  OffloadConfig out;
  out.backend = offload_backend(a, version);
  if (out.backend == OffloadConfig::Backend::uva) {
    out.cpu_offload_max_bytes = Bytes(saturating_cast<std::int64_t>(a.cpu_offload_gb.value_or(0) * kGiB));
    out.params = a.cpu_offload_params.value_or(std::vector<std::string>{});
  } else if (out.backend == OffloadConfig::Backend::prefetch) {
    out.group_size = static_cast<int>(a.offload_group_size.value_or(0));
    out.num_in_group = static_cast<int>(a.offload_num_in_group.value_or(1));
    out.prefetch_step = static_cast<int>(a.offload_prefetch_step.value_or(1));
    out.params = a.offload_params.value_or(std::vector<std::string>{});
  }
  return out;
}

std::optional<LoraConfig> lora_config(const EngineArgs& a, std::string_view dtype) {
  if (!a.enable_lora.value_or(false)) return std::nullopt;
  LoraConfig out;
  out.max_loras = static_cast<int>(a.max_loras.value_or(1));
  out.max_lora_rank = static_cast<int>(a.max_lora_rank.value_or(16));
  out.fully_sharded_loras = a.fully_sharded_loras.value_or(false);
  out.specialize_active_lora = a.specialize_active_lora.value_or(false);
  out.enable_moe_shared_loras = a.enable_moe_shared_loras.value_or(false);
  out.enable_mixed_moe_lora_format = a.enable_mixed_moe_lora_format.value_or(false);
  const auto stored = a.lora_dtype.value_or("auto");
  out.element_bytes = (stored == "auto" ? dtype : std::string_view(stored)) == "float32" ? 4 : 2;
  out.target_modules = a.lora_target_modules;
  return out;
}

std::optional<std::int64_t> max_image_pixels(const EngineArgs& a) {
  if (!a.mm_processor_kwargs) return std::nullopt;
  const Json kwargs = Json::parse(*a.mm_processor_kwargs, nullptr, false);
  if (const auto pixels = pixels_in(kwargs)) return pixels;
  return kwargs.is_object() && kwargs.contains("images_kwargs") ? pixels_in(kwargs["images_kwargs"]) : std::nullopt;
}

}  // namespace shardwise
