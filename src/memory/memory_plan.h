#pragma once
// What one engine's ranks hold, and what is left for the KV cache.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "hardware/hardware.h"
#include "model/model.h"
#include "parallel/engine_config.h"
#include "parallel/rules.h"

namespace shardwise {

/// Bytes of parameters on one rank, by category (vLLM parameter names decide: see weights.h).
struct WeightBytes {
  Bytes embedding, lm_head, attention, dense_mlp, routed_experts, shared_experts, router, norm_other, vision, mtp;
  Bytes buffers;          ///< rope tables and other registered buffers
  Bytes after_loading;    ///< what process_weights_after_loading adds (absorbed MLA matrices, padding)
  Bytes lora;             ///< slots for adapters
  Bytes offload_buffers;  ///< where layers from host memory are copied to
  Bytes offloaded;        ///< of the above, in host memory and not on the GPU
  Bytes total() const {
    return lora + offload_buffers - offloaded + embedding + lm_head + attention + dense_mlp + routed_experts +
           shared_experts + router + norm_other + vision + mtp + buffers + after_loading;
  }
};

/// One pipeline stage; every rank of it holds the same, the first of it at most a few experts more.
struct StageMemory {
  int pp_rank = 0;
  int first_layer = 0, last_layer = 0;  ///< [first, last)
  WeightBytes weights;
  Bytes activation;  ///< peak of the profile run
  Bytes cuda_graph;
  Bytes non_torch;  ///< CUDA context, NCCL and other communicators
  Bytes kv_cache;   ///< what is left: available for KV on this rank
  Bytes used() const { return weights.total() + activation + cuda_graph + non_torch; }
};

/// vLLM refuses to start for want of memory: by how much.
struct MemoryRefusal : Refusal {
  Bytes missing;                                        ///< on the binding rank
  std::optional<std::int64_t> estimated_max_model_len;  ///< the longest that would fit, where vLLM names one
};

struct MemoryPlan {
  std::vector<StageMemory> stages;
  int binding_stage = 0;  ///< the stage whose memory decides
  Bytes gpu_total;        ///< as vLLM sees it
  Bytes requested;        ///< gpu_memory_utilization x total
  Bytes free_at_start;    ///< what a worker finds free: the total without context and communicators
  std::optional<MemoryRefusal> refusal;
  std::int64_t num_blocks = 0;     ///< KV blocks per engine (replica), null block included
  int block_size = 16;             ///< tokens
  std::int64_t kv_tokens = 0;      ///< "GPU KV cache size" of one engine, tokens, as the version logs it
  double max_concurrency = 0;      ///< requests of max_model_len
  std::int64_t max_model_len = 0;  ///< in force; with auto_fit_max_model_len what fits
  Bytes kv_needed;                 ///< for one request of max_model_len on the binding rank, null block included
  double kv_replication = 1;       ///< copies of the same KV inside one TP group
  Interval kv_gib;                 ///< KV memory of the binding rank with its 90 % interval
  double probability_fits = 1;     ///< that the engine starts, by that interval
  /// The most max_num_seqs for which the cache has a block each at the lower end of that interval, where full CUDA
  /// graphs of recurrent states ask for it.
  std::optional<std::int64_t> certain_max_num_seqs;
  /// KV memory of the binding rank beyond one request of max_model_len; negative where that does not fit.
  Bytes margin() const {
    return stages.empty() ? Bytes(0) : stages[static_cast<std::size_t>(binding_stage)].kv_cache - kv_needed;
  }
  /// Requests that hold their whole sequence of `tokens` at once, per engine (sliding windows and states counted).
  double concurrency_at(double tokens) const {
    return tokens_per_request(tokens) > 0 ? usable_blocks() / blocks_per_request(tokens) : 0;
  }

  // Linear form of blocks needed by one request of t tokens: fixed + per_token x t (per group, summed; windows capped).
  struct Group {
    enum class Keeps { all, sliding_window, attention_chunk, state } keeps = Keeps::all;
    int block_size = 16;       ///< tokens of one rank's block
    int window = 0;            ///< tokens, of a sliding window or an attention chunk
    bool mamba_align = false;  ///< states are cached block by block (mamba_cache_mode align)
    double tokens_per_block = 16;
    std::optional<double> max_tokens;
    double fixed_blocks = 0;
  };
  std::vector<Group> groups;
  double usable_blocks() const { return static_cast<double>(num_blocks > 0 ? num_blocks - 1 : 0); }
  double blocks_per_request(double tokens) const;
  double tokens_per_request(double tokens) const { return tokens; }
};

/// The memory answer for one engine; who asks for many of a model keeps a MemoryPlanner. Never throws on a plan that
/// does not fit: that is `refusal`.
MemoryPlan plan_memory(const Model& model, const EngineConfig& engine, const Gpu& gpu);

}  // namespace shardwise
