#pragma once
// Helper that writes a WeightProgram: names modules as vLLM does, asks the quantisation rules for each, merges equal
// layers.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "memory/weight_program.h"
#include "model/architectures.h"
#include "model/quantisation.h"

namespace shardwise {

class WeightBuilder {
 public:
  using Parts = std::vector<OutPart>;
  using Names = std::vector<std::string>;

  WeightBuilder(const Model& model, WeightProgram& program);

  const Model& model() const { return model_; }
  const Architecture& architecture() const { return architecture_; }
  const WeightTraits& family() const { return family_; }
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
  void router(std::int64_t in, std::int64_t out, StoredType type, WeightClass cls = WeightClass::router);
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
  void mixer(std::string name) { mixer_ = std::move(name); }  ///< holds the next plain tensors; "" = attention does
  void whole_blocks(bool on) { whole_blocks_ = on; }          ///< fp8 blocks of the next linear layers are never cut
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
  std::string holder(WeightClass cls) const;
  QuantScheme scheme(const std::string& path, const Names& shards, QuantRules::Module kind);

  const Model& model_;
  WeightProgram& program_;
  const Architecture& architecture_;
  const WeightTraits& family_;
  const QuantRules& rules_;
  LayerProgram* target_ = nullptr;
  std::string mixer_;
  int vit_heads_ = 0;
  int sequence_parallel_ = 0;
  bool whole_blocks_ = false;
  std::multimap<std::size_t, int> seen_;
};

/// Vision tower and projectors, appended to program.every.
void describe_vision(WeightBuilder& builder, const VisionTower& vision);

}  // namespace shardwise
