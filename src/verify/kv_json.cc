#include "verify/kv_json.h"

#include <algorithm>
#include <iterator>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "config/quantity.h"

namespace shardwise {

namespace {

template <class E>
struct Name {
  E value;
  const char* text;
};

constexpr Name<KvSpecType> kTypes[] = {
    {KvSpecType::full_attention, "FullAttentionSpec"},        {KvSpecType::mla, "MLAAttentionSpec"},
    {KvSpecType::sliding_window, "SlidingWindowSpec"},        {KvSpecType::sliding_window_mla, "SlidingWindowMLASpec"},
    {KvSpecType::chunked_local, "ChunkedLocalAttentionSpec"}, {KvSpecType::mamba, "MambaSpec"},
    {KvSpecType::circular_buffer, "CircularBufferSpec"},      {KvSpecType::cross, "CrossAttentionSpec"}};
constexpr Name<KvDType> kDTypes[] = {
    {KvDType::bfloat16, "bfloat16"}, {KvDType::float16, "float16"},        {KvDType::float32, "float32"},
    {KvDType::uint8, "uint8"},       {KvDType::fp8_e4m3, "float8_e4m3fn"}, {KvDType::fp8_e5m2, "float8_e5m2"},
    {KvDType::int8, "int8"}};
constexpr Name<KvQuantMode> kModes[] = {{KvQuantMode::none, "NONE"},
                                        {KvQuantMode::fp8_per_tensor, "FP8_PER_TENSOR"},
                                        {KvQuantMode::int8_per_token_head, "INT8_PER_TOKEN_HEAD"},
                                        {KvQuantMode::fp8_per_token_head, "FP8_PER_TOKEN_HEAD"},
                                        {KvQuantMode::int4_per_token_head, "INT4_PER_TOKEN_HEAD"},
                                        {KvQuantMode::nvfp4, "NVFP4"},
                                        {KvQuantMode::nvfp4_ds_mla, "NVFP4_DS_MLA"}};
constexpr Name<KvLayout> kLayouts[] = {{KvLayout::LBHNC, "LBHNC"}, {KvLayout::LBNHC, "LBNHC"},
                                       {KvLayout::LHBNC, "LHBNC"}, {KvLayout::BLHNC, "BLHNC"},
                                       {KvLayout::BLNHC, "BLNHC"}, {KvLayout::BHLNC, "BHLNC"}};
constexpr Name<MambaType> kMamba[] = {{MambaType::mamba1, "MAMBA1"},         {MambaType::mamba2, "MAMBA2"},
                                      {MambaType::gdn_attn, "GDN_ATTN"},     {MambaType::linear, "LINEAR"},
                                      {MambaType::short_conv, "SHORT_CONV"}, {MambaType::kda_attn, "KDA_ATTN"}};

template <class E, std::size_t N>
std::string name_of(const Name<E> (&table)[N], E value) {
  for (const auto& row : table)
    if (row.value == value) return row.text;
  return "";
}

template <class E, std::size_t N>
E value_of(const Name<E> (&table)[N], const std::string& text, const std::string& file, const char* what) {
  for (const auto& row : table)
    if (text == row.text) return row.value;
  throw InputError(file, 0, what, "unknown '" + text + "'");
}

int whole(std::string_view text) {
  std::int64_t value = 0;
  if (!parse_number(text, value)) throw InputError("layers", 0, "", "no layer number: '" + std::string(text) + "'");
  return static_cast<int>(value);
}

/// {0, 1, 2, 5} of "0-2,5".
std::vector<int> numbers(const std::string& ranges) {
  std::vector<int> out;
  for (const std::string_view part : split(ranges, ',')) {
    const auto dash = std::min(part.find('-'), part.size());
    const int first = whole(part.substr(0, dash)), last = dash == part.size() ? first : whole(part.substr(dash + 1));
    for (int i = first; i <= last; ++i) out.push_back(i);
  }
  return out;
}

std::string ranges(std::vector<int> values) {
  std::sort(values.begin(), values.end());
  std::string out;
  for (std::size_t i = 0; i < values.size();) {
    std::size_t j = i;
    while (j + 1 < values.size() && values[j + 1] == values[j] + 1) ++j;
    if (!out.empty()) out += ',';
    out += std::to_string(values[i]);
    if (j > i) out += '-' + std::to_string(values[j]);
    i = j + 1;
  }
  return out;
}

/// 16 of "MultipleOf(16)".
int multiple_of(const std::string& text, const std::string& file) {
  constexpr std::string_view kBefore = "MultipleOf(";
  std::int64_t value = 0;
  if (text.starts_with(kBefore) && text.ends_with(')') &&
      parse_number(std::string_view(text).substr(kBefore.size(), text.size() - kBefore.size() - 1), value))
    return static_cast<int>(value);
  throw InputError(file, 0, "block_stride_alignment", "unknown '" + text + "'");
}

KvSpec spec_from_json(const Json& json, const std::string& file) {
  KvSpec s;
  s.type = value_of(kTypes, json.at("type").get<std::string>(), file, "type");
  s.block_size = json.at("block_size").get<int>();
  const auto number = [&](const char* key, auto& out) {
    if (const auto value = int_at(json, key)) out = *value;
  };
  if (s.type == KvSpecType::mamba) {
    s.dcp_sharded = false;
    s.mamba_type = value_of(
        kMamba, json.at("mamba_type").get<std::string>().substr(std::string("MambaAttentionBackendEnum.").size()), file,
        "mamba_type");
    s.mamba_align = json.value("mamba_cache_mode", "none") == "align";
    const auto& shapes = json.at("shapes");
    const auto& dtypes = json.at("dtypes");
    for (std::size_t i = 0; i < shapes.size() && i < s.states.size(); ++i) {
      auto& state = s.states[i];
      for (const auto& n : shapes[i]) state.shape[static_cast<std::size_t>(state.dims++)] = n.get<std::int64_t>();
      state.dtype = value_of(kDTypes, dtypes[i].get<std::string>(), file, "dtypes");
      s.num_states_tensors = static_cast<int>(i) + 1;
    }
    s.tokens_per_state = -1;
  } else {
    s.dtype = value_of(kDTypes, json.at("dtype").get<std::string>(), file, "dtype");
    s.quant_mode = value_of(kModes, json.value("kv_quant_mode", "NONE"), file, "kv_quant_mode");
  }
  number("num_kv_heads", s.num_kv_heads);
  number("head_size", s.head_size);
  number("head_size_v", s.head_size_v);
  number("tokens_per_state", s.tokens_per_state);
  number("num_speculative_blocks", s.num_speculative_blocks);
  number("extra_retained_tokens", s.extra_retained_tokens);
  const auto maybe = [&](const char* key, std::optional<int>& out) { out = int_at(json, key); };
  maybe("sliding_window", s.sliding_window);
  maybe("attention_chunk_size", s.attention_chunk_size);
  maybe("alignment", s.alignment);
  maybe("max_tp_shards", s.max_tp_shards);
  maybe("num_head_slots", s.num_head_slots);
  maybe("state_content_bytes", s.state_content_bytes);
  if (const auto it = json.find("page_size_padded"); it != json.end()) s.page_size_padded = it->get<std::int64_t>();
  if (const auto it = json.find("block_stride_alignment"); it != json.end()) {
    if (it->is_number())
      s.stride_alignment = it->get<int>();
    else
      s.stride_multiple_of = multiple_of(it->get<std::string>(), file);
  }
  s.cache_dtype_str = text_at(json, "cache_dtype_str");
  s.deepseek_v4 = json.value("model_version", "") == "deepseek_v4";
  s.dcp_sharded = json.value("dcp_sharded", s.dcp_sharded);
  s.non_causal = json.value("non_causal", false);
  s.prefix_cacheable = json.value("prefix_cacheable", true);
  return s;
}

Json spec_to_json(const KvSpec& s) {
  Json out{{"type", to_string(s.type)}, {"block_size", s.block_size}};
  if (s.type == KvSpecType::mamba) {
    Json shapes = Json::array(), dtypes = Json::array();
    for (int i = 0; i < s.num_states_tensors; ++i) {
      const auto& state = s.states[static_cast<std::size_t>(i)];
      Json shape = Json::array();
      for (int d = 0; d < state.dims; ++d) shape.push_back(state.shape[static_cast<std::size_t>(d)]);
      shapes.push_back(shape);
      dtypes.push_back(to_string(state.dtype));
    }
    out["shapes"] = shapes;
    out["dtypes"] = dtypes;
    out["mamba_type"] = "MambaAttentionBackendEnum." + name_of(kMamba, s.mamba_type);
    out["mamba_cache_mode"] = s.mamba_align ? "align" : "none";
    out["num_speculative_blocks"] = s.num_speculative_blocks;
  } else {
    out["num_kv_heads"] = s.num_kv_heads;
    out["head_size"] = s.head_size;
    out["head_size_v"] = s.head_size_v;
    if (s.sliding_window) out["sliding_window"] = *s.sliding_window;
    if (s.attention_chunk_size) out["attention_chunk_size"] = *s.attention_chunk_size;
    if (s.cache_dtype_str) out["cache_dtype_str"] = *s.cache_dtype_str;
    if (s.alignment) out["alignment"] = *s.alignment;
    out["dtype"] = to_string(s.dtype);
    out["kv_quant_mode"] = to_string(s.quant_mode);
    if (s.state_content_bytes) out["state_content_bytes"] = *s.state_content_bytes;
    if (s.max_tp_shards) out["max_tp_shards"] = *s.max_tp_shards;
    if (s.num_head_slots) out["num_head_slots"] = *s.num_head_slots;
    if (s.is_sliding()) out["extra_retained_tokens"] = s.extra_retained_tokens;
    if (s.is_full()) out["non_causal"] = s.non_causal;
    if (s.deepseek_v4) out["model_version"] = "deepseek_v4";
  }
  out["tokens_per_state"] = s.tokens_per_state;
  if (s.page_size_padded) out["page_size_padded"] = *s.page_size_padded;
  out["dcp_sharded"] = s.dcp_sharded;
  if (s.stride_alignment) out["block_stride_alignment"] = *s.stride_alignment;
  if (s.stride_multiple_of) out["block_stride_alignment"] = "MultipleOf(" + std::to_string(*s.stride_multiple_of) + ")";
  out["prefix_cacheable"] = s.prefix_cacheable;
  out["page_size_bytes"] = s.page_size();
  return out;
}

}  // namespace

std::string to_string(KvSpecType type) { return name_of(kTypes, type); }
std::string to_string(KvDType dtype) { return name_of(kDTypes, dtype); }
std::string to_string(KvQuantMode mode) { return name_of(kModes, mode); }
std::string to_string(KvLayout layout) { return name_of(kLayouts, layout); }
KvLayout parse_kv_layout(const std::string& text) { return value_of(kLayouts, text, "", "kv_cache_layout"); }

KvLayers kv_layers_from_json(const Json& stages, const std::string& file) {
  KvLayers out;
  for (const auto& stage : stages) {
    auto& layers = out.stages.emplace_back();
    for (const auto& item : stage) {
      const int spec = out.intern(spec_from_json(item, file));
      for (const auto& [pattern, indices] : item.at("layers").items()) {
        auto it = std::find(out.names.begin(), out.names.end(), pattern);
        if (it == out.names.end()) it = out.names.insert(out.names.end(), pattern);
        for (const int index : numbers(indices.get<std::string>()))
          layers.push_back({spec, static_cast<int>(it - out.names.begin()), index});
      }
    }
    // Registration order: by layer, drafters last; within a layer in the order in which the specs are listed.
    std::stable_sort(layers.begin(), layers.end(), [&](const auto& a, const auto& b) {
      const bool mtp_a = out.names[static_cast<std::size_t>(a.name)].starts_with("mtp."),
                 mtp_b = out.names[static_cast<std::size_t>(b.name)].starts_with("mtp.");
      return mtp_a != mtp_b ? mtp_b : a.index < b.index;
    });
  }
  return out;
}

Json kv_stages_to_json(const KvLayers& layers) {
  Json out = Json::array();
  for (const auto& stage : layers.stages) {
    std::vector<int> order;
    for (const auto& layer : stage)
      if (std::find(order.begin(), order.end(), layer.spec) == order.end()) order.push_back(layer.spec);
    Json list = Json::array();
    for (const int s : order) {
      Json item = spec_to_json(layers.specs[static_cast<std::size_t>(s)]);
      Json names = Json::object();
      for (std::size_t n = 0; n < layers.names.size(); ++n) {
        std::vector<int> indices;
        for (const auto& layer : stage)
          if (layer.spec == s && layer.name == static_cast<int>(n)) indices.push_back(layer.index);
        if (!indices.empty()) names[layers.names[n]] = ranges(indices);
      }
      // Specs that differ only in what is not recorded count as one.
      const auto same = std::find_if(list.begin(), list.end(), [&](const Json& other) {
        Json bare = other;
        bare.erase("layers");
        return bare == item;
      });
      if (same == list.end()) {
        item["layers"] = names;
        list.push_back(item);
        continue;
      }
      for (const auto& [pattern, indices] : names.items()) {
        auto& held = (*same)["layers"][pattern];
        auto all = held.is_string() ? numbers(held.get<std::string>()) : std::vector<int>{};
        for (const int i : numbers(indices.get<std::string>())) all.push_back(i);
        held = ranges(all);
      }
    }
    out.push_back(list);
  }
  return out;
}

}  // namespace shardwise
