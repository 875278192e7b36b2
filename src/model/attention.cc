// Which attention each layer has. Field names and their meaning follow the Hugging Face configuration classes and the
// model classes of vLLM 0.32.0 (vllm/model_executor/models).
#include <algorithm>

#include "config/json.h"
#include "model/layers.h"
#include "model/model_types.h"

namespace shardwise {
namespace {

using Kind = LinearAttention::Kind;

bool one_of(const std::string& word, std::initializer_list<const char*> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

FullAttention full_attention(const LayerContext& c, std::size_t layer) {
  const Fields& f = c.fields;
  static constexpr Architecture generic{.o_bias = Bias::field, .qk_norm = QkNorm::field};
  const Architecture& row = c.row ? *c.row : generic;
  FullAttention a;
  a.num_heads = f.integer_at({"num_attention_heads", "n_head", "n_heads", "num_heads"}, layer).value_or(0);
  if (a.num_heads < 1) a.num_heads = f.required({"num_attention_heads", "n_head", "n_heads", "num_heads"});
  if (const auto attn = f.object("attn_config"))  // DBRX, MPT
    if (const auto kv = attn->integer({"kv_n_heads"}, 1)) a.num_kv_heads = *kv;
  if (!a.num_kv_heads)
    a.num_kv_heads = f.integer_at({"n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num",
                                   "num_attention_groups"},
                                  layer)
                         .value_or(0);
  const bool falcon = c.model_type == "falcon" || c.model_type == "RefinedWebModel" || c.model_type == "RefinedWeb";
  if (falcon && !f.boolean({"new_decoder_architecture"}, false) && f.boolean({"multi_query"}, false))
    a.num_kv_heads = 1;
  if (c.model_type == "gpt_bigcode" && f.boolean({"multi_query"}, true)) a.num_kv_heads = 1;
  if (c.model_type == "chatglm" && !f.boolean({"multi_query_attention"}, false)) a.num_kv_heads = a.num_heads;
  if (a.num_kv_heads < 1) a.num_kv_heads = a.num_heads;
  if (a.num_kv_heads > a.num_heads) f.fail("num_key_value_heads", "is larger than num_attention_heads");
  a.head_dim = f.integer_or({"head_dim", "hidden_size_per_head", "kv_channels", "attention_head_dim"}, 0);
  if (a.head_dim < 1) a.head_dim = c.hidden_size / a.num_heads;
  if (c.model_type == "minicpm3") a.head_dim = f.required({"qk_nope_head_dim"}) + f.required({"qk_rope_head_dim"});
  if (a.head_dim < 1) f.fail("head_dim", "is missing and hidden_size is smaller than num_attention_heads");
  a.v_head_dim = a.head_dim;
  const bool field_bias =
      f.boolean({"attention_bias", "use_qkv_bias", "qkv_bias", "use_bias", "bias", "add_qkv_bias"}, false);
  a.qkv_bias = resolve(row.qkv_bias, field_bias);
  a.o_bias =
      resolve(row.o_bias, f.boolean({"o_bias", "attention_out_bias", "attention_bias", "use_bias", "bias"}, false));
  const bool norm_field = f.boolean({"use_qk_norm", "qk_norm", "qk_layernorm"}, false);
  a.qk_norm = row.qk_norm == QkNorm::field ? norm_field : row.qk_norm != QkNorm::none;
  a.qk_norm_full = row.qk_norm == QkNorm::all_heads;
  a.output_gate = f.boolean({"attn_output_gate"}, row.output_gate);
  a.sinks = row.sinks;
  return a;
}

// Sliding-window layers by model, where config.json gives one pattern for all layers instead of layer_types.
bool slides(const LayerContext& c, int layer) {
  const Fields& f = c.fields;
  if (c.model_type == "gemma2") return layer % 2 == 0;
  if (c.model_type.starts_with("gemma3") || c.model_type == "cohere2" || c.model_type.starts_with("gemma4")) {
    const int otherwise = c.model_type == "cohere2" ? 4 : c.model_type.starts_with("gemma3n") ? 5 : 6;
    const int period = f.integer_or({"sliding_window_pattern", "_sliding_window_pattern"}, otherwise);
    return period > 0 && (layer + 1) % period != 0;
  }
  if (const Json* pattern = f.find({"sliding_window_pattern"}); pattern && pattern->is_string()) {  // "LLLG" (EXAONE 4)
    const auto& text = pattern->get_ref<const std::string&>();
    return !text.empty() && text[static_cast<std::size_t>(layer) % text.size()] == 'L' && layer + 1 < c.num_layers;
  }
  if (c.model_type == "olmo3") return (layer + 1) % 4 != 0;
  if (c.model_type == "gpt_oss") return layer % 2 == 0;
  if (f.has("max_window_layers") && f.has("use_sliding_window")) return f.boolean({"use_sliding_window"}, false);
  return true;
}

void apply_window(const LayerContext& c, const std::vector<std::string>& types, int layer, FullAttention& a) {
  const Fields& f = c.fields;
  const auto i = static_cast<std::size_t>(layer);
  const auto window = f.integer({"sliding_window", "sliding_window_size"}, 0);
  const auto chunk = c.model_type.starts_with("mimo_v2") ? std::nullopt : f.integer({"attention_chunk_size"}, 0);
  if (i < types.size()) {
    if (one_of(types[i], {"sliding_attention", "local_attention", "sliding"}) && window.value_or(0) > 0)
      a.sliding_window = window;
    if (types[i] == "chunked_attention" && chunk.value_or(0) > 0) a.attention_chunk_size = chunk;
    return;
  }
  if (chunk.value_or(0) > 0 && c.model_type.starts_with("llama4")) {
    const auto no_rope = f.integers("no_rope_layers");  // 1 = rotary (chunked) layer
    const int step = std::max(1, f.integer_or({"no_rope_layer_interval"}, 4));
    const bool rope = i < no_rope.size() ? no_rope[i] != 0 : (layer + 1) % step != 0;
    if (rope) a.attention_chunk_size = chunk;
    return;
  }
  if (window.value_or(0) > 0 && f.boolean({"use_sliding_window"}, true) && slides(c, layer)) a.sliding_window = window;
}

// Gemma 4: full layers have wider heads, fewer of them, and may take their values from the keys.
void apply_gemma4(const LayerContext& c, FullAttention& a) {
  if (!c.model_type.starts_with("gemma4") || a.sliding_window) return;
  const Fields& f = c.fields;
  a.head_dim = a.v_head_dim = f.integer_or({"global_head_dim"}, a.head_dim);
  a.k_eq_v = f.boolean({"attention_k_eq_v"}, false);
  if (a.k_eq_v) a.num_kv_heads = f.integer_or({"num_global_key_value_heads"}, a.num_kv_heads);
}

// MiMo-V2: hybrid_layer_pattern 1 = sliding window, with head counts of its own and a sink.
void apply_mimo_v2(const LayerContext& c, int layer, FullAttention& a) {
  const Fields& f = c.fields;
  const auto pattern = f.integers("hybrid_layer_pattern");
  const bool sliding =
      static_cast<std::size_t>(layer) < pattern.size() && pattern[static_cast<std::size_t>(layer)] == 1;
  a.v_head_dim = f.integer_or({"v_head_dim"}, a.head_dim);
  a.sliding_window.reset();
  a.sinks = f.boolean({"add_full_attention_sink_bias"}, false);
  if (!sliding) return;
  a.num_heads = f.integer_or({"swa_num_attention_heads"}, a.num_heads);
  a.num_kv_heads = f.integer_or({"swa_num_key_value_heads"}, a.num_kv_heads);
  a.head_dim = f.integer_or({"swa_head_dim"}, a.head_dim);
  a.v_head_dim = f.integer_or({"swa_v_head_dim"}, a.v_head_dim);
  a.sliding_window = f.integer({"sliding_window", "sliding_window_size"}, 1);
  a.sinks = f.boolean({"add_swa_attention_sink_bias"}, false);
}

// MiniMax-M3: an indexer selects blocks of keys in the layers that sparse_attention_freq marks.
void apply_block_sparse(const LayerContext& c, int layer, FullAttention& a) {
  const auto sparse = c.fields.object("sparse_attention_config");
  if (!sparse || !sparse->boolean({"use_sparse_attention"}, false)) return;
  const auto freq = sparse->integers("sparse_attention_freq");
  const auto i = static_cast<std::size_t>(layer);
  if (i < freq.size() && freq[i] == 0) return;
  a.indexer = SparseIndexer{
      .num_heads = sparse->required({"sparse_num_index_heads"}),
      .head_dim = sparse->required({"sparse_index_dim"}),
      .topk = sparse->integer_or({"sparse_topk_blocks"}, 0) * sparse->integer_or({"sparse_block_size"}, 1),
      .shared = false,
      .block_size = sparse->integer_or({"sparse_block_size"}, 0),
      .rope_interleave = false};
}

bool is_mla_model(const LayerContext& c) {
  if (find_model_type(c.model_type).mla || c.model_type == "deepseek_ref")
    return c.fields.has("compress_ratios") ? c.fields.has("head_dim") : c.fields.has("kv_lora_rank");
  return !c.row && c.fields.has("kv_lora_rank") && c.fields.has("qk_rope_head_dim");
}

MlaAttention mla_attention(const LayerContext& c, int layer) {
  const Fields& f = c.fields;
  MlaAttention a;
  a.num_heads = f.required({"num_attention_heads", "n_head"});
  a.q_lora_rank = f.integer({"q_lora_rank"}, 1);
  a.qk_rope_head_dim = f.required({"qk_rope_head_dim"});
  a.qkv_bias = f.boolean({"attention_bias"}, false);
  a.output_gate = f.boolean({"mla_use_output_gate"}, false);
  const auto ratios = f.integers("compress_ratios");
  if (!ratios.empty()) {
    const int head_dim = f.required({"head_dim"});
    if (head_dim <= a.qk_rope_head_dim) f.fail("head_dim", "is not larger than qk_rope_head_dim");
    a.kv_lora_rank = head_dim - a.qk_rope_head_dim;
    a.qk_nope_head_dim = a.kv_lora_rank;
    a.v_head_dim = head_dim;
    a.compress_ratio = static_cast<std::size_t>(layer) < ratios.size() ? ratios[static_cast<std::size_t>(layer)] : 0;
    a.sliding_window = f.integer({"sliding_window", "sliding_window_size"}, 0);
    a.o_groups = f.integer_or({"o_groups"}, 0);
    a.o_lora_rank = f.integer_or({"o_lora_rank"}, 0);
  } else {
    a.kv_lora_rank = f.required({"kv_lora_rank"});
    a.qk_nope_head_dim = f.required({"qk_nope_head_dim"});
    a.v_head_dim = f.required({"v_head_dim"});
  }
  if (const auto heads = f.integer({"index_n_heads"}, 1); heads && (ratios.empty() || a.compress_ratio == 4)) {
    const auto types = f.texts("indexer_types");
    const auto i = static_cast<std::size_t>(layer);
    a.indexer = SparseIndexer{.num_heads = *heads,
                              .head_dim = f.required({"index_head_dim"}),
                              .topk = f.integer_or({"index_topk"}, 0),
                              .shared = i < types.size() && types[i] == "shared",
                              .block_size = 0,
                              .rope_interleave = f.loose_boolean({"indexer_rope_interleave"}, false)};
  }
  return a;
}

LinearAttention gated_delta_net(const Fields& f) {
  LinearAttention a{.kind = Kind::gated_delta_net};
  a.num_heads = f.required({"linear_num_value_heads"});
  a.num_key_heads = f.required({"linear_num_key_heads"});
  a.head_dim = f.required({"linear_value_head_dim"});
  a.key_head_dim = f.required({"linear_key_head_dim"});
  a.conv_kernel = f.integer_or({"linear_conv_kernel_dim"}, 4);
  return a;
}

LinearAttention kimi_delta(const Fields& f) {
  LinearAttention a{.kind = Kind::kimi_delta};
  a.num_heads = a.num_key_heads = f.required({"num_heads"});
  a.head_dim = a.key_head_dim = f.required({"head_dim"});
  a.conv_kernel = f.integer_or({"short_conv_kernel_size"}, 4);
  a.full_rank_gate = f.loose_boolean({"use_full_rank_gate"}, false);
  return a;
}

LinearAttention mamba(const LayerContext& c) {
  const Fields& f = c.fields;
  LinearAttention a;
  const bool first = one_of(c.model_type, {"mamba", "falcon_mamba", "jamba", "zamba"});
  a.kind = first ? Kind::mamba1 : Kind::mamba2;
  a.conv_bias = f.loose_boolean({"use_conv_bias", "mamba_conv_bias"}, true);
  a.proj_bias = f.loose_boolean({"use_bias", "mamba_proj_bias"}, false);
  a.inner_norm = f.loose_boolean({"mamba_rms_norm", "rms_norm"}, true);
  a.state_size = f.required({"ssm_state_size", "mamba_d_state", "state_size", "mamba2_d_state"});
  a.conv_kernel = f.integer_or({"conv_kernel", "mamba_d_conv", "linear_conv_kernel_dim"}, 4);
  const int expand = f.integer_or({"mamba_expand", "expand"}, 2);
  if (first) {
    a.intermediate_size = c.hidden_size * expand;
    const Json* rank = f.find({"mamba_dt_rank", "time_step_rank"});
    a.time_step_rank =
        rank && rank->is_number() ? f.integer_or({"mamba_dt_rank", "time_step_rank"}, 0) : (c.hidden_size + 15) / 16;
    return a;
  }
  a.head_dim = f.integer_or({"mamba_head_dim", "mamba_d_head", "mamba_headdim", "head_dim"}, 64);
  a.num_heads = f.integer_or({"mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads"}, 0);
  if (a.num_heads < 1) a.num_heads = c.hidden_size * expand / std::max(1, a.head_dim);
  a.num_key_heads = std::max(1, f.integer_or({"n_groups", "mamba_n_groups", "mamba_ngroups"}, 1));
  a.intermediate_size = a.num_heads * a.head_dim;
  a.chunk_size =
      std::max(1, f.integer_or({"mamba_chunk_size", "chunk_size"}, 256));  // ModelConfig.get_mamba_chunk_size
  return a;
}

// Kind of every layer as a word: "full_attention", "sliding_attention", "chunked_attention", "linear_attention",
// "mamba", "conv", "none". Empty when config.json names none: then all layers have attention.
std::vector<std::string> layer_types(const LayerContext& c) {
  const Fields& f = c.fields;
  const auto n = static_cast<std::size_t>(c.num_layers);
  std::vector<std::string> types;
  const auto by = [&](auto&& word) {
    for (std::size_t i = 0; i < n; ++i) types.emplace_back(word(static_cast<int>(i)));
    return types;
  };
  if (const auto pattern = mixer_pattern(c); !pattern.empty())
    return by([&](int i) {
      const char kind = pattern[static_cast<std::size_t>(i)];
      return kind == 'M' ? "mamba" : kind == '*' ? "full_attention" : "none";
    });
  if (const auto list = f.find({"layer_types"}); list && list->is_array() && !list->empty()) {
    types = f.texts("layer_types");
    if (types.size() < n) f.fail("layer_types", "has fewer entries than num_hidden_layers");
    types.resize(n);
    return types;
  }
  if (const auto linear = f.object("linear_attn_config")) {
    const auto kda = linear->integers("kda_layers");  // counted from 1
    return by([&](int i) {
      return std::find(kda.begin(), kda.end(), i + 1) != kda.end() ? "linear_attention" : "full_attention";
    });
  }
  if (const auto list = f.integers("attn_type_list"); !list.empty())  // MiniMax-Text-01: 0 = lightning
    return by([&](int i) {
      return static_cast<std::size_t>(i) < list.size() && list[static_cast<std::size_t>(i)] == 0 ? "linear_attention"
                                                                                                 : "full_attention";
    });
  if (const auto every = f.integer({"full_attention_interval"}, 1); every && f.has("linear_num_value_heads"))
    return by([&](int i) { return (i + 1) % *every == 0 ? "full_attention" : "linear_attention"; });
  if (const auto period = f.integer({"attn_layer_period"}, 1)) {
    const int offset = f.integer_or({"attn_layer_offset"}, 0);
    return by([&](int i) { return i % *period == offset ? "full_attention" : "mamba"; });
  }
  if (c.model_type == "bamba") {
    const auto list = f.integers("attn_layer_indices");
    return by([&](int i) { return std::find(list.begin(), list.end(), i) != list.end() ? "full_attention" : "mamba"; });
  }
  if (one_of(c.model_type, {"mamba", "mamba2", "falcon_mamba"})) return by([](int) { return "mamba"; });
  return types;
}

}  // namespace

std::string mixer_pattern(const LayerContext& c) {
  const Fields& f = c.fields;
  std::string pattern = f.text({"hybrid_override_pattern"});
  if (pattern.empty() && c.model_type == "nemotron_h") {
    for (const auto& word : f.texts("layers_block_type"))
      pattern += word == "mamba" ? 'M' : word == "attention" ? '*' : word == "moe" ? 'E' : '-';
  }
  if (pattern.empty()) return pattern;
  if (pattern.size() < static_cast<std::size_t>(c.num_layers))
    f.fail("hybrid_override_pattern", "has fewer entries than num_hidden_layers");
  pattern.resize(static_cast<std::size_t>(c.num_layers));
  return pattern;
}

LinearAttention read_state_mixer(const LayerContext& context) { return mamba(context); }

std::vector<Attention> read_attention(const LayerContext& c) {
  const Fields& f = c.fields;
  std::vector<Attention> out;
  out.reserve(static_cast<std::size_t>(c.num_layers));
  const auto types = layer_types(c);
  const bool mla = is_mla_model(c);
  const Json* blocks = f.find({"block_configs"});  // Nemotron-NAS
  // Most models state one kind of each for all layers: it is read once.
  const bool full_by_layer =
      f.is_list({"num_attention_heads", "n_head", "n_heads", "num_heads"}) ||
      f.is_list({"n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups"});
  const bool mla_by_layer = f.is_list({"compress_ratios"}) || f.is_list({"indexer_types"});
  std::optional<FullAttention> full;
  std::optional<MlaAttention> latent;
  const auto cross = f.integers("cross_attention_layers");
  for (int layer = 0; layer < c.num_layers; ++layer) {
    const auto i = static_cast<std::size_t>(layer);
    const std::string type = i < types.size() ? types[i] : "";
    if (type == "none") {
      out.emplace_back(NoAttention{});
    } else if (type == "mamba" || type == "mamba2") {
      out.emplace_back(mamba(c));
    } else if (type == "conv") {
      out.emplace_back(LinearAttention{.kind = Kind::short_conv,
                                       .conv_kernel = f.integer_or({"conv_L_cache"}, 3),
                                       .intermediate_size = f.integer_or({"conv_dim"}, c.hidden_size)});
    } else if (type == "linear_attention") {
      if (const auto linear = f.object("linear_attn_config")) {
        out.emplace_back(kimi_delta(*linear));
      } else if (f.has("linear_num_value_heads")) {
        out.emplace_back(gated_delta_net(f));
      } else {
        LinearAttention a{.kind = Kind::lightning};
        a.num_heads = a.num_key_heads = f.required({"num_attention_heads"});
        a.head_dim = a.key_head_dim = f.integer_or({"head_dim"}, c.hidden_size / a.num_heads);
        out.emplace_back(a);
      }
    } else if (mla) {
      if (!latent || mla_by_layer) latent = mla_attention(c, layer);
      out.emplace_back(*latent);
    } else {
      if (!full || full_by_layer) full = full_attention(c, i);
      FullAttention a = *full;
      if (blocks && blocks->is_array() && i < blocks->size() && (*blocks)[i].is_object()) {
        const Fields block((*blocks)[i], "block_configs[" + std::to_string(i) + "]", f.context());
        if (const auto attention = block.object("attention")) {
          if (attention->boolean({"no_op"}, false) || attention->boolean({"replace_with_linear"}, false)) {
            out.emplace_back(NoAttention{});
            continue;
          }
          if (const auto group = attention->integer({"n_heads_in_group"}, 1))
            a.num_kv_heads = std::max(1, a.num_heads / *group);
        }
      }
      apply_window(c, types, layer, a);
      apply_gemma4(c, a);
      if (c.model_type.starts_with("mimo_v2")) apply_mimo_v2(c, layer, a);
      apply_block_sparse(c, layer, a);
      if (std::find(cross.begin(), cross.end(), layer) != cross.end())
        out.emplace_back(CrossAttention{a});
      else
        out.emplace_back(a);
    }
  }
  return out;
}

}  // namespace shardwise
