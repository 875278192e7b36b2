#pragma once
// Kernel times of one layer on one rank over the tokens of a step; compile_step adds the layers up.
#include <unordered_map>
#include <vector>

#include "cost/collectives.h"
#include "cost/compiled_step.h"

namespace shardwise {

using OpTable = std::array<OpTime, kKnots>;

/// Everything of one layer kind that depends on tokens alone, one rank, raw kernel times.
struct KindTables {
  OpTable attention_proj{}, dense_ffn{}, router_shared{};
  OpTable experts_decode{}, experts_mixed{};
  TokenTable all_reduce{}, norm_reduce{}, expert_comm{}, elementwise{};
  bool moe = false;
  std::vector<std::size_t> attention;  ///< indices into KernelTimes::attention
};

/// Times of GEMMs on one chip at every token knot: thousands of layouts have GEMMs of the same few shapes.
class GemmTimes {
 public:
  explicit GemmTimes(const Chip& chip) : chip_(chip) {}
  const Chip& chip() const { return chip_; }
  /// y[m, n] = x[m, k] W; n and k of one rank.
  const OpTable& operator()(const GemmType& type, double n, double k);

 private:
  struct Key {
    GemmType type;
    double n, k;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  Chip chip_;
  std::unordered_map<Key, OpTable, Hash> known_;
};

/// One engine's ranks, and what their kernels are timed by.
struct LayerContext {
  const Model& model;
  const EngineConfig& engine;
  const Gpu& gpu;
  const CostConstants& constants;
  GemmTimes& gemms;
  const Chip& chip;
  CollectiveGroup tp_group, dp_group, ep_group;
  double hidden;
  int tp, pp, dp, dcp;  ///< dp: of MoE engines; dense ones are independent
};

KindTables compile_kind(const LayerContext& context, const Layer& layer);

}  // namespace shardwise
