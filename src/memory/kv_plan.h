#pragma once
// The KV-cache plan of one engine, as vLLM computes it from its layers' specs and each rank's free memory
// (v1/core/kv_cache_utils.py:get_kv_cache_configs and what follows it in EngineCore._initialize_kv_caches).
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/version.h"
#include "memory/kv_spec.h"

namespace shardwise {

/// What the planner reads of the engine's configuration.
struct KvPlanOptions {
  VllmVersion version = kDefaultVllmVersion;
  KvLayout layout = KvLayout::LBNHC;
  std::int64_t max_model_len = 0;
  bool auto_fit_max_model_len = false;  ///< max_model_len = -1 was asked for; max_model_len holds the model's own limit
  std::int64_t max_in_flight_tokens = 8192;  ///< batches in flight x max_num_batched_tokens
  int tensor_parallel_size = 1, decode_context_parallel_size = 1, prefill_context_parallel_size = 1;
  bool disable_hybrid_kv_cache_manager = false;
  bool enable_prefix_caching = true;
  std::optional<std::int64_t> num_gpu_blocks_override;
  int extra_retained_tokens = 0;        ///< num_prefill_lookahead_tokens - 1 with several MTP modules
  int block_size = 16;                  ///< cache_config.block_size before planning
  std::int64_t max_encoder_tokens = 0;  ///< cross attention keeps this many
  friend bool operator==(const KvPlanOptions&, const KvPlanOptions&) = default;
};

struct KvGroup {
  bool uniform_type = false;            ///< UniformTypeKVCacheSpecs: layers of one kind with different page sizes
  KvSpec spec;                          ///< of the group; of its first layer where uniform_type
  std::vector<int> num_layers;          ///< per stage
  std::int64_t page_size = 0;           ///< of stage 0: one layer's page, or the sum over its layers where uniform_type
  std::int64_t blocks_per_request = 0;  ///< at max_model_len
};

struct KvPlan {
  std::int64_t num_blocks = 0;
  std::vector<KvGroup> groups;
  std::int64_t max_model_len = 0;  ///< after auto-fit
  std::int64_t kv_tokens = 0;      ///< "GPU KV cache size", in the meaning of the version
  double max_concurrency = 0;
  int block_size = 16, scheduler_block_size = 16, hash_block_size = 16;
  struct Stage {
    std::int64_t bytes_per_block = 0, allocated_bytes = 0;
    int tensors = 0, kv_tp_replicas = 1;
  };
  std::vector<Stage> stages;
};

/// vLLM refuses. `error` is its exception class, `message` its words up to the advice.
struct KvRefusal {
  std::string error, message;
  std::optional<std::int64_t> estimated_max_model_len;
  std::int64_t needed_bytes = 0;  ///< for one request, null block aside; 0 where that is not the reason
  int stage = 0;
};

using KvPlanResult = std::variant<KvPlan, KvRefusal>;

/// Plans `available_memory[stage]` bytes (every rank of a stage has that much). Stages beyond the figures given are
/// left out.
KvPlanResult plan_kv_cache(const KvLayers& layers, const KvPlanOptions& options,
                           const std::vector<std::int64_t>& available_memory);

/// The grouping alone, kept to be asked again with other memory or lengths (the same layers, another layout).
class KvGrouping {
 public:
  /// Groups the layers; `failure()` says why where vLLM cannot.
  KvGrouping(const KvLayers& layers, const KvPlanOptions& options);
  const std::optional<KvRefusal>& failure() const { return failure_; }
  bool empty() const { return groups_.empty(); }

  /// Blocks one request of `length` tokens takes from the pool.
  std::int64_t blocks_per_request(std::int64_t length, int stage) const;
  /// Longest request that `memory` bytes hold on `stage`, at most `limit`; 0 if not even one token.
  std::int64_t longest_request(std::int64_t memory, std::int64_t limit, int stage) const;
  std::int64_t bytes_per_block(int stage) const { return bytes_per_block_[static_cast<std::size_t>(stage)]; }
  KvPlanResult plan(const std::vector<std::int64_t>& available_memory) const;

  struct Group {
    bool uniform_type = false;
    std::vector<int> layers;                  // indices into layer_spec_, in order
    std::vector<std::vector<int>> per_stage;  // the same, per stage
    int spec = 0;                             // of the merged spec
  };
  const std::vector<Group>& groups() const { return groups_; }
  const KvSpec& spec(int i) const { return specs_[static_cast<std::size_t>(i)]; }
  int layer_spec(int layer) const { return layer_spec_[static_cast<std::size_t>(layer)]; }

 private:
  std::vector<int> all_layers() const;
  void promote_local_specs();
  bool uniform(const std::vector<int>& layers) const;
  bool uniform_type(const std::vector<int>& layers) const;
  void group();
  bool group_packed();
  bool unify_page_sizes();
  void group_uniform_pages();
  bool group_full_allocation();
  void project();
  int add_spec(const KvSpec& spec);
  std::int64_t max_bytes(const KvSpec& spec, std::int64_t length) const;

  KvPlanOptions options_;
  std::vector<KvSpec> specs_;
  std::vector<int> layer_spec_, layer_stage_;
  int stages_ = 1;
  std::vector<Group> groups_;
  std::vector<std::int64_t> bytes_per_block_;
  std::optional<KvRefusal> failure_;
};

/// The line(s) that the version logs for the plan.
std::vector<std::string> kv_log_lines(const KvPlan& plan, VllmVersion version);

}  // namespace shardwise
