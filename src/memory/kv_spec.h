#pragma once
// What one attention layer asks of the KV cache: vLLM's KVCacheSpec classes (v1/kv_cache_interface.py) as one value
// type.
#include <array>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"

namespace shardwise {

enum class KvSpecType {
  full_attention,
  mla,
  sliding_window,
  sliding_window_mla,
  chunked_local,
  mamba,
  circular_buffer,
  cross
};
enum class KvDType { bfloat16, float16, float32, uint8, fp8_e4m3, fp8_e5m2, int8 };
enum class KvQuantMode {
  none,
  fp8_per_tensor,
  int8_per_token_head,
  fp8_per_token_head,
  int4_per_token_head,
  nvfp4,
  nvfp4_ds_mla
};
enum class MambaType { mamba1, mamba2, gdn_attn, linear, short_conv, kda_attn };

constexpr int bytes_of(KvDType dtype) {
  return dtype == KvDType::float32 ? 4 : dtype == KvDType::bfloat16 || dtype == KvDType::float16 ? 2 : 1;
}

/// One tensor of a recurrent state: its shape on one rank (dim 1 = 0 for a vector) and type.
struct StateTensor {
  std::array<std::int64_t, 3> shape{};
  int dims = 0;
  KvDType dtype = KvDType::bfloat16;
  std::int64_t bytes() const {
    std::int64_t n = bytes_of(dtype);
    for (int i = 0; i < dims; ++i) n *= shape[static_cast<std::size_t>(i)];
    return n;
  }
  friend bool operator==(const StateTensor&, const StateTensor&) = default;
};

/// KV cache of one layer on one rank. Fields that a type does not use keep their default.
struct KvSpec {
  KvSpecType type = KvSpecType::full_attention;
  int block_size = 16;                    ///< tokens
  bool dcp_sharded = true;                ///< decode context parallelism spreads its tokens over ranks
  std::optional<int> stride_alignment;    ///< bytes that the stride between blocks must be a multiple of
  std::optional<int> stride_multiple_of;  ///< the same, given as whole kernel blocks of up to n tokens (MultipleOf)
  // attention
  int num_kv_heads = 1;
  int head_size = 0, head_size_v = 0;
  KvDType dtype = KvDType::bfloat16;
  KvQuantMode quant_mode = KvQuantMode::none;
  std::optional<std::int64_t> page_size_padded;
  std::optional<int> num_head_slots;        ///< heads of the stored page where a backend packs differently
  std::optional<int> state_content_bytes;   ///< bytes of one stored state of one head; nullopt = dense K and V
  int tokens_per_state = 1;                 ///< tokens folded into one stored state (DeepSeek-V4 compression)
  std::optional<int> max_tp_shards;         ///< TP ranks beyond this hold copies; nullopt = not known
  std::optional<int> sliding_window;        ///< tokens
  std::optional<int> attention_chunk_size;  ///< tokens
  int extra_retained_tokens = 0;
  bool non_causal = false, prefix_cacheable = true;
  // MLA
  std::optional<std::string> cache_dtype_str;
  std::optional<int> alignment;  ///< bytes that the page is rounded up to
  bool deepseek_v4 = false;      ///< model_version == "deepseek_v4"
  bool index_group_leader = false;
  // recurrent state
  std::array<StateTensor, 4> states{};
  int num_states_tensors = 0;
  MambaType mamba_type = MambaType::mamba2;
  bool mamba_align = false;  ///< mamba_cache_mode "align", else "none"
  int num_speculative_blocks = 0;
  int num_prefill_checkpoint_blocks = 0;  ///< state exported inside one prefill (mamba2, FlashKDA); with align only

  bool is_attention() const { return type != KvSpecType::mamba; }
  bool is_full() const { return type == KvSpecType::full_attention || type == KvSpecType::mla; }
  bool is_sliding() const { return type == KvSpecType::sliding_window || type == KvSpecType::sliding_window_mla; }

  std::int64_t unpadded_page_size() const {
    if (type == KvSpecType::mamba) {
      std::int64_t n = 0;
      for (int i = 0; i < num_states_tensors; ++i) n += states[static_cast<std::size_t>(i)].bytes();
      return n;
    }
    const std::int64_t content = state_content_bytes.value_or((head_size + head_size_v) * bytes_of(dtype));
    return std::int64_t{num_head_slots.value_or(num_kv_heads)} * (block_size / tokens_per_state) * content;
  }
  /// Bytes of one block of one layer.
  std::int64_t page_size() const { return page_size_padded.value_or(unpadded_page_size()); }
  /// What vLLM's dataclass does on construction: rounds the page up to `alignment`.
  void apply_alignment() {
    if (!alignment) return;
    const auto actual = unpadded_page_size();
    if (const auto padded = round_up(actual, *alignment); padded != actual) page_size_padded = padded;
  }
  KvSpec with_block_size(int size) const {
    KvSpec copy = *this;
    copy.block_size = size;
    copy.apply_alignment();
    return copy;
  }
  /// Bytes the stride between blocks is rounded up to (get_block_stride_alignment).
  std::int64_t block_stride_alignment() const {
    if (!stride_multiple_of) return stride_alignment.value_or(1);
    const int kernel = std::gcd(*stride_multiple_of, block_size);
    return kernel == block_size ? 1 : with_block_size(kernel).page_size();
  }
  friend bool operator==(const KvSpec&, const KvSpec&) = default;
};

/// Memory order of the cache: layer, block, head, token, content (v1/kv_cache_layout.py).
enum class KvLayout { LBHNC, LBNHC, LHBNC, BLHNC, BLNHC, BHLNC };
constexpr bool is_block_outermost(KvLayout l) {
  return l == KvLayout::BLHNC || l == KvLayout::BLNHC || l == KvLayout::BHLNC;
}
constexpr bool is_block_compact(KvLayout l) { return l != KvLayout::LHBNC && l != KvLayout::BHLNC; }
constexpr bool is_layer_compact(KvLayout l) {
  return l == KvLayout::LBHNC || l == KvLayout::LBNHC || l == KvLayout::LHBNC;
}

/// The attention layers of one engine in registration order. All TP ranks of a stage report the same.
struct KvLayers {
  struct Layer {
    int spec = 0;   ///< index into specs
    int name = 0;   ///< index into names
    int index = 0;  ///< layer number, fills the {} of the name
  };
  std::vector<KvSpec> specs;               ///< distinct
  std::vector<std::string> names;          ///< "model.layers.{}.self_attn.attn"
  std::vector<std::vector<Layer>> stages;  ///< per pipeline stage

  /// Index of an equal spec, added if new.
  int intern(const KvSpec& spec) {
    for (std::size_t i = 0; i < specs.size(); ++i)
      if (specs[i] == spec) return static_cast<int>(i);
    specs.push_back(spec);
    return static_cast<int>(specs.size()) - 1;
  }
};

}  // namespace shardwise
