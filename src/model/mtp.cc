// The layers of a model's own MTP draft.
#include <string>

#include "config/json.h"
#include "model/layers.h"

namespace shardwise {

namespace {

bool attends(const Layer& l) {
  return std::holds_alternative<FullAttention>(l.attention) || std::holds_alternative<MlaAttention>(l.attention);
}

/// Nemotron-H: '*' = attention, 'E' = experts, '-' = a dense MLP, each as a layer of the target has it.
const Layer* layer_of_kind(const Model& model, char kind) {
  for (const auto& l : model.layers) {
    const bool found = kind == '*'   ? attends(l)
                       : kind == 'E' ? !attends(l) && std::holds_alternative<MoeFfn>(l.ffn)
                                     : !attends(l) && std::holds_alternative<DenseFfn>(l.ffn);
    if (found) return &l;
  }
  return nullptr;
}

}  // namespace

std::vector<Layer> read_mtp_layers(const Fields& text, const Model& model) {
  std::vector<Layer> out;
  if (model.num_mtp_layers <= 0 || model.layers.empty()) return out;
  if (const std::string pattern = text.loose_text("mtp_hybrid_override_pattern"); !pattern.empty()) {
    for (int i = 0; i < model.num_mtp_layers; ++i)
      for (const char kind : pattern)
        if (const auto* l = layer_of_kind(model, kind)) out.push_back(*l);
    if (!out.empty()) return out;
  }
  Layer last = model.layers.back();
  for (const auto& l : model.layers)
    if (attends(l)) last = l;
  const auto ratios = text.json().find("compress_ratios");
  const bool stated = ratios != text.json().end() && ratios->is_array();
  for (int i = 0; i < model.num_mtp_layers; ++i) {
    Layer l = last;
    if (auto* mla = std::get_if<MlaAttention>(&l.attention)) {
      if (mla->indexer) mla->indexer->shared = false;
      const auto at = model.layers.size() + static_cast<std::size_t>(i);
      if (mla->compress_ratio && stated && at < ratios->size() && (*ratios)[at].is_number()) {
        mla->compress_ratio = (*ratios)[at].get<int>();
        if (*mla->compress_ratio != 4) mla->indexer.reset();
      }
    }
    out.push_back(std::move(l));
  }
  return out;
}

}  // namespace shardwise
