#pragma once
// Helper that writes a WeightProgram: names modules as vLLM does, asks the quantisation rules for each, merges equal
// layers.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "memory/weight_program.h"
#include "model/quantisation.h"

namespace shardwise {

/// What a vLLM model class fixes beyond the IR: one row per architecture (weight_families.cc).
struct WeightFamily {
  const char* architecture = "";
  const char* attention = "self_attn.";
  const char* o_proj = "o_proj";
  const char* mlp = "mlp.";  ///< of MoE layers
  const char* dense_mlp = "mlp.";
  const char* shared = "shared_experts.";
  const char* mixer = "mixer.";
  int norms = 2;  ///< hidden-sized norms per layer
  bool norm_bias = false;
  bool final_norm = true;
  bool embedding_everywhere = false, norm_everywhere = false, head_everywhere = false;  ///< on every pipeline stage
  bool float_rope = false;                                                              ///< rope table in float32
  bool replicated_qk_norm = false;        ///< norms over all heads are not sharded
  bool sequence_parallel_shared = false;  ///< shared experts follow sequence-parallel MoE
  bool sequence_parallel_dense = false;   ///< dense layers too, without pipeline parallelism
  bool no_eplb = false;
  bool gemma4 = false;
  bool needs_experts_everywhere = false;  ///< raises if a pipeline stage has no MoE layer
  bool no_kv_replication = false;         ///< KV heads must divide by TP
  bool deepseek_draft = false;            ///< its MTP layers have DeepSeek's form
  bool deepseek_v4 = false, kimi_k3 = false;
  bool weightless_qk_norm = false;  ///< q/k norm without weights on rotary layers (Llama 4)
  bool head_norm_per_head = false;  ///< q/k norms hold one vector per head (Cohere)
  bool interleaved_gdn = false;
  bool float_gate = false;             ///< router weight in float32
  bool model_type_correction = false;  ///< e_score_correction_bias in the model's type
  bool float_sinks = false;
  bool mamba1_norms = false;
  bool no_rope = false;
  bool transformers_rope = false;
  bool normalizer_buffer = false;  ///< Gemma's embedding scale
  int learned_positions = 0;       ///< 1: an embedding of n_positions
  bool float_gdn_norm = false;
};
const WeightFamily& weight_family(const Model& model);

class WeightBuilder {
 public:
  using Parts = std::vector<OutPart>;
  using Names = std::vector<std::string>;

  WeightBuilder(const Model& model, WeightProgram& program);

  const Model& model() const { return model_; }
  const WeightFamily& family() const { return family_; }
  StoredType dtype() const { return program_.dtype; }
  int hidden() const { return model_.hidden_size; }

  // Modules. `path` = name below the layers' root ("layers.3.self_attn.qkv_proj"); `shards` = what the checkpoint calls
  // its parts, if not fused there.
  void column(WeightClass cls, std::int64_t in, Parts parts, bool bias, const std::string& path, const Names& shards,
              int logical_parts = 0);
  void row(WeightClass cls, std::int64_t in, std::int64_t out, bool bias, const std::string& path);
  void full(WeightClass cls, std::int64_t in, Parts parts, bool bias, const std::string& path, const Names& shards);
  void column_plain(WeightClass cls, std::int64_t in, Parts parts, bool bias = false);
  void row_plain(WeightClass cls, std::int64_t in, std::int64_t out, bool bias);
  void full_plain(WeightClass cls, std::int64_t in, Parts parts, bool bias = false);
  void replicated(WeightClass cls, std::int64_t elements, int count = 1);
  void replicated(WeightClass cls, std::int64_t elements, int count, StoredType type);
  void sharded(WeightClass cls, std::int64_t elements);
  void sharded(WeightClass cls, std::int64_t elements, StoredType type, int count = 1);
  void sharded_or_kv(WeightClass cls, OutPart part);
  void experts(const MoeFfn& moe, std::int64_t hidden, const std::string& path);
  void rope(int head_dim, bool sliding = false, const std::string& variant = "");
  void rope_table(std::int64_t positions, int dims, int width, const std::string& key);
  void share(SharedBuffer made);
  void attention_layer(bool mla = false);  ///< scale buffers of one attention layer
  void norms(int count);
  void padded_heads(WeightClass cls, int heads);
  void kda_in(WeightClass cls, const LinearAttention& a, bool full_rank_gate);
  void kda_decode(const LinearAttention& a);
  void opaque_state(const LinearAttention& a);
  void must_divide(int units, bool kv_heads);  ///< refused otherwise
  void buffer(BufferKind kind, std::int64_t bytes, int count = 1);
  void bare(std::int64_t bytes);
  void topk_buffer(std::int64_t width, int heads = 0);  ///< indices of selected tokens, one row per batched token
  void vit_heads(int heads) { vit_heads_ = heads; }     ///< heads of the vision tower that the next modules belong to
  void sequence_parallel(int mode) { sequence_parallel_ = mode; }  ///< of the next modules, as in WeightModule
  void whole_blocks(bool on) { whole_blocks_ = on; }  ///< fp8 blocks of the next linear layers are never cut
  void vocabulary(WeightClass cls, std::int64_t rows, std::int64_t width, bool bias, const QuantScheme& scheme);

  void absorbed(int qk_nope_head_dim, bool sparse);  ///< the last module is MLA's kv_b_proj
  /// What an MTP draft model has around its layers: DeepSeek's form (a norm, projection and head per layer), or Qwen's.
  void draft_frame(bool deepseek, const std::function<void()>& block);

  std::string layer_prefix(int layer) const { return "layers." + std::to_string(layer) + "."; }
  LayerProgram layer_program(const std::function<void()>& write);
  int intern(LayerProgram made);
  void surroundings();  ///< embedding, head, final norm, vision tower
  const QuantRules& rules() const { return rules_; }

 private:
  WeightModule& add(WeightModule::Kind kind, WeightClass cls);
  QuantScheme scheme(const std::string& path, const Names& shards, QuantRules::Module kind);

  const Model& model_;
  WeightProgram& program_;
  const WeightFamily& family_;
  const QuantRules& rules_;
  LayerProgram* target_ = nullptr;
  int vit_heads_ = 0;
  int sequence_parallel_ = 0;
  bool whole_blocks_ = false;
  std::multimap<std::size_t, int> seen_;
};

/// Vision tower and projectors, appended to program.every.
void describe_vision(WeightBuilder& builder, const VisionTower& vision);

}  // namespace shardwise
