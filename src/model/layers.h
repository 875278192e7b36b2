#pragma once
// Attention and FFN kind of every layer, from the fields of the language part of a config.json. Internal to the model
// layer.
#include <vector>

#include "model/architectures.h"
#include "model/fields.h"
#include "model/model.h"

namespace shardwise {

/// Everything a layer reader looks at. `row` is null where the fields alone say what the layers are.
struct LayerContext {
  const Fields& fields;
  const Architecture* row;
  std::string model_type;
  int num_layers, hidden_size;
};

std::vector<Attention> read_attention(const LayerContext& context);
std::vector<Ffn> read_ffn(const LayerContext& context);
/// Activation and routing of an expert layer whose sizes are read.
void read_routing(const LayerContext& context, MoeFfn& moe);

LinearAttention read_state_mixer(const LayerContext& context);  ///< the Mamba mixer that every layer of the model has

/// Model::mtp_layers, once the target's layers are read.
std::vector<Layer> read_mtp_layers(const Fields& text, const Model& model);

/// Kind of each layer of a model that is one mixer per layer (Nemotron-H): 'M' state, '*' attention, '-' dense MLP,
/// 'E' experts. Empty for every other model.
std::string mixer_pattern(const LayerContext& context);

}  // namespace shardwise
