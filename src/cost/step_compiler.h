#pragma once
// Steps of one model on one cluster under many engines: what does not depend on the engine is prepared once.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cost/compiled_step.h"
#include "cost/layer_tables.h"
#include "memory/weight_program.h"

namespace shardwise {

/// Layers that are alike share their times.
struct LayerKinds {
  std::vector<const Layer*> layers;  ///< the first layer of each kind
  std::vector<std::size_t> of;       ///< layer -> kind
  /// How many of each kind the layers [first, last) are.
  std::vector<double> count(std::pair<int, int> range) const;
};

/// Keeps the GEMM times it has met, so it belongs to one thread. What it is made of must outlive it.
class StepCompiler {
 public:
  StepCompiler(const Model& model, const Cluster& cluster, const CostConstants& constants = default_constants());
  /// `fused_all_reduce`: all-reduce fused with RMSNorm; nullopt = the version's default.
  CompiledStep compile(const EngineConfig& engine, const EnginePlacement& where,
                       std::optional<bool> fused_all_reduce = std::nullopt);

 private:
  const Model& model_;
  const Cluster& cluster_;
  const CostConstants& constants_;
  KernelKin kin_;
  LayerKinds kinds_;
  double routing_;  ///< RoutingRow::factor; 1: not measured
  std::string shape_;
  std::optional<std::uint64_t> combination_;
  GemmTimes gemms_;
  std::optional<WeightProgram> weights_;  ///< once an engine keeps some in host memory
  const WeightProgram& weights();
};

}  // namespace shardwise
