// The weight program of a model: what vLLM 0.32.0's model classes register, layer kind by layer kind.
#include <algorithm>
#include <cmath>
#include <map>

#include "memory/weight_builder.h"

namespace shardwise {
namespace {

using Kind = WeightModule::Kind;

// ---- attention
// -------------------------------------------------------------------------------------------------------

void full_attention(WeightBuilder& b, const FullAttention& a, const std::string& at) {
  const auto cls = WeightClass::attention;
  const std::string self = at + b.family().attention;
  const int q_heads = a.num_heads * (a.output_gate ? 2 : 1);
  const OutPart q{q_heads, a.head_dim}, k{a.num_kv_heads, a.head_dim, true}, v{a.num_kv_heads, a.v_head_dim, true};
  std::vector<OutPart> parts{q, k, v};
  if (a.indexer) {
    // MiniMax-M3 fuses the indexer's projections into the same matrix; its queries and key are split like KV heads.
    parts.push_back({a.indexer->num_heads, a.indexer->head_dim, true});
    parts.push_back({1, a.indexer->head_dim, true});
  }
  b.column(cls, b.hidden(), parts, a.qkv_bias, self + "qkv_proj", {"q_proj", "k_proj", "v_proj"});
  b.row(cls, static_cast<std::int64_t>(a.num_heads) * a.v_head_dim, b.hidden(), a.o_bias, self + b.family().o_proj);
  if (b.architecture().no_kv_replication) b.must_divide(a.num_kv_heads, true);
  if (a.qk_norm && !b.family().weightless_qk_norm) {
    if (a.qk_norm_full && b.family().replicated_qk_norm) {
      b.replicated(cls, static_cast<std::int64_t>(a.num_heads) * a.head_dim);
      b.replicated(cls, static_cast<std::int64_t>(a.num_kv_heads) * a.head_dim);
    } else if (a.qk_norm_full) {
      b.sharded_or_kv(cls, {a.num_heads, a.head_dim, true});
      b.sharded_or_kv(cls, {a.num_kv_heads, a.head_dim, true});
    } else if (b.family().head_norm_per_head) {
      b.sharded_or_kv(cls, {a.num_heads, a.head_dim, true});
      b.sharded_or_kv(cls, {a.num_kv_heads, a.head_dim, true});
    } else {
      b.replicated(cls, a.head_dim, 2);
      if (a.indexer) b.replicated(cls, a.indexer->head_dim, 2);
    }
  }
  b.rope(a.head_dim, a.sliding_window.has_value());
  if (a.sinks) b.sharded(cls, a.num_heads, b.dtype());
  b.attention_layer();
}

void mla_attention(WeightBuilder& b, const MlaAttention& a, const std::string& at) {
  const auto cls = WeightClass::attention;
  const std::string self = at + b.family().attention;
  const int latent = a.kv_lora_rank + a.qk_rope_head_dim, qk = a.qk_nope_head_dim + a.qk_rope_head_dim;
  if (a.q_lora_rank) {
    b.full(cls, b.hidden(), {{*a.q_lora_rank}, {latent}}, a.qkv_bias, self + "fused_qkv_a_proj",
           {"q_a_proj", "kv_a_proj_with_mqa"});
    b.replicated(cls, *a.q_lora_rank);
    b.column(cls, *a.q_lora_rank, {{a.num_heads, qk}}, false, self + "q_b_proj", {});
  } else {
    b.full(cls, b.hidden(), {{latent}}, a.qkv_bias, self + "kv_a_proj_with_mqa", {});
    b.column(cls, b.hidden(), {{a.num_heads, qk}}, false, self + "q_proj", {});
  }
  b.replicated(cls, a.kv_lora_rank);
  b.column(cls, a.kv_lora_rank, {{a.num_heads, a.qk_nope_head_dim + a.v_head_dim}}, false, self + "kv_b_proj", {});
  b.absorbed(a.qk_nope_head_dim, b.model().index_topk.has_value());
  b.row(cls, static_cast<std::int64_t>(a.num_heads) * a.v_head_dim, b.hidden(), a.qkv_bias, self + "o_proj");
  if (a.output_gate) b.column(cls, b.hidden(), {{a.num_heads, a.v_head_dim}}, false, self + "g_proj", {});
  if (b.family().kimi_k3) b.buffer(BufferKind::kv_scales, 4);  // _one_scale
  if (a.indexer && !a.indexer->shared) {
    const auto& x = *a.indexer;
    b.full(cls, a.q_lora_rank.value_or(b.hidden()), {{x.num_heads, x.head_dim}}, false, self + "indexer.wq_b", {});
    b.full_plain(cls, b.hidden(), {{x.head_dim}, {x.num_heads}});
    b.replicated(cls, x.head_dim, 2, StoredType::float32);
  }
  const bool own_rope = a.indexer && !a.indexer->rope_interleave;
  b.rope(a.qk_rope_head_dim, false, a.indexer ? "float" : "");
  if (own_rope) b.rope(a.qk_rope_head_dim, false, "float indexer");
  b.attention_layer(true);
}

void gated_delta_net(WeightBuilder& b, const LinearAttention& a, const std::string& at) {
  const auto cls = WeightClass::attention;
  const std::string self = at + "linear_attn.";
  const int key = a.num_key_heads * a.key_head_dim, value = a.num_heads * a.head_dim;
  b.mixer("linear_attn");
  b.sharded(cls, a.num_heads);
  b.sharded(cls, a.num_heads, StoredType::float32);
  b.column_plain(cls, a.conv_kernel, {{2 * key + value}});
  const OutPart k{a.num_key_heads, a.key_head_dim}, v{a.num_heads, a.head_dim};
  if (b.family().interleaved_gdn) {
    b.column(cls, b.hidden(), {{2 * key + 2 * value}}, false, self + "in_proj_qkvz", {});
    b.column(cls, b.hidden(), {{2 * a.num_heads}}, false, self + "in_proj_ba", {});
  } else {
    b.column(cls, b.hidden(), {k, k, v, v}, false, self + "in_proj_qkvz", {"in_proj_qkv", "in_proj_z"});
    b.column(cls, b.hidden(), {{a.num_heads}, {a.num_heads}}, false, self + "in_proj_ba", {"in_proj_b", "in_proj_a"});
  }
  b.replicated(cls, a.head_dim);
  b.row(cls, value, b.hidden(), false, self + "out_proj");
  b.mixer("");
}

// models/deepseek_v4/attention.py and compressor.py
void compressor(WeightBuilder& b, int ratio, int head_dim) {
  const auto cls = WeightClass::attention;
  const int copies = ratio == 4 ? 2 : 1;
  b.replicated(cls, static_cast<std::int64_t>(ratio) * copies * head_dim, 1, StoredType::float32);
  b.full_plain(cls, b.hidden(), {{copies * head_dim}, {copies * head_dim}});
  b.replicated(cls, head_dim);
}

void deepseek_v4_attention(WeightBuilder& b, const MlaAttention& a, const std::string& at) {
  const auto cls = WeightClass::attention;
  const std::string self = at + "attn.";
  const int head_dim = a.kv_lora_rank + a.qk_rope_head_dim, q_rank = a.q_lora_rank.value_or(b.hidden()),
            ratio = std::max(1, *a.compress_ratio), groups = std::max(1, a.o_groups);
  b.padded_heads(cls, a.num_heads);
  b.full(cls, b.hidden(), {{q_rank}, {head_dim}}, false, self + "fused_wqa_wkv", {"wq_a", "wkv"});
  b.replicated(cls, q_rank);
  b.column(cls, q_rank, {{a.num_heads, head_dim}}, false, self + "wq_b", {});
  b.replicated(cls, head_dim);
  b.column(cls, static_cast<std::int64_t>(a.num_heads) * head_dim / groups, {{groups, a.o_lora_rank}}, false,
           self + "wo_a", {});
  b.row(cls, static_cast<std::int64_t>(groups) * a.o_lora_rank, b.hidden(), false, self + "wo_b");
  if (ratio > 1) compressor(b, ratio, head_dim);
  if (a.indexer) {
    b.full(cls, q_rank, {{a.indexer->num_heads, a.indexer->head_dim}}, false, self + "indexer.wq_b", {});
    b.full_plain(cls, b.hidden(), {{a.indexer->num_heads}});
    compressor(b, ratio, a.indexer->head_dim);
  }
  b.rope_table(static_cast<std::int64_t>(b.model().rope.positions), a.qk_rope_head_dim, 4,
               ratio > 1 ? "compressed" : "window");
}

// layers/mamba/gdn/kimi_gdn_linear_attn.py and models/kimi_k3/nvidia/kda.py
void kimi_delta(WeightBuilder& b, const LinearAttention& a, const std::string& at) {
  const auto cls = WeightClass::attention;
  const std::string self = at + "self_attn.";
  const int wide = a.num_heads * a.head_dim;
  b.kda_in(cls, a, a.full_rank_gate);
  b.column(cls, a.head_dim, {{a.num_heads, a.head_dim}}, false, self + "f_b_proj", {});
  b.sharded(cls, wide, StoredType::float32);
  b.sharded(cls, 3 * static_cast<std::int64_t>(wide) * a.conv_kernel, StoredType::float32);
  b.sharded(cls, a.num_heads, StoredType::float32);
  if (!a.full_rank_gate) {
    b.full(cls, b.hidden(), {{a.head_dim}}, false, self + "g_a_proj", {});
    b.column(cls, a.head_dim, {{a.num_heads, a.head_dim}}, false, self + "g_b_proj", {});
  }
  b.replicated(cls, a.head_dim);
  b.row(cls, wide, b.hidden(), false, self + "o_proj");
  if (a.full_rank_gate) b.kda_decode(a);
}

void mamba2(WeightBuilder& b, const LinearAttention& a, const std::string& at) {
  const auto cls = WeightClass::attention;
  const std::string self = at + b.family().mixer;
  const int inner = a.intermediate_size, groups = a.num_key_heads;
  const OutPart heads{a.num_heads, a.head_dim}, group{groups, a.state_size, groups == 1};
  b.mixer("mixer");
  if (groups > 1) b.must_divide(groups, false);
  b.sharded(cls, a.num_heads, StoredType::float32);  // A
  b.sharded(cls, a.num_heads, b.dtype(), 2);         // D, dt_bias
  b.column_plain(cls, a.conv_kernel, {heads, group, group}, a.conv_bias);
  b.column(cls, b.hidden(), {heads, heads, group, group, {a.num_heads}}, a.proj_bias, self + "in_proj", {},
           groups == 1 ? 1 : 5);
  b.row(cls, inner, b.hidden(), a.proj_bias, self + "out_proj");
  if (a.inner_norm) b.sharded(cls, inner);
  b.mixer("");
}

void mamba1(WeightBuilder& b, const LinearAttention& a) {
  const auto cls = WeightClass::attention;
  const int inner = a.intermediate_size;
  b.mixer("mixer");
  b.sharded(cls, static_cast<std::int64_t>(inner) * a.state_size, StoredType::float32);
  b.sharded(cls, inner);
  b.column_plain(cls, a.conv_kernel, {{inner}}, a.conv_bias);
  b.column_plain(cls, b.hidden(), {{inner}, {inner}}, a.proj_bias);
  b.row_plain(cls, inner, a.time_step_rank + 2 * a.state_size, false);
  b.column_plain(cls, a.time_step_rank, {{inner}}, true);
  b.row_plain(cls, inner, b.hidden(), a.proj_bias);
  if (b.family().mamba1_norms) {  // layer norms of dt, B and C; vLLM names them ...layernorm inside the mixer
    b.replicated(cls, a.time_step_rank);
    b.replicated(cls, a.state_size, 2);
  }
  b.mixer("");
}

// ---- FFN
// -------------------------------------------------------------------------------------------------------------

void dense(WeightBuilder& b, const DenseFfn& f, const std::string& self, WeightClass cls) {
  const OutPart wide{f.intermediate_size};
  if (f.gated) {
    b.column(cls, b.hidden(), {wide, wide}, f.bias, self + "gate_up_proj", {"gate_proj", "up_proj"});
  } else {
    b.column(cls, b.hidden(), {wide}, f.bias, self + "up_proj", {});
  }
  b.row(cls, f.intermediate_size, b.hidden(), f.bias, self + "down_proj");
}

void moe(WeightBuilder& b, const MoeFfn& f, const std::string& at) {
  const auto& family = b.family();
  const std::string self = at + family.mlp;
  const auto router = WeightClass::router;
  const StoredType gate_type = family.float_gate ? StoredType::float32 : b.dtype();
  if (f.gated)
    b.router(b.hidden(), f.num_experts, gate_type);
  else  // its adapters are not supported
    b.replicated(router, static_cast<std::int64_t>(b.hidden()) * f.num_experts, 1, gate_type);
  if (f.router_bias) b.replicated(router, f.num_experts, 1, gate_type);
  if (f.correction_bias) b.replicated(router, f.num_experts, 1, StoredType::float32);
  if (f.shared_intermediate_size > 0) {
    const DenseFfn shared{f.shared_intermediate_size, f.gated, false};
    b.sequence_parallel(!family.sequence_parallel_shared ? 0 : family.deepseek_v4 ? 2 : 1);
    b.whole_blocks(family.deepseek_v4);
    dense(b, shared, self + family.shared, WeightClass::shared_experts);
    b.whole_blocks(false);
    b.sequence_parallel(0);
    if (f.shared_expert_gate) b.router(b.hidden(), 1, b.dtype(), WeightClass::shared_experts);
  }
  if (f.hash_routing)
    b.replicated(router, static_cast<std::int64_t>(b.model().vocab_size) * f.num_experts_per_tok, 1, StoredType::int32);
  if (f.latent_size && family.kimi_k3) {
    b.full_plain(WeightClass::dense_mlp, b.hidden(), {{*f.latent_size}});
    b.full_plain(WeightClass::dense_mlp, *f.latent_size, {{b.hidden()}});
    if (f.latent_norm) b.replicated(WeightClass::norm_other, *f.latent_size);
  } else if (f.latent_size) {
    const auto cls =
        family.mlp == std::string("mixer.") ? WeightClass::attention : WeightClass::dense_mlp;  // by the module's name
    b.full(cls, b.hidden(), {{*f.latent_size}}, false, self + "fc1_latent_proj", {});
    b.full(cls, *f.latent_size, {{b.hidden()}}, false, self + "fc2_latent_proj", {});
  }
  b.experts(f, f.latent_size.value_or(b.hidden()), self + "experts");
}

void ffn(WeightBuilder& b, const Ffn& kind, const std::string& at) {
  if (const auto* d = std::get_if<DenseFfn>(&kind)) {
    b.sequence_parallel(b.family().sequence_parallel_dense ? 2 : 0);
    dense(b, *d, at + b.family().dense_mlp, WeightClass::dense_mlp);
    b.sequence_parallel(0);
  } else if (const auto* m = std::get_if<MoeFfn>(&kind)) {
    if (m->parallel_dense) dense(b, *m->parallel_dense, at + "mlp.", WeightClass::dense_mlp);
    moe(b, *m, at);
  }
}

void layer(WeightBuilder& b, const Layer& l, const std::string& at) {
  if (const auto* a = std::get_if<FullAttention>(&l.attention)) full_attention(b, *a, at);
  if (const auto* a = std::get_if<CrossAttention>(&l.attention)) full_attention(b, a->shape, at);
  if (const auto* a = std::get_if<MlaAttention>(&l.attention)) {
    if (a->compress_ratio)
      deepseek_v4_attention(b, *a, at);
    else
      mla_attention(b, *a, at);
  }
  if (const auto* a = std::get_if<LinearAttention>(&l.attention)) {
    switch (a->kind) {
      case LinearAttention::Kind::gated_delta_net:
        gated_delta_net(b, *a, at);
        break;
      case LinearAttention::Kind::mamba1:
        mamba1(b, *a);
        break;
      case LinearAttention::Kind::mamba2:
        mamba2(b, *a, at);
        break;
      case LinearAttention::Kind::kimi_delta:
        kimi_delta(b, *a, at);
        break;
      default:
        b.opaque_state(*a);
        break;
    }
  }
  if (l.parallel_state) mamba2(b, *l.parallel_state, at);
  ffn(b, l.ffn, at);
  const bool half = std::holds_alternative<NoAttention>(l.attention) || std::holds_alternative<NoFfn>(l.ffn);
  const auto* routed = std::get_if<MoeFfn>(&l.ffn);
  // Falcon: two layer norms unless attention and MLP run beside each other on one.
  const bool second = b.family().attention == std::string("self_attention.") && !b.model().parallel_attn;
  b.norms(half ? 1 : b.family().norms + (b.family().gemma4 && routed ? 3 : 0) + (second ? 1 : 0));
  if (b.family().kimi_k3 && b.model().attn_res_block_size) b.replicated(WeightClass::norm_other, b.hidden(), 4);
  if (b.family().deepseek_v4) {  // hyper-connections
    const std::int64_t mult = b.model().hc_mult.value_or(0), mix = (2 + mult) * mult;
    if (mult > 0) {
      b.replicated(WeightClass::norm_other, mix * mult * b.hidden(), 2, StoredType::float32);
      b.replicated(WeightClass::norm_other, mix, 2, StoredType::float32);
      b.replicated(WeightClass::norm_other, 3, 2, StoredType::float32);
    }
  }
  if (b.family().gemma4) {
    const int width = bytes_of(b.dtype());
    b.buffer(BufferKind::other, width);  // layer_scalar
    if (const auto* a = std::get_if<FullAttention>(&l.attention))
      b.bare(static_cast<std::int64_t>(a->head_dim) * width);  // v_norm without weight
    if (routed) {
      b.replicated(WeightClass::router, b.hidden());
      b.replicated(WeightClass::router, routed->num_experts);
      b.buffer(BufferKind::other, width);  // root_size
      b.bare(static_cast<std::int64_t>(b.hidden()) * width);
    }
  }
  if (const auto* a = std::get_if<FullAttention>(&l.attention);
      a && a->qk_norm && b.family().weightless_qk_norm && a->attention_chunk_size)
    b.bare(static_cast<std::int64_t>(a->head_dim) * 4);
}

}  // namespace

WeightProgram compile_weights(const Model& model, bool draft) {
  WeightProgram program;
  WeightBuilder b(model, program);
  if (draft) {
    // Numbered on from the target's, or (Qwen) from 0 below "mtp.".
    const bool deepseek = model.is_mla() || b.family().deepseek_draft;
    const auto& layers = model.mtp_layers;
    const std::size_t rounds = static_cast<std::size_t>(std::max(1, model.num_mtp_layers));
    std::size_t next = 0;
    b.draft_frame(deepseek, [&] {
      for (const std::size_t end = next + layers.size() / rounds; next < end; ++next)
        layer(b, layers[next],
              deepseek ? b.layer_prefix(model.num_hidden_layers() + static_cast<int>(next))
                       : "mtp." + b.layer_prefix(static_cast<int>(next)));
    });
    return program;
  }
  // Layers that are equal in kind and in every module's scheme share one program.
  std::vector<int> kind_of;
  for (int i = 0; i < model.num_hidden_layers(); ++i) {
    const auto& l = model.layers[static_cast<std::size_t>(i)];
    LayerProgram made = b.layer_program([&] { layer(b, l, b.layer_prefix(i)); });
    kind_of.push_back(b.intern(std::move(made)));
  }
  program.upto.assign(program.kinds.size(), std::vector<int>(kind_of.size() + 1, 0));
  for (std::size_t kind = 0; kind < program.kinds.size(); ++kind)
    for (std::size_t i = 0; i < kind_of.size(); ++i)
      program.upto[kind][i + 1] = program.upto[kind][i] + (kind_of[i] == static_cast<int>(kind) ? 1 : 0);
  b.surroundings();
  return program;
}

}  // namespace shardwise
