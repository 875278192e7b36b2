#include "memory/kv_names.h"

#include "model/architectures.h"

namespace shardwise {

LayerNames layer_names(const Model& model) {
  const CacheNames& names = find_traits(model.architectures).kv;
  const auto stated = [](std::string_view name, const char* otherwise) {
    return name.empty() ? std::string(otherwise) : std::string(name);
  };
  LayerNames out;
  out.prefix = stated(names.layers, model.nested_text ? "language_model.model.layers.{}." : "model.layers.{}.");
  out.attention = out.prefix + stated(names.attention, "self_attn.attn");
  out.state = out.prefix + stated(names.state, "linear_attn");
  out.indexer = out.prefix + "self_attn.indexer.k_cache";
  out.draft_from_zero = !names.draft.empty();
  out.draft = names.draft.empty() ? out.attention : std::string(names.draft);
  return out;
}

}  // namespace shardwise
