#pragma once
// A model as if its checkpoint were stored in another way.
#include <array>
#include <optional>
#include <string_view>

#include "base/version.h"
#include "model/model.h"

namespace shardwise {

/// The ways in which published checkpoints store their weights.
enum class WeightFormat {
  unquantised,         ///< the model's own type
  fp8_channel,         ///< compressed-tensors "FP8-dynamic": a scale per output channel
  fp8_block,           ///< blocks of 128 x 128 (Qwen, DeepSeek)
  fp8_tensor,          ///< a scale per tensor; what --quantization fp8 makes of a 16-bit checkpoint
  int8_channel,        ///< compressed-tensors W8A8
  int4_group,          ///< compressed-tensors W4A16, groups of 128
  int4_experts_group,  ///< routed experts alone, groups of 32 (Kimi)
  nvfp4,
  awq,
  gptq,
  bitsandbytes_4bit,
};

/// `model` with its checkpoint in `format`: weights, KV cache, rules and times all follow. Heads, gates, towers and MTP
/// layers stay as they are, as such checkpoints commonly leave them; where there are experts, NVFP4 leaves attention
/// too.
Model requantised(const Model& model, WeightFormat format);

/// `model` as vLLM holds it after `--quantization METHOD` has quantised its 16-bit checkpoint while loading it; what
/// the checkpoint states stays as it is. nullopt where the checkpoint is quantised already, or METHOD reads checkpoints
/// only.
std::optional<Model> quantised_online(const Model& model, std::string_view method, VllmVersion version);

}  // namespace shardwise
