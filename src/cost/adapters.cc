#include "cost/adapters.h"

#include <algorithm>

#include "cost/operators.h"
#include "memory/lora.h"
#include "memory/weights.h"

namespace shardwise {
namespace {

/// Of one module on one rank.
double module_seconds(const LayerContext& c, const AdapterFactors& f, const MoeFfn* moe, double tokens) {
  const auto& lora = *c.engine.lora;
  const double rank = lora.max_lora_rank, active = std::min<double>(lora.max_loras, tokens);
  const double picks = f.experts && moe ? moe->num_experts_per_tok : 1;
  const double touched =
      f.experts && moe && moe->num_experts > 0
          ? distinct_experts(moe->num_experts, picks * tokens * c.dp / std::max(1.0, active)) / moe->num_experts
          : 1;
  const double bytes = active * touched * rank * lora.element_bytes * (f.a + f.b) +
                       tokens * picks * (2 * f.in + 4 * f.out);  // the output is read and written
  const double flops = 2 * tokens * picks * rank * (f.in + f.out);
  double s = (f.experts ? 4 : 2) * fixed::adapter_kernel.value + bytes / (fixed::stream.value * c.chip.bandwidth) +
             flops / (fixed::adapter_flops.value * c.chip.bf16);
  if (lora.fully_sharded_loras && c.tp > 1)
    s += collective_seconds(*c.chip.tables, c.tp_group, Collective::all_gather, tokens * picks * rank * sizeof(float));
  return s;
}

TokenTable stage_seconds(const LayerContext& c, const WeightProgram& weights, const WeightLayout& layout) {
  TokenTable out{};
  for (int l = layout.first_layer; l < layout.last_layer; ++l) {
    const auto* moe = std::get_if<MoeFfn>(&c.model.layers[static_cast<std::size_t>(l)].ffn);
    for (const auto& f :
         adapter_factors(weights.kinds[weights.kind_of(l)], layout, *c.engine.lora, c.engine.vllm_version))
      for (std::size_t i = 0; i < kKnots; ++i) out[i] += module_seconds(c, f, moe, kTokenKnots[i]);
  }
  return out;
}

}  // namespace

AdapterTimes adapter_times(const LayerContext& c, const WeightProgram& weights) {
  AdapterTimes out;
  const auto& p = c.engine.parallel;
  for (int s = 0; s < c.pp; ++s) {
    const int rank = s * p.tensor_parallel_size * p.prefill_context_parallel_size;
    const auto stage = stage_seconds(c, weights, weight_layout(c.model, c.engine, rank, generation_of(c.gpu)));
    for (std::size_t i = 0; i < kKnots; ++i)
      out.all[i] += stage[i], out.busiest[i] = std::max(out.busiest[i], stage[i]);
  }
  return out;
}

}  // namespace shardwise
