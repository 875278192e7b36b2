#pragma once
// The KV-cache specs that a model's attention layers report to vLLM's engine core, after the block size was settled.
#include <optional>
#include <string>
#include <vector>

#include "hardware/generations.h"
#include "memory/kv_plan.h"
#include "memory/kv_spec.h"
#include "model/model.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// Resolved values that the specs depend on.
struct KvSpecOptions {
  VllmVersion version = kDefaultVllmVersion;
  const GpuGeneration* generation = &generation_of("nvidia", 90);
  ParallelConfig parallel;
  std::string cache_dtype = "auto";   ///< after vLLM's own choice, see resolved_cache_dtype()
  std::optional<int> block_size;      ///< as the user gave it
  bool enable_prefix_caching = true;  ///< recurrent layers: "align" mode, blocks of attention's size
  std::int64_t max_model_len = 0;
  int num_speculative_tokens = 0;
  bool draft_is_mtp = true;  ///< its layers have caches of their own
  bool language_model_only = false;
  friend bool operator==(const KvSpecOptions&, const KvSpecOptions&) = default;
};

struct KvSpecs {
  KvLayers layers;
  KvLayout layout = KvLayout::LBNHC;
  std::vector<std::string> backends;  ///< names of all stages, sorted
  std::string cache_dtype = "auto";
  int block_size = 16;  ///< after backend choice and alignment with recurrent states
  std::optional<std::int64_t> mamba_block_size, mamba_page_size_padded;
  bool mamba_align = false;
  std::string mamba_ssm_cache_dtype = "auto";
};

/// "auto" where vLLM keeps the model's type; else what the checkpoint or the architecture makes of it.
std::string resolved_cache_dtype(const Model& model, const std::string& asked, const GpuGeneration& generation);

/// `mamba_cache_mode` of an engine (MambaModelConfig.verify_and_update_config).
bool mamba_align_mode(const Model& model, bool enable_prefix_caching);

/// Microseconds; names are filled only if `with_names`.
KvSpecs kv_specs(const Model& model, const KvSpecOptions& options, bool with_names = false);

/// The same for an engine: what memory planning asks.
KvSpecOptions kv_spec_options(const Model& model, const EngineConfig& engine, const Gpu& gpu);
KvPlanOptions kv_plan_options(const Model& model, const EngineConfig& engine, const KvSpecs& specs);

}  // namespace shardwise
