// Which FFN each layer has: dense, routed experts, both, or none.
#include <algorithm>

#include "base/text.h"
#include "config/json.h"
#include "config/quantity.h"
#include "model/layers.h"

namespace shardwise {
namespace {

constexpr Architecture kGeneric{.ffn_bias = Bias::field};

bool gated(const LayerContext& c) {
  if (c.row) return c.row->gated_ffn;
  const std::string act = c.fields.text({"hidden_act", "hidden_activation", "activation_function"}, "silu");
  return act != "relu2" && act != "gelu_new" && act != "relu";
}

constexpr std::initializer_list<const char*> kDenseWidths = {
    "dense_intermediate_size", "intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim"};

int dense_width(const LayerContext& c, std::size_t layer) {
  const Fields& f = c.fields;
  if (const auto at = f.integer_at(kDenseWidths, layer); at && *at > 0) return *at;
  if (c.model_type == "gpt2" || c.model_type == "falcon" || c.model_type == "gpt_bigcode" || c.model_type == "bloom" ||
      c.model_type == "gptj")
    return 4 * c.hidden_size;
  if (c.model_type == "mpt") return f.integer_or({"expansion_ratio"}, 4) * c.hidden_size;
  return f.required({"intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"});
}

DenseFfn dense(const LayerContext& c, std::size_t layer) {
  const Architecture& row = c.row ? *c.row : kGeneric;
  DenseFfn out;
  out.intermediate_size = dense_width(c, layer);
  out.gated = gated(c);
  out.bias = resolve(row.ffn_bias, c.fields.boolean({"mlp_bias", "use_mlp_bias", "use_bias", "bias"}, false));
  return out;
}

// Nemotron-NAS: ffn_mult of the hidden size, as DeciLM computes it (2/3 of 4 x mult rounded up to 256).
int nas_width(double mult, int hidden) {
  const auto wide = static_cast<std::int64_t>(2 * mult * hidden / 3);
  return static_cast<int>((wide + 255) / 256 * 256);
}

std::vector<int> layer_list(const Fields& f, const char* name) {
  const Json* value = f.find({name});
  if (!value) return {};
  if (!value->is_string()) return f.integers(name);
  std::vector<int> out;  // "3,4,5" (Step-3)
  for (const auto& part : split(value->get_ref<const std::string&>(), ',')) {
    std::int64_t layer = 0;
    if (!parse_number(trim(part), layer) || layer < 0 || layer > 999'999)
      f.fail(name, "is not a list of layer numbers");
    out.push_back(static_cast<int>(layer));
  }
  return out;
}

bool contains(const std::vector<int>& list, int value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// Whether a layer of a model that has routed experts uses them.
class SparseLayers {
 public:
  explicit SparseLayers(const LayerContext& c) : f_(c.fields) {
    types_ = f_.texts("mlp_layer_types");
    enumerated_ = layer_list(f_, "moe_layers_enum");
    if (const Json* freq = f_.find({"moe_layer_freq"}); freq && freq->is_array())
      list_ = f_.integers("moe_layer_freq");
    else
      freq_ = f_.integer_or({"moe_layer_freq", "moe_layer_interval"}, 1);
    dense_only_ = f_.integers("mlp_only_layers");
    moe_layers_ = f_.integers("moe_layers");
    first_dense_ = f_.integer_or({"first_k_dense_replace", "num_dense_layers"}, 0);
    step_ = f_.integer_or({"decoder_sparse_step"}, 1);
    interleave_ = f_.integer_or({"interleave_moe_layer_step"}, 0);
    period_ = f_.integer_or({"expert_layer_period"}, 0);
    offset_ = f_.integer_or({"expert_layer_offset"}, 0);
    start_ = f_.integer_or({"moe_layer_start_index"}, 0);
    end_ = f_.integer_or({"moe_layer_end_index"}, -1);
    ernie_ = f_.has("moe_layer_start_index");
  }

  bool at(int layer) const {
    const auto i = static_cast<std::size_t>(layer);
    if (!list_.empty()) return i >= list_.size() || list_[i] != 0;
    if (!enumerated_.empty()) return contains(enumerated_, layer);
    if (i < types_.size()) return types_[i] != "dense";
    if (!moe_layers_.empty()) return contains(moe_layers_, layer);
    if (interleave_ > 0) return (layer + 1) % interleave_ == 0;
    if (period_ > 0) return layer % period_ == offset_;
    if (ernie_) return freq_ > 0 && (layer + 1) % freq_ == 0 && layer >= start_ && (end_ < 0 || layer <= end_);
    if (contains(dense_only_, layer)) return false;
    if (step_ > 1) return (layer + 1) % step_ == 0;
    return layer >= first_dense_ && (freq_ <= 1 || layer % freq_ == 0);
  }

 private:
  const Fields& f_;
  std::vector<std::string> types_;
  std::vector<int> enumerated_, list_, dense_only_, moe_layers_;
  int freq_ = 1, first_dense_ = 0, step_ = 1, interleave_ = 0, period_ = 0, offset_ = 0, start_ = 0, end_ = -1;
  bool ernie_ = false;
};

std::optional<MoeFfn> experts(const LayerContext& c) {
  const Fields& f = c.fields;
  const Architecture& row = c.row ? *c.row : kGeneric;
  MoeFfn moe;
  if (const auto ffn = f.object("ffn_config")) {  // DBRX
    moe.num_experts = ffn->integer_or({"moe_num_experts"}, 0);
    moe.num_experts_per_tok = ffn->integer_or({"moe_top_k"}, 1);
    moe.moe_intermediate_size = ffn->integer_or({"ffn_hidden_size"}, 0);
  }
  const auto number = [&](Fields::Names names) { return f.integer_at(names, 0).value_or(0); };
  if (!moe.num_experts)
    moe.num_experts = number({"num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts"});
  if (moe.num_experts <= 1) return std::nullopt;
  if (c.model_type.starts_with("gemma4") && !f.boolean({"enable_moe_block"}, false)) return std::nullopt;
  if (!moe.num_experts_per_tok)
    moe.num_experts_per_tok = number({"num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk",
                                      "moe_top_k", "moe_k", "experts_per_token"});
  if (moe.num_experts_per_tok < 1) f.fail("num_experts_per_tok", "is missing; the model cannot be read without it");
  if (moe.num_experts_per_tok > moe.num_experts) f.fail("num_experts_per_tok", "is larger than the number of experts");
  if (!moe.moe_intermediate_size)
    moe.moe_intermediate_size = number({"moe_intermediate_size", "expert_ffn_hidden_size"});
  if (!moe.moe_intermediate_size) moe.moe_intermediate_size = f.required({"intermediate_size", "ffn_hidden_size"});

  moe.num_shared_experts =
      number({"n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"});
  moe.shared_intermediate_size = number({"shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
                                         "shared_intermediate_size", "share_expert_dim"});
  if (c.model_type.starts_with("llama4"))
    moe.num_shared_experts = 1, moe.shared_intermediate_size = moe.moe_intermediate_size;
  if (moe.num_shared_experts > 0 && moe.shared_intermediate_size == 0)
    moe.shared_intermediate_size = moe.num_shared_experts * moe.moe_intermediate_size;
  if (moe.shared_intermediate_size > 0 && moe.num_shared_experts == 0) moe.num_shared_experts = 1;
  moe.shared_expert_gate = row.shared_expert_gate && moe.shared_intermediate_size > 0;

  moe.gated = gated(c);
  moe.bias = row.moe_bias;
  moe.router_bias = row.router_bias;
  moe.correction_bias =
      row.correction_bias || f.text({"topk_method"}) == "noaux_tc" ||
      f.boolean({"use_routing_bias", "use_moe_router_bias", "moe_use_aux_free", "moe_router_enable_expert_bias"},
                false);
  if (const auto groups = f.integer({"n_group", "num_expert_group"}, 0); groups && *groups > 0) {
    moe.n_group = groups;
    moe.topk_group = f.integer({"topk_group"}, 0);
  }
  if (const auto latent = f.integer({"moe_latent_size", "routed_expert_hidden_size"}, 0); latent && *latent > 0)
    moe.latent_size = latent;
  moe.latent_norm = f.loose_boolean({"latent_moe_use_norm"}, false);
  read_routing(c, moe);
  return moe;
}

}  // namespace

std::vector<Ffn> read_ffn(const LayerContext& c) {
  const Fields& f = c.fields;
  std::vector<Ffn> out;
  out.reserve(static_cast<std::size_t>(c.num_layers));
  const auto moe = experts(c);
  const SparseLayers sparse(c);
  const auto pattern = mixer_pattern(c);
  const bool bare = c.model_type == "mamba" || c.model_type == "mamba2" || c.model_type == "falcon_mamba";
  const bool parallel = moe && c.model_type.starts_with("gemma4");
  const Json* blocks = f.find({"block_configs"});
  const int hash_layers = f.integer_or({"num_hash_layers"}, 0);
  std::optional<DenseFfn> plain;  // read once, unless its width is a list
  const auto dense_at = [&](std::size_t i) {
    if (!plain || f.is_list(kDenseWidths)) plain = dense(c, i);
    return *plain;
  };
  for (int layer = 0; layer < c.num_layers; ++layer) {
    const auto i = static_cast<std::size_t>(layer);
    if (bare || (!pattern.empty() && pattern[i] != 'E' && pattern[i] != '-')) {
      out.emplace_back(NoFfn{});
      continue;
    }
    if (blocks && blocks->is_array() && i < blocks->size() && (*blocks)[i].is_object()) {
      const Fields block((*blocks)[i], "block_configs[" + std::to_string(i) + "]", f.context());
      const auto ffn = block.object("ffn");
      if (!ffn) block.fail("ffn", "is missing; the model cannot be read without it");
      if (ffn->boolean({"no_op"}, false)) {
        out.emplace_back(NoFfn{});
      } else {
        DenseFfn d{.intermediate_size = ffn->integer_or({"intermediate_size"}, 0), .gated = true, .bias = false};
        if (!d.intermediate_size) d.intermediate_size = nas_width(ffn->number({"ffn_mult"}).value_or(0), c.hidden_size);
        if (d.intermediate_size < 1) ffn->fail("ffn_mult", "is missing; the model cannot be read without it");
        out.emplace_back(d);
      }
      continue;
    }
    const bool routed = moe && (pattern.empty() ? sparse.at(layer) : pattern[i] == 'E');
    if (!routed) {
      out.emplace_back(dense_at(i));
      continue;
    }
    MoeFfn here = *moe;
    if (parallel) here.parallel_dense = dense_at(i);
    here.hash_routing = layer < hash_layers;
    if (here.hash_routing) here.correction_bias = false;
    out.emplace_back(here);
  }
  return out;
}

}  // namespace shardwise
