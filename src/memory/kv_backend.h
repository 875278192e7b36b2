#pragma once
// Which attention backend vLLM picks on an NVIDIA GPU, as far as the KV cache depends on it: block sizes, alignment,
// layout (platforms/cuda.py:_get_backend_priorities and the backends' own declarations).
#include <optional>
#include <vector>

#include "hardware/generations.h"
#include "memory/kv_spec.h"

namespace shardwise {

struct KernelBlockSizes {
  std::vector<int> fixed;          ///< sizes a kernel takes exactly
  std::optional<int> multiple_of;  ///< or any multiple of this
  bool operator==(const KernelBlockSizes&) const = default;
  int smallest() const;
  bool supports(int block_size) const;  ///< whole blocks can be split into kernel blocks
};

struct AttentionBackend {
  const char* name = "";  ///< "FLASH_ATTN"; a literal
  KernelBlockSizes block_sizes;
  std::vector<KvLayout> layouts;          ///< most preferred first; empty = any
  std::optional<int> preferred;           ///< block size it asks for whatever the default
  bool align_rows = false;                ///< blocks must lie whole rows apart ...
  int rows = 1;                           ///< ... in pages of this many
  std::optional<int> stride_multiple_of;  ///< or whole kernel blocks of up to this many tokens
};

/// What the choice depends on.
struct AttentionQuery {
  const GpuGeneration* generation = &generation_of("nvidia", 90);
  int head_size = 0, head_size_v = 0;
  int num_heads = 0, num_kv_heads = 0;  ///< on one rank; of the model (trtllm-gen large pages look at the model's)
  std::string cache_dtype = "auto";
  bool float32 = false, has_sinks = false, mm_prefix = false;
  bool mla = false, sparse = false;
  int qk_nope_head_dim = 0, kv_lora_rank = 0, qk_rope_head_dim = 0;
  int model_head_size = 0;        ///< the widest of the model: what the class declares before it sees a layer
  std::optional<int> block_size;  ///< as the user gave it
};

AttentionBackend choose_backend(const AttentionQuery& query);

/// Smallest block size that all backends accept, from the default of 16 (Platform._preferred_block_size_for_backends).
int preferred_block_size(const std::vector<AttentionBackend>& backends);

/// The layout that all backends of a worker support (get_supported_kv_cache_layouts + resolve_kv_cache_layout), or
/// nullopt.
std::optional<KvLayout> resolve_layout(const std::vector<AttentionBackend>& backends, const std::vector<KvSpec>& specs);

/// Adds what the backend demands of the distance between blocks (worker/utils.py:customize_attention_spec).
void customize_spec(const AttentionBackend& backend, KvSpec& spec);

/// Block size of a sliding-window layer beside primary blocks of `block_size`
/// (attention.py:_largest_kernel_block_within).
int sliding_window_block_size(const AttentionBackend& backend, int block_size);

}  // namespace shardwise
