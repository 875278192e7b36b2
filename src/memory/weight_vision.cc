// Vision towers and projectors, as the model classes of vLLM 0.32.0 build them.
#include <algorithm>
#include <string>

#include "memory/weight_builder.h"

namespace shardwise {
namespace {

constexpr auto kVision = WeightClass::vision;

OutPart part(std::int64_t units) { return {static_cast<std::int32_t>(units)}; }

// Pre-norm block: two layer norms with bias, QKV and output projection, two MLP matrices, all with bias.
void block(WeightBuilder& b, std::int64_t width, std::int64_t inner) {
  b.replicated(kVision, width, 4);
  b.column_plain(kVision, width, {part(width), part(width), part(width)}, true);
  b.row_plain(kVision, width, width, true);
  b.column_plain(kVision, width, {part(inner)}, true);
  b.row_plain(kVision, inner, width, true);
}

// models/qwen3_vl.py: Qwen3_VisionTransformer; qwen3_5.py uses it too.
void qwen3_vl(WeightBuilder& b, const VisionTower& v) {
  const std::int64_t h = v.hidden_size, merged = h * v.spatial_merge_size * v.spatial_merge_size;
  const std::int64_t patch =
      static_cast<std::int64_t>(v.in_channels) * v.temporal_patch_size * v.patch_size * v.patch_size;
  b.replicated(kVision, patch * h);
  b.replicated(kVision, h);
  b.replicated(kVision, v.num_position_embeddings * h);
  for (int i = 0; i < v.num_layers; ++i) block(b, h, v.intermediate_size);
  for (int i = 0; i <= v.deepstack_layers; ++i) {
    b.replicated(kVision, i == 0 ? h : merged, 2);  // deepstack mergers normalise after the shuffle
    b.column_plain(kVision, merged, {part(merged)}, true);
    b.row_plain(kVision, merged, v.out_hidden_size, true);
  }
  b.buffer(BufferKind::cos_sin_cache, std::int64_t{8192} * (h / std::max(1, v.num_heads) / 2) * bytes_of(b.dtype()));
}

// Hugging Face's tower, replicated (models/gemma4_mm.py).
void gemma4(WeightBuilder& b, const VisionTower& v) {
  const std::int64_t h = v.hidden_size, head = v.head_dim.value_or(v.hidden_size / std::max(1, v.num_heads));
  const std::int64_t q = v.num_heads * head, kv = v.num_key_value_heads.value_or(v.num_heads) * head;
  b.replicated(kVision, 3 * static_cast<std::int64_t>(v.patch_size) * v.patch_size * h);
  b.replicated(kVision, 2 * v.num_position_embeddings * h);
  b.replicated(kVision, h * q, v.num_layers);
  b.replicated(kVision, h * kv, 2 * v.num_layers);
  b.replicated(kVision, h * q, v.num_layers);
  b.replicated(kVision, h * v.intermediate_size, 3 * v.num_layers);
  b.replicated(kVision, head, 2 * v.num_layers);
  b.replicated(kVision, h, 4 * v.num_layers);
  b.replicated(kVision, h * b.hidden());
  b.buffer(BufferKind::inv_freq, head / 4 * 4);
  b.buffer(BufferKind::other, head / 4 * 4);
  if (v.standardize) {
    b.buffer(BufferKind::other, h * bytes_of(b.dtype()));
    b.buffer(BufferKind::kv_scales, h * bytes_of(b.dtype()));  // std_scale: counted with the scales by its name
  }
  b.bare(h * bytes_of(b.dtype()));
}

// models/kimi_k25_vit.py. Heads that TP does not divide put the whole tower on every rank.
void moonvit(WeightBuilder& b, const VisionTower& v) {
  const std::int64_t h = v.hidden_size, inner = v.intermediate_size, qkv = v.qkv_hidden_size.value_or(v.hidden_size),
                     merged = 4 * h, out = b.hidden();
  const int norm = v.rms_norm ? 1 : 2;
  b.vit_heads(v.num_heads);
  b.replicated(kVision, 3 * static_cast<std::int64_t>(v.patch_size) * v.patch_size * h);
  if (v.patch_embed_proj_bias) b.replicated(kVision, h);
  b.replicated(kVision, std::int64_t{v.init_pos_emb_height} * v.init_pos_emb_width * h);
  for (int i = 0; i < v.num_layers; ++i) {
    b.replicated(kVision, h, 2 * norm);
    b.column_plain(kVision, h, {part(qkv), part(qkv), part(qkv)}, v.attn_bias);
    b.row_plain(kVision, qkv, h, v.attn_bias);
    b.column_plain(kVision, h, {part(inner)}, v.linear_bias);
    b.row_plain(kVision, inner, h, v.linear_bias);
  }
  b.replicated(kVision, h, norm);
  if (v.patch_merger_v2) {
    b.full_plain(kVision, merged, {part(merged)});
    b.full_plain(kVision, merged, {part(out)});
    b.replicated(kVision, out);
  } else {
    b.replicated(kVision, h, 2);
    b.full_plain(kVision, merged, {part(merged)}, true);
    b.full_plain(kVision, merged, {part(out)}, true);
  }
  b.vit_heads(0);
  // Sinusoids of 4 frames, in float32; a compressed-tensors checkpoint casts the tower to the model's type.
  const bool cast = b.rules().method() == "compressed-tensors" && !v.rms_norm;
  b.buffer(BufferKind::other, v.init_pos_emb_time * h * (cast ? bytes_of(b.dtype()) : 4));
}

// models/mllama4.py
void llama4(WeightBuilder& b, const VisionTower& v) {
  const std::int64_t h = v.hidden_size, side = (v.image_size ? v.image_size : 448) / std::max(1, v.patch_size),
                     patches = side * side + 1;
  const std::int64_t in = v.projector_input_dim, out = v.projector_output_dim;
  b.column_plain(kVision, 3 * static_cast<std::int64_t>(v.patch_size) * v.patch_size, {part(h)});
  b.replicated(kVision, h);
  b.replicated(kVision, patches * h);
  b.replicated(kVision, h, 4);
  for (int i = 0; i < v.num_layers; ++i) block(b, h, v.intermediate_size);
  b.column_plain(kVision, v.intermediate_size, {part(in)});
  b.row_plain(kVision, in, out, false);
  b.column_plain(kVision, v.vision_output_dim, {part(b.hidden())});
  b.buffer(BufferKind::cos_sin_cache, patches * (h / std::max(1, v.num_heads) / 2) * 8);
}

// models/minimax_m3/common/vision_tower.py
void minimax_m3(WeightBuilder& b, const VisionTower& v) {
  const std::int64_t h = v.hidden_size, text = b.hidden(), head = h / std::max(1, v.num_heads);
  const std::int64_t wide = v.projector_hidden_size.value_or(b.hidden());
  b.replicated(kVision, 3 * 2 * static_cast<std::int64_t>(v.patch_size) * v.patch_size * h);
  b.replicated(kVision, h, 2);
  for (int i = 0; i < v.num_layers; ++i) block(b, h, v.intermediate_size);
  b.column_plain(kVision, h, {part(wide)}, true);
  b.row_plain(kVision, wide, text, true);
  b.column_plain(kVision, 4 * text, {part(wide)}, true);
  b.row_plain(kVision, wide, text, true);
  b.buffer(BufferKind::other, head / 2 / 3 * 4, 3);
}

// A tower without a description of its own: its blocks split over TP, patch embedding and projector replicated.
void any(WeightBuilder& b, const VisionTower& v) {
  const std::int64_t h = v.hidden_size;
  b.vit_heads(std::max(1, v.num_heads));
  b.replicated(kVision,
               static_cast<std::int64_t>(v.in_channels) * v.temporal_patch_size * v.patch_size * v.patch_size * h);
  for (int i = 0; i < v.num_layers; ++i) block(b, h, v.intermediate_size);
  b.vit_heads(0);
  const std::int64_t merged = h * v.spatial_merge_size * v.spatial_merge_size;
  b.replicated(kVision, merged * (v.out_hidden_size ? merged : b.hidden()));
  b.replicated(kVision, (v.out_hidden_size ? merged : static_cast<std::int64_t>(b.hidden())) * b.hidden());
}

}  // namespace

void describe_vision(WeightBuilder& b, const VisionTower& v) {
  if (v.num_layers < 1 || v.hidden_size < 1) return;
  switch (b.architecture().tower) {
    case Tower::qwen3_vl:
      return qwen3_vl(b, v);
    case Tower::gemma4:
      return gemma4(b, v);
    case Tower::moonvit:
      return moonvit(b, v);
    case Tower::llama4:
      return llama4(b, v);
    case Tower::minimax_m3:
      return minimax_m3(b, v);
    case Tower::any:
      return any(b, v);
  }
}

}  // namespace shardwise
