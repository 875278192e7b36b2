#pragma once
// A row of a table of vLLM starts as an engine: what the launch columns say, and what was assumed where they are empty.
#include <optional>
#include <string>
#include <vector>

#include "config/csv.h"
#include "hardware/hardware.h"
#include "model/model.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// The launch columns of docs/memory.md. Whatever a log measured is left out, so that no prediction can read it.
struct StartRow {
  std::string id, system, gpu, gpu_mem_gib, vllm_version, engine, model, tp, pp, dp, ep, dtype, quantization,
      kv_cache_dtype, gpu_memory_utilization, max_model_len, max_num_seqs, max_num_batched_tokens, enforce_eager,
      other_flags;
};

/// Throws InputError where the table lacks a column.
StartRow read_start_row(const CsvCells& row);

struct StartLaunch {
  Model model;  ///< with the row's dtype and online quantisation
  EngineConfig engine;
  std::optional<Gpu> gpu;               ///< nullopt: the row names none
  std::optional<std::string> rejected;  ///< why vLLM refuses the configuration
  std::vector<std::string> assumed;
};

StartLaunch read_launch(const StartRow& row, const Model& model);

}  // namespace shardwise
