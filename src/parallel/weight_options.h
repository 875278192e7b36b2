#pragma once
// Weights in host memory and slots for LoRA adapters, as vLLM makes them of its arguments.
#include <optional>
#include <string_view>

#include "parallel/engine_args.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// The offloader that create_offloader() of model_executor/offloader/base.py chooses.
OffloadConfig offload_config(const EngineArgs& args, VllmVersion version);

/// `dtype`: of the model.
std::optional<LoraConfig> lora_config(const EngineArgs& args, std::string_view dtype);

/// Pixels of the largest image, as mm_processor_kwargs says it to processors that scale images to an area; nullopt =
/// not given.
std::optional<std::int64_t> max_image_pixels(const EngineArgs& args);

}  // namespace shardwise
