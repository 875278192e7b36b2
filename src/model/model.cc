#include "model/model.h"

#include <algorithm>

namespace shardwise {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

double full_attention_parameters(const FullAttention& a, double hidden) {
  const double q = static_cast<double>(a.num_heads) * a.head_dim * (a.output_gate ? 2 : 1);
  const double k = static_cast<double>(a.num_kv_heads) * a.head_dim;
  const double v = a.k_eq_v ? 0 : static_cast<double>(a.num_kv_heads) * a.v_head_dim;
  const double o = static_cast<double>(a.num_heads) * a.v_head_dim;
  double total = hidden * (q + k + v + o);
  if (a.indexer) total += hidden * (a.indexer->num_heads + 1.0) * a.indexer->head_dim;
  return total;
}

double mla_parameters(const MlaAttention& a, double hidden) {
  const double heads = a.num_heads, rope = a.qk_rope_head_dim, latent = a.kv_lora_rank;
  const double q_in = a.q_lora_rank ? *a.q_lora_rank : hidden;
  double total = a.q_lora_rank ? hidden * *a.q_lora_rank : 0;
  total += q_in * heads * (a.qk_nope_head_dim + rope) + hidden * (latent + rope);
  if (a.compress_ratio) {
    total += heads * a.v_head_dim * a.o_lora_rank + static_cast<double>(a.o_groups) * a.o_lora_rank * hidden;
    if (*a.compress_ratio) total += hidden * 2 * (latent + rope);
  } else {
    total += latent * heads * (a.qk_nope_head_dim + a.v_head_dim) + heads * a.v_head_dim * hidden;
  }
  if (a.output_gate) total += hidden * heads * a.v_head_dim;
  if (a.indexer && !a.indexer->shared)
    total += q_in * a.indexer->num_heads * a.indexer->head_dim + hidden * (a.indexer->head_dim + a.indexer->num_heads);
  return total;
}

double linear_parameters(const LinearAttention& a, double hidden) {
  const double value = static_cast<double>(a.num_heads) * a.head_dim,
               key = static_cast<double>(a.num_key_heads) * a.key_head_dim;
  switch (a.kind) {
    case LinearAttention::Kind::gated_delta_net:
      return hidden * (2 * key + 2 * value + 2.0 * a.num_heads) + value * hidden + (2 * key + value) * a.conv_kernel;
    case LinearAttention::Kind::kimi_delta:
      return hidden * 5 * value + hidden * a.num_heads;
    case LinearAttention::Kind::lightning:
      return hidden * 5 * value;
    case LinearAttention::Kind::short_conv:
      return hidden * 4 * a.intermediate_size + static_cast<double>(a.intermediate_size) * a.conv_kernel;
    case LinearAttention::Kind::mamba1: {
      const double inner = a.intermediate_size;
      return hidden * 2 * inner + inner * (a.conv_kernel + a.time_step_rank + 2.0 * a.state_size) +
             a.time_step_rank * inner + inner * a.state_size + inner * hidden;
    }
    case LinearAttention::Kind::mamba2: {
      const double inner = a.intermediate_size, states = 2.0 * a.num_key_heads * a.state_size;
      return hidden * (2 * inner + states + a.num_heads) + (inner + states) * a.conv_kernel + inner * hidden;
    }
  }
  return 0;
}

double attention_parameters(const Attention& attention, double hidden) {
  return std::visit(Overloaded{[](const NoAttention&) { return 0.0; },
                               [&](const FullAttention& a) { return full_attention_parameters(a, hidden); },
                               [&](const MlaAttention& a) { return mla_parameters(a, hidden); },
                               [&](const LinearAttention& a) { return linear_parameters(a, hidden); },
                               [&](const CrossAttention& a) { return full_attention_parameters(a.shape, hidden); }},
                    attention);
}

double dense_parameters(const DenseFfn& f, double hidden) { return hidden * f.intermediate_size * (f.gated ? 3 : 2); }

double ffn_parameters(const Ffn& ffn, double hidden, bool active_only) {
  return std::visit(
      Overloaded{[](const NoFfn&) { return 0.0; }, [&](const DenseFfn& f) { return dense_parameters(f, hidden); },
                 [&](const MoeFfn& f) {
                   const double matrices = f.gated ? 3 : 2, width = f.latent_size ? *f.latent_size : hidden;
                   double total = hidden * f.num_experts;
                   total += (active_only ? f.num_experts_per_tok : f.num_experts) * matrices * width *
                            f.moe_intermediate_size;
                   total += matrices * hidden * f.shared_intermediate_size;
                   if (f.latent_size) total += 2 * hidden * width;
                   if (f.parallel_dense) total += dense_parameters(*f.parallel_dense, hidden);
                   return total;
                 }},
      ffn);
}

double count(const Model& m, bool active_only) {
  double total = static_cast<double>(m.vocab_size) * m.hidden_size * (m.tie_word_embeddings || active_only ? 1 : 2);
  for (const auto& layer : m.layers) {
    total +=
        attention_parameters(layer.attention, m.hidden_size) + ffn_parameters(layer.ffn, m.hidden_size, active_only);
    if (layer.parallel_state) total += linear_parameters(*layer.parallel_state, m.hidden_size);
  }
  return total + (m.vision && !active_only ? static_cast<double>(m.vision->parameters) : 0);
}

template <class T>
bool any_attention(const Model& m) {
  return std::any_of(m.layers.begin(), m.layers.end(),
                     [](const Layer& l) { return std::holds_alternative<T>(l.attention); });
}

}  // namespace

double bytes_per_element(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return 4;
    case DType::float16:
    case DType::bfloat16:
      return 2;
    case DType::fp8_e4m3:
    case DType::fp8_e5m2:
    case DType::int8:
      return 1;
    case DType::int4:
    case DType::fp4:
      return 0.5;
  }
  return 2;
}

std::string to_string(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::float16:
      return "float16";
    case DType::bfloat16:
      return "bfloat16";
    case DType::fp8_e4m3:
      return "fp8_e4m3";
    case DType::fp8_e5m2:
      return "fp8_e5m2";
    case DType::int8:
      return "int8";
    case DType::int4:
      return "int4";
    case DType::fp4:
      return "fp4";
  }
  return "bfloat16";
}

bool Model::is_moe() const {
  return std::any_of(layers.begin(), layers.end(),
                     [](const Layer& l) { return std::holds_alternative<MoeFfn>(l.ffn); });
}
bool Model::is_mla() const { return any_attention<MlaAttention>(*this); }
bool Model::has_full_attention() const {
  return any_attention<FullAttention>(*this) || any_attention<CrossAttention>(*this);
}
bool Model::is_hybrid() const {
  const bool state =
      any_attention<LinearAttention>(*this) ||
      std::any_of(layers.begin(), layers.end(), [](const Layer& l) { return l.parallel_state.has_value(); });
  return state && (has_full_attention() || is_mla());
}
bool Model::is_attention_free() const { return !has_full_attention() && !is_mla(); }

int Model::num_attention_heads() const {
  int most = 0;
  for (const auto& layer : layers) {
    if (const auto* a = std::get_if<FullAttention>(&layer.attention)) most = std::max(most, a->num_heads);
    if (const auto* a = std::get_if<MlaAttention>(&layer.attention)) most = std::max(most, a->num_heads);
    if (const auto* a = std::get_if<CrossAttention>(&layer.attention)) most = std::max(most, a->shape.num_heads);
  }
  return most;
}

int Model::num_key_value_heads() const {
  int most = 0;
  for (const auto& layer : layers) {
    if (const auto* a = std::get_if<FullAttention>(&layer.attention)) most = std::max(most, a->num_kv_heads);
    if (const auto* a = std::get_if<CrossAttention>(&layer.attention)) most = std::max(most, a->shape.num_kv_heads);
    if (std::holds_alternative<MlaAttention>(layer.attention)) most = std::max(most, 1);
  }
  return most;
}

int Model::num_experts() const {
  int most = 0;
  for (const auto& layer : layers)
    if (const auto* f = std::get_if<MoeFfn>(&layer.ffn)) most = std::max(most, f->num_experts);
  return most;
}

double Model::parameters() const { return count(*this, false); }
double Model::active_parameters() const { return count(*this, true); }

}  // namespace shardwise
