#include "memory/weight_builder.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/saturate.h"
#include "base/units.h"

namespace shardwise {
namespace {

using Kind = WeightModule::Kind;

StoredType stored(DType dtype) {
  return dtype == DType::float16   ? StoredType::float16
         : dtype == DType::float32 ? StoredType::float32
                                   : StoredType::bfloat16;
}

/// "layers.3.self_attn.qkv_proj" -> "self_attn.qkv_proj"
std::string below_layer(const std::string& path) {
  const auto layers = path.find("layers.");
  if (layers == path.npos) return path;
  return path.substr(path.find('.', layers + 7) + 1);
}

/// vLLM wraps every linear layer of the language model; parts that checkpoints hold in one matrix share an adapter.
void set_adapters(WeightModule& m, std::size_t slices, bool shared = false) {
  if (m.cls != WeightClass::vision && m.cls != WeightClass::mtp)
    m.adapter_slices = static_cast<std::int16_t>(shared ? 1 : slices);
}

void set_parts(WeightModule& m, const std::vector<OutPart>& parts) {
  assert(parts.size() <= m.parts.size());
  m.num_parts = static_cast<std::int16_t>(parts.size());
  std::copy(parts.begin(), parts.end(), m.parts.begin());
}

}  // namespace

WeightBuilder::WeightBuilder(const Model& model, WeightProgram& program)
    : model_(model),
      program_(program),
      architecture_(find_traits(model.architectures)),
      family_(architecture_.weights),
      rules_(quant_rules(model)) {
  program.dtype = stored(model.dtype);
  program.tied = model.tie_word_embeddings;
  program.every_stage_needs_experts = architecture_.moe_on_every_stage;
  program.full_attention = model.has_full_attention();
}

/// Where plain tensors of a class are held.
std::string WeightBuilder::holder(WeightClass cls) const {
  if (cls == WeightClass::attention && !mixer_.empty()) return mixer_;
  const auto without_dot = [](std::string path) { return path.substr(0, path.size() - 1); };
  switch (cls) {
    case WeightClass::attention:
      return without_dot(family_.attention);
    case WeightClass::dense_mlp:
      return without_dot(family_.dense_mlp);
    case WeightClass::shared_experts:
      return without_dot(std::string(family_.mlp) + family_.shared);
    case WeightClass::router:
      return std::string(family_.mlp) + "gate";
    default:
      return to_string(cls);
  }
}

WeightModule& WeightBuilder::add(Kind kind, WeightClass cls) {
  WeightModule m;
  m.name = holder(cls);
  m.kind = kind;
  m.cls = cls;
  m.type = program_.dtype;
  m.vit_heads = vit_heads_;
  m.sequence_parallel = sequence_parallel_;
  target_->modules.push_back(m);
  return target_->modules.back();
}

QuantScheme WeightBuilder::scheme(const std::string& path, const Names& shards, QuantRules::Module kind) {
  if (rules_.method().empty()) return {};
  if (shards.empty()) return rules_.scheme("model." + path, kind);
  const std::string parent = "model." + path.substr(0, path.rfind('.') + 1);
  return rules_.scheme(parent + shards.front(), kind);
}

void WeightBuilder::column(WeightClass cls, std::int64_t in, Parts parts, bool bias, const std::string& path,
                           const Names& shards, int) {
  auto& m = add(Kind::column, cls);
  m.in = in;
  m.bias = bias;
  set_parts(m, parts);
  set_adapters(m, parts.size(), family_.fused_checkpoint);
  m.adapters_whole = m.adapter_slices > 2 && shards.empty();
  m.scheme = scheme(path, shards, QuantRules::Module::linear);
  m.name = below_layer(path);
  if (whole_blocks_) m.whole_blocks = m.scheme.block_n;
}

void WeightBuilder::row(WeightClass cls, std::int64_t in, std::int64_t out, bool bias, const std::string& path) {
  auto& m = add(Kind::row, cls);
  m.in = in;
  m.bias = bias;
  set_adapters(m, 1);
  set_parts(m, {{static_cast<std::int32_t>(out)}});
  m.scheme = scheme(path, {}, QuantRules::Module::linear);
  m.name = below_layer(path);
  if (whole_blocks_) m.whole_blocks = m.scheme.block_n;
}

void WeightBuilder::full(WeightClass cls, std::int64_t in, Parts parts, bool bias, const std::string& path,
                         const Names& shards) {
  auto& m = add(Kind::full, cls);
  m.in = in;
  m.bias = bias;
  set_parts(m, parts);
  set_adapters(m, parts.size());
  m.scheme = scheme(path, shards, QuantRules::Module::linear);
  m.name = below_layer(path);
}

void WeightBuilder::column_plain(WeightClass cls, std::int64_t in, Parts parts, bool bias) {
  auto& m = add(Kind::column, cls);
  m.in = in;
  m.bias = bias;
  set_parts(m, parts);
  set_adapters(m, parts.size(), family_.mamba1_norms);
  m.adapters_whole = m.adapter_slices > 2;
}

void WeightBuilder::row_plain(WeightClass cls, std::int64_t in, std::int64_t out, bool bias) {
  auto& m = add(Kind::row, cls);
  m.in = in;
  m.bias = bias;
  set_adapters(m, 1);
  set_parts(m, {{static_cast<std::int32_t>(out)}});
}

void WeightBuilder::full_plain(WeightClass cls, std::int64_t in, Parts parts, bool bias) {
  auto& m = add(Kind::full, cls);
  m.in = in;
  m.bias = bias;
  set_parts(m, parts);
}

void WeightBuilder::replicated(WeightClass cls, std::int64_t elements, int count) {
  replicated(cls, elements, count, program_.dtype);
}

void WeightBuilder::replicated(WeightClass cls, std::int64_t elements, int count, StoredType type) {
  auto& m = add(Kind::replicated, cls);
  m.in = elements;
  m.count = count;
  m.type = type;
}

void WeightBuilder::sharded(WeightClass cls, std::int64_t elements) { sharded(cls, elements, program_.dtype); }

void WeightBuilder::sharded(WeightClass cls, std::int64_t elements, StoredType type, int count) {
  auto& m = add(Kind::sharded, cls);
  m.in = elements;
  m.type = type;
  m.count = count;
}

void WeightBuilder::sharded_or_kv(WeightClass cls, OutPart part) { set_parts(add(Kind::kv_sharded, cls), {part}); }

void WeightBuilder::experts(const MoeFfn& moe, std::int64_t hidden, const std::string& path) {
  auto& m = add(Kind::experts, WeightClass::routed_experts);
  m.in = hidden;
  m.num_experts = moe.num_experts;
  m.intermediate = moe.moe_intermediate_size;
  m.shards = moe.gated ? 2 : 1;
  m.bias = moe.bias;
  m.scheme = scheme(path, {}, QuantRules::Module::experts);
  m.name = below_layer(path);
  m.no_eplb = family_.no_eplb;
  m.fused_adapters_since = family_.fused_expert_adapters;
  auto& map = add(Kind::expert_map, WeightClass::routed_experts);
  map.num_experts = moe.num_experts;
  map.no_eplb = family_.no_eplb;
}

void WeightBuilder::attention_layer(bool mla) {
  buffer(BufferKind::kv_scales, 4, 4);
  bare(8);
  // quantization/kv_cache.py BaseKVCacheMethod: q, k, v and probability scales become parameters; which configurations
  // ask for it differs (fp8.py and compressed_tensors.py: Attention; modelopt.py: MLAAttention too).
  const auto& method = rules_.method();
  const bool mixed = rules_.mixed() && !mla && rules_.kv_cache_dtype();
  const std::size_t before = target_->modules.size();
  if ((method.starts_with("modelopt") && !rules_.mixed()) || mixed || (!mla && method == "fp8"))
    replicated(WeightClass::attention, 1, 4);
  if (!mla && method == "compressed-tensors") {
    replicated(WeightClass::attention, 1, 3);
    replicated(WeightClass::attention, 1, 3, StoredType::float32);
  }
  for (std::size_t i = before; i < target_->modules.size(); ++i) target_->modules[i].until_loaded = true;
}

void WeightBuilder::norms(int count) {
  for (int i = 0; i < (family_.norm_bias ? 2 : 1); ++i) replicated(WeightClass::norm_other, hidden(), count);
}

void WeightBuilder::padded_heads(WeightClass cls, int heads) { add(Kind::padded_heads, cls).in = heads; }

void WeightBuilder::kda_in(WeightClass cls, const LinearAttention& a, bool full_rank_gate) {
  auto& m = add(Kind::kda_in, cls);
  m.in = hidden();
  m.bias = full_rank_gate;  // rows padded to 16
  set_parts(m, {{a.num_heads * (full_rank_gate ? 4 : 3), a.head_dim}});
  m.intermediate = a.head_dim;
  m.num_experts = a.num_heads;
}

void WeightBuilder::kda_decode(const LinearAttention& a) {
  auto& m = add(Kind::kda_decode, WeightClass::attention);
  m.in = 3LL * a.num_heads * a.head_dim * a.conv_kernel;
  m.intermediate = a.head_dim;
  m.num_experts = a.num_heads;
}

void WeightBuilder::opaque_state(const LinearAttention& a) {
  // Kinds without a program of their own: the projections' size, split over TP.
  const std::int64_t value = static_cast<std::int64_t>(a.num_heads) * a.head_dim;
  column_plain(
      WeightClass::attention, hidden(),
      {{a.num_heads, a.head_dim}, {a.num_heads, a.head_dim}, {a.num_heads, a.head_dim}, {a.num_heads, a.head_dim}});
  row_plain(WeightClass::attention, value, hidden(), false);
}

void WeightBuilder::must_divide(int units, bool kv_heads) {
  auto& m = add(Kind::must_divide, WeightClass::attention);
  m.in = units;
  m.bias = kv_heads;
}

void WeightBuilder::buffer(BufferKind kind, std::int64_t bytes, int count) {
  auto& m = add(Kind::buffer, WeightClass::norm_other);
  m.buffer = kind;
  m.in = bytes;
  m.count = count;
}

void WeightBuilder::bare(std::int64_t bytes) { add(Kind::bare, WeightClass::norm_other).in = bytes; }

void WeightBuilder::topk_buffer(std::int64_t width, int heads) {
  auto& m = add(Kind::topk_buffer, WeightClass::norm_other);
  m.in = width;
  if (heads) set_parts(m, {{heads}});
}

void WeightBuilder::router(std::int64_t in, std::int64_t out, StoredType type, WeightClass cls) {
  replicated(cls, in * out, 1, type);
  target_->modules.back().adapter_in = static_cast<std::int32_t>(in);
}

void WeightBuilder::vocabulary(WeightClass cls, std::int64_t rows, std::int64_t width, bool bias,
                               const QuantScheme& quant) {
  auto& m = add(Kind::vocabulary, cls);
  const auto wrapped = vocabulary_adapters(model_.architectures);
  if (wrapped.embedding && cls == WeightClass::embedding) {
    m.adapter_slices = 1, m.name = "embed_tokens";
    m.tied_head_adapters = wrapped.head;
  }
  if (wrapped.head && cls == WeightClass::lm_head) m.adapter_slices = 1, m.name = "lm_head";
  m.in = width;
  m.bias = bias;
  m.scheme = quant;
  set_parts(m, {{static_cast<std::int32_t>(rows)}});
}

void WeightBuilder::absorbed(int qk_nope_head_dim, bool sparse) {
  target_->modules.back().absorbed_from = qk_nope_head_dim;
  target_->modules.back().sparse_mla = sparse;
}

void WeightBuilder::draft_frame(bool deepseek, const std::function<void()>& block) {
  target_ = &program_.every;
  vocabulary(WeightClass::embedding, model_.vocab_size, hidden(), false, {});
  if (!deepseek) {
    column_plain(WeightClass::norm_other, 2 * static_cast<std::int64_t>(hidden()), {{hidden()}});
    replicated(WeightClass::norm_other, hidden(), 3);
    vocabulary(WeightClass::lm_head, model_.vocab_size, hidden(), false, {});
  }
  for (int i = 0; i < std::max(1, model_.num_mtp_layers); ++i) {
    const std::size_t before = target_->modules.size();
    block();
    if (!deepseek) continue;
    for (std::size_t at = before; at < target_->modules.size(); ++at) target_->modules[at].cls = WeightClass::mtp;
    replicated(WeightClass::norm_other, hidden(), 3);
    if (family_.deepseek_v4) {
      const std::string at = layer_prefix(model_.num_hidden_layers() + i);
      const std::int64_t streams = model_.hc_mult.value_or(0);
      for (const char* name : {"e_proj", "h_proj"})
        full(WeightClass::norm_other, hidden(), {{hidden()}}, false, at + name, {});
      replicated(WeightClass::norm_other, streams * streams * hidden(), 1, StoredType::float32);
      replicated(WeightClass::norm_other, streams, 1, StoredType::float32);
      replicated(WeightClass::norm_other, 1, 1, StoredType::float32);
    } else {
      full_plain(WeightClass::norm_other, 2 * static_cast<std::int64_t>(hidden()), {{hidden()}});
    }
    vocabulary(WeightClass::norm_other, model_.vocab_size, hidden(), false, {});
    if (model_.index_topk) topk_buffer(*model_.index_topk);
  }
  for (const int shared : target_->shared)
    buffer(program_.shared[static_cast<std::size_t>(shared)].kind,
           program_.shared[static_cast<std::size_t>(shared)].bytes);
  target_ = nullptr;
}

LayerProgram WeightBuilder::layer_program(const std::function<void()>& write) {
  LayerProgram made;
  target_ = &made;
  write();
  target_ = nullptr;
  return made;
}

int WeightBuilder::intern(LayerProgram made) {
  for (std::size_t i = 0; i < program_.kinds.size(); ++i)
    if (program_.kinds[i] == made) return static_cast<int>(i);
  program_.kinds.push_back(std::move(made));
  return static_cast<int>(program_.kinds.size()) - 1;
}

void WeightBuilder::surroundings() {
  const int norm_vectors = family_.norm_bias ? 2 : 1;
  target_ = family_.everywhere.embedding ? &program_.every : &program_.embedding;
  vocabulary(WeightClass::embedding, model_.vocab_size, hidden(), false, {});
  target_ = family_.everywhere.embedding ? &program_.every : &program_.first;
  if (family_.learned_positions)
    replicated(WeightClass::embedding, static_cast<std::int64_t>(model_.learned_positions) * hidden());
  target_ = family_.everywhere.norm ? &program_.every : &program_.last;
  for (int i = 0; i < norm_vectors; ++i) replicated(WeightClass::norm_other, hidden());
  target_ = family_.everywhere.head ? &program_.every : &program_.last;
  if (!model_.tie_word_embeddings)
    vocabulary(WeightClass::lm_head, model_.vocab_size, hidden(), false,
               rules_.scheme("lm_head", QuantRules::Module::lm_head));
  if (family_.deepseek_v4) {
    target_ = &program_.last;
    add(Kind::mtp_buffer, WeightClass::norm_other).in =
        static_cast<std::int64_t>(model_.hc_mult.value_or(0)) * hidden();
  }
  target_ = &program_.every;
  if (model_.index_topk && model_.is_mla()) topk_buffer(*model_.index_topk);
  for (const auto& l : model_.layers)
    if (const auto* a = std::get_if<FullAttention>(&l.attention); a && a->indexer) {
      topk_buffer(a->indexer->topk / std::max(1, a->indexer->block_size), a->indexer->num_heads);
      break;
    }
  if (family_.normalizer_buffer) buffer(BufferKind::other, bytes_of(program_.dtype));
  if (family_.kimi_k3 && model_.attn_res_block_size) {
    target_ = &program_.last;
    replicated(WeightClass::norm_other, hidden(), 2);
  }
  if (const std::int64_t mult = model_.hc_mult.value_or(0); family_.deepseek_v4 && mult > 0) {
    target_ = &program_.every;
    replicated(WeightClass::norm_other, mult * mult * hidden(), 1, StoredType::float32);
    replicated(WeightClass::norm_other, mult, 1, StoredType::float32);
    replicated(WeightClass::norm_other, 1, 1, StoredType::float32);
  }
  target_ = &program_.vision;
  if (model_.vision) describe_vision(*this, *model_.vision);
  target_ = nullptr;
}

// Rope table of a layer.
void WeightBuilder::rope(int head_dim, bool sliding, const std::string& variant) {
  if (family_.transformers_rope) {  // vLLM's Transformers backend: frequencies instead of a table, and a copy of them
    share({BufferKind::inv_freq, head_dim / 2 * 4, "inv_freq"});
    share({BufferKind::other, head_dim / 2 * 4, "original_inv_freq"});
    return;
  }
  if (family_.no_rope) return;
  const Rope& r = sliding ? model_.sliding_rope : model_.rope;
  const double partial = r.rotary_dim ? *r.rotary_dim / head_dim : r.partial_rotary_factor;
  const auto rotary =
      static_cast<std::int64_t>(static_cast<double>(head_dim) * std::clamp(partial, 0.0, 1.0) + 1e-9) / 2 * 2;
  const int width =
      family_.float_rope || (r.type == "yarn" && variant.starts_with("float")) ? 4 : bytes_of(program_.dtype);
  share({r.type == "longrope" || r.type == "su" ? BufferKind::other : BufferKind::cos_sin_cache,
         saturating_cast<std::int64_t>(std::min(r.positions, 1e12)) * rotary * width,
         std::to_string(rotary) + "/" + std::to_string(r.theta) + "/" + r.type + "/" + std::to_string(r.positions) +
             variant});
}

void WeightBuilder::rope_table(std::int64_t positions, int dims, int width, const std::string& key) {
  share({BufferKind::cos_sin_cache, positions * dims * width, key});
}

void WeightBuilder::share(SharedBuffer made) {
  auto& all = program_.shared;
  auto it = std::find_if(all.begin(), all.end(), [&](const SharedBuffer& s) { return s.key == made.key; });
  if (it == all.end()) {
    if (all.size() >= 60) return;
    it = all.insert(all.end(), std::move(made));
  }
  const int index = static_cast<int>(it - all.begin());
  if (std::find(target_->shared.begin(), target_->shared.end(), index) == target_->shared.end())
    target_->shared.push_back(index);
}

}  // namespace shardwise
