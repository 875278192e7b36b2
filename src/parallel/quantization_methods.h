#pragma once
// vLLM's quantisation methods: one row each.
#include <optional>
#include <string>
#include <string_view>

#include "parallel/model_facts.h"

namespace shardwise {

/// What happens when the method is asked for and the checkpoint has no quantisation of its own.
enum class WithoutConfig { online, needs_file, needs_arguments };

struct QuantizationMethod {
  std::string_view name;
  int min_capability = 0;  ///< 75 = 7.5
  bool bf16 = true, fp16 = true, fp32 = false;
  WithoutConfig without_config = WithoutConfig::needs_arguments;
  VllmVersion since{0, 0, 0}, until{99, 0, 0};
  std::string_view config_class;  ///< vLLM's class, for messages
};

/// Row of a method that `version` has, null otherwise.
const QuantizationMethod* find_quantization(std::string_view name, VllmVersion version);
/// Whether the platform of a vendor's GPUs takes the method (platforms/*.py supported_quantization).
bool platform_supports_quantization(std::string_view vendor, std::string_view name, VllmVersion version);

struct QuantizationChoice {
  std::string method;       ///< "" = not quantised
  bool overridden = false;  ///< the checkpoint's kind decided, whatever the user asked for
};

/// The method vLLM settles on for a checkpoint and a user's --quantization ("" = none): config/model.py
/// _verify_quantization with the methods' override_quantization_method. "" = not quantised. If it differs from the
/// user's and no override applied, vLLM refuses.
QuantizationChoice resolve_quantization(const ModelFacts& model, const std::string& user, VllmVersion version);

}  // namespace shardwise
