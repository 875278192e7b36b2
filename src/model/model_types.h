#pragma once
// What vLLM and Transformers know by config.json's "model_type": one row for types that they treat alike.
#include <string_view>

#include "model/architectures.h"

namespace shardwise {

struct ModelType {
  std::string_view names = {};  ///< a space between two
  bool mla = false;             ///< transformers_utils/model_arch_config_convertor.py is_deepseek_mla
  bool mm_prefix = false;       ///< images are attended in both directions (is_mm_prefix_lm)
  bool encoder_decoder = false;
  int default_length = 0;  ///< max_position_embeddings of Hugging Face's config class, for configs that leave it out
  Mtp mtp = Mtp::none;
};

/// The row of a type; an empty one if there is none.
const ModelType& find_model_type(std::string_view model_type);

}  // namespace shardwise
