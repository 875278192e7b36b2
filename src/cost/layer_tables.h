#pragma once
// Kernel times of one layer on one rank over the tokens of a step; compile_step adds the layers up.
#include <string>
#include <vector>

#include "cost/collectives.h"
#include "cost/compiled_step.h"

namespace shardwise {

using OpTable = std::array<OpTime, kTokenKnots.size()>;

/// Everything of one layer kind that depends on tokens alone, one rank, raw kernel times.
struct KindTables {
  OpTable attention_proj{}, dense_ffn{}, router_shared{};
  OpTable experts_decode{}, experts_mixed{};
  TokenTable all_reduce{}, norm_reduce{}, expert_comm{}, elementwise{};
  bool moe = false;
  std::vector<std::size_t> attention;  ///< indices into CompiledStepData::attention
};

struct LayerContext {
  const Model& model;
  const EngineConfig& engine;
  Chip chip;
  CollectiveGroup tp_group, dp_group, ep_group;
  double hidden;
  int tp, dp, dcp;
  double static_share;  ///< of dynamic quantisation that a checkpoint with static scales saves
};

/// Times of one GEMM at every token knot. A search compiles thousands of layouts whose GEMMs have the same few shapes,
/// so each thread keeps the last ones; the key is everything that the times depend on.
const OpTable& gemm_times(const Chip& chip, const GemmType& type, double n, double k);

/// `algorithm`: set to the name of the all-reduce of a small decode batch.
KindTables compile_kind(const LayerContext& context, const Layer& layer, std::string& algorithm);

}  // namespace shardwise
