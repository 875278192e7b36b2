#pragma once
// Memory of one model on one GPU under many engines.
#include <deque>
#include <utility>

#include "hardware/generations.h"
#include "memory/kv_plan.h"
#include "memory/kv_specs.h"
#include "memory/memory_plan.h"
#include "memory/weight_program.h"

namespace shardwise {

/// Keeps the model's weight program and the KV groups it has met, so it belongs to one thread. Model and GPU must
/// outlive it.
class MemoryPlanner {
 public:
  MemoryPlanner(const Model& model, const Gpu& gpu);
  /// The whole memory answer for one engine. Never throws on a plan that does not fit: that is `refusal`.
  MemoryPlan plan(const EngineConfig& engine);

 private:
  /// Specs and groups: a search asks for the same ones with other expert layouts and lengths of batch.
  struct Grouped {
    KvSpecOptions spec_options;
    KvPlanOptions asked;  ///< without what follows from the specs
    KvSpecs specs;
    KvGrouping grouping;
  };
  const Grouped& grouped(const EngineConfig& engine);
  StageMemory stage_memory(const EngineConfig& engine, int stage, std::pair<int, int> layers, Bytes requested) const;

  const Model& model_;
  const Gpu& gpu_;
  const GpuGeneration& generation_;
  WeightProgram weights_;
  std::deque<Grouped> grouped_;  ///< newest first, the last few
};

}  // namespace shardwise
