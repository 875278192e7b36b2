#include "memory/kv_specs.h"

#include <algorithm>
#include <numeric>

#include "memory/kv_backend.h"
#include "memory/kv_cache_dtype.h"
#include "memory/kv_names.h"
#include "memory/kv_state.h"
#include "model/architectures.h"
#include "model/model_types.h"

namespace shardwise {

namespace {

/// Tokens between the states that FlashInfer's prefill of gated delta nets can give
/// (v1/attention/backends/gdn_attn.py).
constexpr std::int64_t kGdnCheckpointAlignment = 64;

/// Images are attended in both directions (model_arch_config_convertor.py:is_mm_prefix_lm).
bool mm_prefix(const Model& model, const KvSpecOptions& options) {
  if (options.language_model_only || !model.vision) return false;
  std::string_view type = model.model_type;
  if (type.starts_with("gemma4")) return model.bidirectional_vision;
  if (type.ends_with("_text")) type.remove_suffix(5);  // the language part's; the whole model's decides
  return find_model_type(type).mm_prefix;
}

/// Builds layer after layer; a stage's layers are those that vLLM's model class registers on that stage.
class Builder {
 public:
  Builder(const Model& model, const KvSpecOptions& options, bool with_names) : model_(model), o_(options) {
    tp_ = o_.parallel.tensor_parallel_size;
    out_.cache_dtype = o_.cache_dtype;
    names_ = layer_names(model);
    with_names_ = with_names;
    attention_dtype_ = find_traits(model.architectures).passes_cache_config ? o_.cache_dtype : "auto";
    dtype_ = cache_torch_dtype(model, attention_dtype_);
    mode_ = quant_mode(attention_dtype_);
    mm_prefix_ = mm_prefix(model, options);
    float32_ = model.dtype == DType::float32;
    heads_ = std::max(1, model.num_attention_heads()) / tp_;
    kv_heads_ = model.is_mla() ? 1 : std::max(1, model.num_key_value_heads() / tp_);
    for (const auto& layer : model.layers)
      if (const auto* full = std::get_if<FullAttention>(&layer.attention))
        widest_head_ = std::max(widest_head_, full->head_dim);
  }

  KvSpecs build() {
    // DeepSeek-V4's own page arithmetic wants blocks of 256 tokens; its backends are the model's own.
    for (const auto& layer : model_.layers)
      if (const auto* mla = std::get_if<MlaAttention>(&layer.attention); mla && mla->compress_ratio)
        deepseek_v4_ = true;
    settle_block_size();
    const int own = own_cache_layers();
    const auto ranges = pp_layers(model_.num_hidden_layers(), o_.parallel);
    std::vector<std::string> backends;
    std::vector<AttentionBackend> stage_backends;
    for (std::size_t s = 0; s < ranges.size(); ++s) {
      stage_.clear();
      stage_backends.clear();
      current_ = &stage_backends;
      for (int l = ranges[s].first; l < std::min(ranges[s].second, own); ++l) add_layer(l);
      if (s + 1 == ranges.size()) add_draft();
      out_.layers.stages.push_back(stage_);
      if (with_names_)
        for (const auto& b : stage_backends) backends.emplace_back(b.name);
    }
    if (with_names_) {
      if (stage_.empty() &&
          stage_backends.empty()) {  // a stage without attention layers answers with the default backend
        auto q = query(model_.layers.empty() ? Attention{} : model_.layers.front().attention);
        q.sparse = false;
        backends.emplace_back(choose_backend(q).name);
      }
      std::sort(backends.begin(), backends.end());
      backends.erase(std::unique(backends.begin(), backends.end()), backends.end());
      out_.backends = std::move(backends);
    }
    out_.layout = resolve_layout(stage_backends, out_.layers.specs).value_or(KvLayout::LBNHC);
    return std::move(out_);
  }

 private:
  AttentionQuery query(const Attention& attention) const {
    AttentionQuery q;
    q.generation = o_.generation;
    q.cache_dtype = attention_dtype_;
    q.float32 = float32_;
    q.mm_prefix = mm_prefix_;
    q.num_heads = heads_;
    q.num_kv_heads = kv_heads_;
    q.model_head_size = widest_head_;
    q.block_size = o_.block_size;
    if (const auto* full = std::get_if<FullAttention>(&attention)) {
      q.head_size = full->head_dim;
      q.head_size_v = full->v_head_dim > 0 ? full->v_head_dim : full->head_dim;
      q.has_sinks = full->sinks && q.head_size == q.head_size_v;
    } else if (const auto* mla = std::get_if<MlaAttention>(&attention)) {
      q.mla = true;
      q.sparse = mla->indexer.has_value();
      q.head_size = mla->kv_lora_rank + mla->qk_rope_head_dim;
      q.head_size_v = mla->kv_lora_rank;
      q.num_heads = mla->num_heads / tp_;
      q.qk_nope_head_dim = mla->qk_nope_head_dim;
      q.kv_lora_rank = mla->kv_lora_rank;
      q.qk_rope_head_dim = mla->qk_rope_head_dim;
    }
    return q;
  }

  static AttentionBackend own(const char* name, std::optional<int> multiple, std::vector<int> fixed = {},
                              std::vector<KvLayout> layouts = {}) {
    AttentionBackend b;
    b.name = name;
    b.block_sizes = {std::move(fixed), multiple};
    b.layouts = std::move(layouts);
    return b;
  }

  /// The non-state backends of a layer in registration order.
  std::vector<AttentionBackend> backends_of(const Attention& attention) const {
    if (const auto* mla = std::get_if<MlaAttention>(&attention)) {
      if (mla->compress_ratio) {
        auto swa = own("DEEPSEEK_SPARSE_SWA", 32);
        swa.preferred = 256;
        return {swa, own("DEEPSEEK_V4_INDEXER", std::nullopt, {256}, {KvLayout::BLHNC, KvLayout::BLNHC}),
                own("FLASHMLA_SPARSE_DSV4", std::nullopt, {256}), own("CompressorBackend", 1)};
      }
      const auto main = choose_backend(query(attention));
      if (mla->indexer && !mla->indexer->shared) return {own("DEEPSEEK_V32_INDEXER", std::nullopt, {64}), main};
      return {main};
    }
    if (const auto* full = std::get_if<FullAttention>(&attention)) {
      if (full->indexer) {
        const auto layouts = o_.generation->trtllm_attention ? std::vector{KvLayout::LBHNC} : std::vector<KvLayout>{};
        return {own("MINIMAX_M3_SPARSE_INDEXER", std::nullopt, {128}),
                own("MINIMAX_M3_SPARSE", std::nullopt, {128}, layouts)};
      }
      return {choose_backend(query(attention))};
    }
    return {};
  }

  const LinearAttention* state_of(const Layer& layer) const {
    if (const auto* linear = std::get_if<LinearAttention>(&layer.attention)) return linear;
    return layer.parallel_state ? &*layer.parallel_state : nullptr;
  }

  void settle_block_size() {
    const LinearAttention* state = nullptr;
    const Attention* attention = nullptr;
    std::vector<AttentionBackend> backends;
    const auto ranges = pp_layers(model_.num_hidden_layers(), o_.parallel);
    const int first_stage = ranges.empty() ? 0 : ranges.front().second;
    for (int l = 0; l < model_.num_hidden_layers(); ++l) {
      const auto& layer = model_.layers[static_cast<std::size_t>(l)];
      if (!state) state = state_of(layer);
      const bool attends = !std::holds_alternative<NoAttention>(layer.attention) &&
                           !std::holds_alternative<LinearAttention>(layer.attention);
      if (!attends) continue;
      if (!attention) attention = &layer.attention;
      if (l >= first_stage || (l > 0 && layer.attention == model_.layers[static_cast<std::size_t>(l) - 1].attention))
        continue;
      for (auto& b : backends_of(layer.attention))
        if (std::none_of(backends.begin(), backends.end(),
                         [&](const auto& k) { return std::string_view(k.name) == b.name; }))
          backends.push_back(std::move(b));
    }
    constexpr int kDefault = 16;
    out_.block_size = o_.block_size.value_or(kDefault);
    const bool has_state = state != nullptr;
    out_.mamba_align = has_state && mamba_align_mode(model_, o_.enable_prefix_caching);
    if (has_state) {
      out_.mamba_block_size = out_.mamba_align ? out_.block_size : o_.max_model_len;
      out_.mamba_ssm_cache_dtype = model_.ssm_cache_dtype;
      conv_ = model_dtype(model_);
      ssm_ = out_.mamba_ssm_cache_dtype == "float32"    ? KvDType::float32
             : out_.mamba_ssm_cache_dtype == "bfloat16" ? KvDType::bfloat16
             : out_.mamba_ssm_cache_dtype == "float16"  ? KvDType::float16
                                                        : conv_;
    }
    if (backends.empty()) return;
    if (!o_.block_size) {
      // DeepSeek-V4's backends agree on 256 only.
      out_.block_size = deepseek_v4_ ? 256 : preferred_block_size(backends);
    }
    if (has_state && attention) align_with_state(*state, *attention, backends);
  }

  /// Raises attention's block until its page covers a state, and pads the state's page to it
  /// (_align_hybrid_block_size).
  void align_with_state(const LinearAttention& state, const Attention& attention,
                        const std::vector<AttentionBackend>& backends) {
    KvSpec one = state_spec(state);
    one.page_size_padded.reset();
    const auto state_page = one.page_size();
    if (state_page == 0) return;
    std::int64_t per_token = 0;
    if (const auto* full = std::get_if<FullAttention>(&attention))
      per_token = std::int64_t{kv_heads_} * 2 * full->head_dim * bytes_of(cache_torch_dtype(model_, o_.cache_dtype));
    else if (const auto* mla = std::get_if<MlaAttention>(&attention))
      per_token =
          std::int64_t{mla->kv_lora_rank + mla->qk_rope_head_dim} * bytes_of(cache_torch_dtype(model_, o_.cache_dtype));
    if (per_token == 0) return;
    std::int64_t kernel = std::max(backends.front().block_sizes.smallest(), out_.block_size);
    std::int64_t common = 1;
    for (const auto& b : backends) common = std::lcm<std::int64_t>(common, b.block_sizes.smallest());
    if (exports_checkpoints(state)) common = std::lcm<std::int64_t>(common, kGdnCheckpointAlignment);
    if (model_.is_mla()) kernel = std::max<std::int64_t>(kernel, 128);
    const auto block = round_up(kernel * ceil_div(state_page, kernel * per_token), common);
    out_.block_size = std::max(out_.block_size, static_cast<int>(block));
    if (out_.mamba_align) out_.mamba_block_size = out_.block_size;
    if (const auto page = out_.block_size * per_token; page != state_page) out_.mamba_page_size_padded = page;
  }

  /// Whether FlashInfer's prefill of gated delta nets gives a state from inside a prompt: from 0.33 on
  /// and in mode align only.
  bool exports_checkpoints(const LinearAttention& a) const {
    const auto& g = *o_.generation;
    return o_.version >= VllmVersion{0, 33, 0} && out_.mamba_align &&
           a.kind == LinearAttention::Kind::gated_delta_net && g.flashinfer_gdn &&
           (g.flashinfer_gdn_key_head_dim == 0 || g.flashinfer_gdn_key_head_dim == a.key_head_dim);
  }

  KvSpec state_spec(const LinearAttention& a) const {
    KvSpec spec;
    spec.type = KvSpecType::mamba;
    spec.dcp_sharded = false;
    spec.tokens_per_state = -1;
    spec.block_size = static_cast<int>(out_.mamba_block_size.value_or(o_.max_model_len));
    spec.page_size_padded = out_.mamba_page_size_padded;
    spec.mamba_align = out_.mamba_align;
    spec.num_speculative_blocks = o_.num_speculative_tokens;
    fill_state(spec, a, tp_, o_.num_speculative_tokens, conv_, ssm_);
    if (exports_checkpoints(a)) spec.num_prefill_checkpoint_blocks = 1;
    return spec;
  }

  void push(const KvSpec& spec, const std::string& name, int index) {
    int id = 0;
    if (with_names_) {
      auto& names = out_.layers.names;
      auto it = std::find(names.begin(), names.end(), name);
      if (it == names.end()) it = names.insert(names.end(), name);
      id = static_cast<int>(it - names.begin());
    }
    stage_.push_back({out_.layers.intern(spec), id, index});
  }

  void use(const AttentionBackend& backend) {
    for (const auto& b : *current_)
      if (std::string_view(b.name) == backend.name) return;
    current_->push_back(backend);
  }

  /// Layers that attend alike report the same specs: found once, then copied.
  void add_layer(int l) {
    const auto& layer = model_.layers[static_cast<std::size_t>(l)];
    for (const auto& known : known_)
      if (known.layer->attention == layer.attention && known.layer->parallel_state == layer.parallel_state) {
        for (auto entry : known.entries) {
          entry.index = l;
          stage_.push_back(entry);
        }
        if (current_->empty() || known.stage != out_.layers.stages.size())
          for (const auto& b : known.backends) use(b);
        return;
      }
    const auto before = stage_.size();
    const auto backends = std::move(*current_);
    current_->clear();
    build_layer(layer, l);
    Known known{&layer,
                {stage_.begin() + static_cast<std::ptrdiff_t>(before), stage_.end()},
                *current_,
                out_.layers.stages.size()};
    auto fresh = std::move(*current_);
    *current_ = backends;
    for (const auto& b : fresh) use(b);
    known_.push_back(std::move(known));
  }

  /// Gemma 3n and 4: the last layers read the cache of earlier ones.
  int own_cache_layers() const { return model_.num_hidden_layers() - model_.num_kv_shared_layers; }

  void build_layer(const Layer& layer, int l) {
    if (const auto* state = state_of(layer)) {
      push(state_spec(*state), names_.state, l);
      use(own(state_backend(*state), 1));
    }
    if (!std::holds_alternative<LinearAttention>(layer.attention)) add_attention(layer.attention, names_.attention, l);
  }

  void add_attention(const Attention& attention, const std::string& name, int l) {
    if (const auto* full = std::get_if<FullAttention>(&attention))
      add_full(*full, attention, name, l);
    else if (const auto* mla = std::get_if<MlaAttention>(&attention)) {
      if (mla->compress_ratio)
        add_deepseek_v4(*mla, l);
      else
        add_mla(*mla, attention, name, l);
    } else if (const auto* cross = std::get_if<CrossAttention>(&attention)) {
      KvSpec spec = attention_spec(cross->shape);
      spec.type = KvSpecType::cross;
      push(spec, name, l);
    }
  }

  KvSpec attention_spec(const FullAttention& a) const {
    KvSpec spec;
    spec.block_size = out_.block_size;
    spec.num_kv_heads = std::max(1, a.num_kv_heads / tp_);
    spec.head_size = a.head_dim;
    spec.head_size_v = a.v_head_dim > 0 ? a.v_head_dim : a.head_dim;
    spec.dtype = dtype_;
    spec.quant_mode = mode_;
    return spec;
  }

  void add_full(const FullAttention& a, const Attention& attention, const std::string& name, int l) {
    KvSpec spec = attention_spec(a);
    const auto backends = backends_of(attention);
    if (a.indexer) {
      KvSpec index;
      index.type = KvSpecType::mla;
      index.block_size = out_.block_size;
      index.head_size = a.indexer->head_dim;
      index.head_size_v = 0;
      index.dtype = model_dtype(model_);
      customize_spec(backends.front(), index);
      use(backends.front());
      push(index, name + ".index_cache", l);
    }
    const auto& backend = backends.back();
    if (a.sliding_window) {
      spec.type = KvSpecType::sliding_window;
      spec.sliding_window = a.sliding_window;
      spec.block_size = sliding_window_block_size(backend, out_.block_size);
    } else if (a.attention_chunk_size) {
      spec.type = KvSpecType::chunked_local;
      spec.attention_chunk_size = a.attention_chunk_size;
    }
    customize_spec(backend, spec);
    use(backend);
    push(spec, name, l);
  }

  void add_mla(const MlaAttention& a, const Attention& attention, const std::string& name, int l) {
    const auto backends = backends_of(attention);
    const auto& backend = backends.back();
    if (a.indexer && !a.indexer->shared) {
      KvSpec index;
      index.type = KvSpecType::mla;
      index.block_size = out_.block_size;
      index.head_size = a.indexer->head_dim + a.indexer->head_dim / 128 * 4;  // fp8 keys and one float scale per 128
      index.head_size_v = 0;
      index.dtype = KvDType::uint8;
      index.max_tp_shards = 1;
      customize_spec(backends.front(), index);
      use(backends.front());
      push(index, names_.indexer, l);
    }
    KvSpec spec;
    spec.type = KvSpecType::mla;
    spec.block_size = out_.block_size;
    spec.head_size = a.kv_lora_rank + a.qk_rope_head_dim;
    spec.head_size_v = 0;
    spec.max_tp_shards = 1;
    spec.cache_dtype_str = attention_dtype_;
    if (std::string_view(backend.name) == "FLASHMLA_SPARSE" && mode_ == KvQuantMode::fp8_per_tensor)
      spec.cache_dtype_str = out_.cache_dtype = "fp8_ds_mla";  // the only quantised form that it reads;
    spec.dtype = dtype_;
    spec.quant_mode = mode_;
    if (spec.cache_dtype_str == "fp8_ds_mla") spec.state_content_bytes = 656;
    spec.index_group_leader = a.indexer && !a.indexer->shared;
    customize_spec(backend, spec);
    use(backend);
    push(spec, name, l);
  }

  /// Sliding window for all layers; compressed caches, their indexer and the compressors' running states beside it
  /// (models/deepseek_v4/attention.py, compressor.py, v1/attention/backends/mla/sparse_swa.py).
  void add_deepseek_v4(const MlaAttention& a, int l) {
    const auto backends = backends_of(a);
    const bool packed = out_.cache_dtype == "fp8_ds_mla" || out_.cache_dtype == "auto";
    const int alignment = packed ? 576 : 512;
    const int head = a.kv_lora_rank + a.qk_rope_head_dim;
    const int ratio = *a.compress_ratio;
    const auto make = [&](KvSpecType type, int block, int size, KvDType dtype) {
      KvSpec spec;
      spec.type = type;
      spec.block_size = block;
      spec.head_size = size;
      spec.head_size_v = 0;
      spec.dtype = dtype;
      spec.alignment = alignment;
      spec.max_tp_shards = 1;
      return spec;
    };
    const auto cache = [&](KvSpecType type, int block) {
      KvSpec spec = make(type, block, head, packed ? KvDType::uint8 : dtype_);
      spec.cache_dtype_str = "fp8_ds_mla";
      spec.deepseek_v4 = true;
      spec.quant_mode = KvQuantMode::fp8_per_tensor;
      if (packed) spec.state_content_bytes = 584;
      return spec;
    };
    const auto state = [&](int tokens, int dim, int window) {
      KvSpec spec = make(KvSpecType::sliding_window_mla, tokens, dim, KvDType::float32);
      spec.sliding_window = window;
      spec.apply_alignment();
      return spec;
    };
    KvSpec window = cache(KvSpecType::sliding_window_mla, 64);
    window.sliding_window = a.sliding_window.value_or(128);
    window.apply_alignment();
    const auto push_window = [&] {
      use(backends[0]);
      push(window, names_.prefix + "attn.swa_cache", l);
    };
    if (ratio <= 1) return push_window();
    const int coefficient = ratio == 4 ? 2 : 1;  // overlapping windows keep two
    const int rows = ratio == 4 ? 4 : 8;
    if (ratio == 4 && a.indexer) {
      KvSpec index =
          make(KvSpecType::mla, out_.block_size, a.indexer->head_dim + a.indexer->head_dim / 128 * 4, KvDType::uint8);
      index.tokens_per_state = ratio;
      index.apply_alignment();
      customize_spec(backends[1], index);
      use(backends[1]);
      push(index, names_.prefix + "attn.indexer.k_cache", l);
      push(state(rows, 2 * coefficient * a.indexer->head_dim, coefficient * ratio),
           names_.prefix + "attn.indexer.compressor.state_cache", l);
    }
    push_window();
    KvSpec compressed = cache(KvSpecType::mla, out_.block_size);
    compressed.tokens_per_state = ratio;
    compressed.apply_alignment();
    customize_spec(backends[2], compressed);
    use(backends[2]);
    push(compressed, names_.prefix + "attn", l);
    use(backends[3]);
    push(state(rows, 2 * coefficient * head, coefficient * ratio), names_.prefix + "attn.compressor.state_cache", l);
  }

  /// The MTP draft's layers sit on the last stage.
  void add_draft() {
    if (o_.num_speculative_tokens <= 0 || !o_.draft_is_mtp) return;
    int i = 0;
    for (const auto& layer : model_.mtp_layers) {
      if (std::holds_alternative<FullAttention>(layer.attention) ||
          std::holds_alternative<MlaAttention>(layer.attention))
        add_attention(layer.attention, names_.draft, names_.draft_from_zero ? i : model_.num_hidden_layers() + i);
      ++i;
    }
  }

  struct Known {
    const Layer* layer;
    std::vector<KvLayers::Layer> entries;
    std::vector<AttentionBackend> backends;
    std::size_t stage;  // on which the backends are listed already
  };

  const Model& model_;
  const KvSpecOptions& o_;
  std::vector<Known> known_;
  KvSpecs out_;
  LayerNames names_;
  bool with_names_ = false, mm_prefix_ = false, float32_ = false, deepseek_v4_ = false;
  int tp_ = 1, heads_ = 1, kv_heads_ = 1, widest_head_ = 0;
  std::string attention_dtype_;
  KvDType dtype_ = KvDType::bfloat16, conv_ = KvDType::bfloat16, ssm_ = KvDType::bfloat16;
  KvQuantMode mode_ = KvQuantMode::none;
  std::vector<KvLayers::Layer> stage_;
  std::vector<AttentionBackend>* current_ = nullptr;
};

}  // namespace

KvSpecs kv_specs(const Model& model, const KvSpecOptions& options, bool with_names) {
  return Builder(model, options, with_names).build();
}

}  // namespace shardwise
