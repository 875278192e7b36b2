#include "model/vision.h"

#include "config/json.h"

namespace shardwise {

namespace {

std::optional<int> stated(const Fields& f, const char* name) {
  const double value = f.loose_number(name, -1);
  return value < 0 ? std::nullopt : std::optional(static_cast<int>(value));
}

void read_details(const Fields& f, VisionTower& v) {
  v.head_dim = stated(f, "head_dim");
  v.num_key_value_heads = stated(f, "num_key_value_heads");
  v.standardize = f.loose_boolean({"standardize"}, false);
  v.qkv_hidden_size = stated(f, "qkv_hidden_size");
  v.rms_norm = f.loose_text("norm_type") == "rmsnorm";
  v.linear_bias = f.loose_boolean({"linear_bias"}, true);
  v.attn_bias = f.loose_boolean({"attn_bias"}, true);
  v.patch_embed_proj_bias = f.loose_boolean({"patch_embed_proj_bias"}, true);
  v.patch_merger_v2 = f.loose_text("mm_projector_type") == "patchmergerv2";
  const auto set = [&](int& to, const char* name) { to = stated(f, name).value_or(to); };
  set(v.init_pos_emb_height, "init_pos_emb_height");
  set(v.init_pos_emb_width, "init_pos_emb_width");
  set(v.init_pos_emb_time, "init_pos_emb_time");
  set(v.projector_input_dim, "projector_input_dim");
  set(v.projector_output_dim, "projector_output_dim");
  set(v.vision_output_dim, "vision_output_dim");
}

}  // namespace

std::optional<VisionTower> read_vision(const Fields& top) {
  auto vision = top.object("vision_config");
  if (!vision)
    if (const auto thinker = top.object("thinker_config")) vision = thinker->object("vision_config");
  const std::string top_type = top.text({"model_type"});
  const bool llama4 =
      top_type == "llama4";  // vLLM builds its tower from the class defaults when vision_config is left out
  if ((!vision || vision->json().empty()) && !llama4) return std::nullopt;
  Json merged = class_defaults(llama4 ? "llama4_vision_model" : vision->text({"model_type"}));
  if (vision)
    for (const auto& [key, value] : vision->json().items())
      if (!value.is_null()) merged[key] = value;
  const Fields f(merged, "vision_config", top.context());
  VisionTower v;
  v.num_layers = f.integer_or({"depth", "num_hidden_layers", "vt_num_hidden_layers", "layers"}, 0);
  v.hidden_size = f.integer_or({"embed_dim", "vt_hidden_size", "hidden_size", "width"}, 0);
  if (f.text({"model_type"}).starts_with("qwen2_vl")) v.hidden_size = f.integer_or({"embed_dim"}, v.hidden_size);
  v.num_heads = f.integer_or({"num_heads", "num_attention_heads", "vt_num_attention_heads", "heads"}, 0);
  v.intermediate_size = f.integer_or({"intermediate_size", "vt_intermediate_size"}, 0);
  if (!v.intermediate_size) {
    const double ratio = f.number({"mlp_ratio"}).value_or(4.0);
    v.intermediate_size = ratio > 0 && ratio < 64 ? static_cast<int>(v.hidden_size * ratio) : 0;
  }
  if (const Json* patch = f.find({"patch_size", "spatial_patch_size"}); patch && patch->is_number())
    v.patch_size = f.integer_or({"patch_size", "spatial_patch_size"}, 14);
  v.out_hidden_size = f.integer_or({"out_hidden_size", "text_hidden_size", "projection_dim", "projector_dim"}, 0);
  v.spatial_merge_size = f.integer_or({"spatial_merge_size"}, 1);
  v.temporal_patch_size = f.integer_or({"temporal_patch_size"}, 1);
  v.in_channels = f.integer_or({"in_channels", "in_chans", "num_channels"}, 3);
  v.num_position_embeddings = f.integer_or({"num_position_embeddings", "position_embedding_size"}, 0);
  if (const Json* image = f.find({"image_size"}); image && image->is_number())
    v.image_size = f.integer_or({"image_size"}, 0);
  if (const Json* deep = f.find({"deepstack_visual_indexes"}); deep && deep->is_array())
    v.deepstack_layers = static_cast<int>(deep->size());
  read_details(f, v);
  if (const double wide = top.loose_number("projector_hidden_size", 0); wide > 0)
    v.projector_hidden_size = static_cast<int>(wide);
  // Blocks: QKV + output projection + two MLP matrices; patch embedding; merger of merge^2 patches into the model's
  // width.
  const std::int64_t h = v.hidden_size, wide = h * v.spatial_merge_size * v.spatial_merge_size;
  v.parameters = v.num_layers * (4 * h * h + 2 * h * v.intermediate_size + 4 * h) +
                 h * v.in_channels * v.temporal_patch_size * v.patch_size * v.patch_size +
                 h * v.num_position_embeddings +
                 (v.out_hidden_size ? (1 + v.deepstack_layers) * (wide * wide + wide * v.out_hidden_size) : 0);
  return v;
}

}  // namespace shardwise
