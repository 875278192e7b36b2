#include "cost/widening.h"

#include <algorithm>

namespace shardwise {
namespace {

using Case = WideningCase;

bool is_linear(const Case& c) {
  return std::any_of(c.model.layers.begin(), c.model.layers.end(),
                     [](const Layer& l) { return std::holds_alternative<LinearAttention>(l.attention); });
}

bool unquantised(const QuantScheme& q) { return q.method == QuantScheme::Method::none; }

/// Neither routing nor quantised kernels to be wrong about.
bool is_plain(const Case& c) {
  const auto& q = c.model.quantisation;
  return !c.model.is_moe() && !is_linear(c) && unquantised(q.dense_mlp) && unquantised(q.attention);
}

/// How well the kernels of recurrent states are known: by the worst of them.
enum class States { none, measured, lent, roofline };
States states(const Case& c) {
  auto worst = States::none;
  for (const auto& op : c.attention)
    if (op.state)
      worst = std::max(worst, !(op.decode && op.prefill) ? States::roofline
                              : op.lent                  ? States::lent
                                                         : States::measured);
  return worst;
}

bool sparse(const Case& c) {
  return std::any_of(c.attention.begin(), c.attention.end(), [](const AttentionOp& op) { return op.token_wise; });
}

constexpr WideningRow kRows[] = {
    {[](const Case& c) { return c.calibrated; }, 1, "calibrated by measurements of this machine"},
    {is_plain, 0.8, ""},
    {[](const Case& c) { return c.layout.pp > 1; }, 1.6, "hardly any pipeline-parallel measurement"},
    {[](const Case& c) { return c.nodes > 1; }, 1.6, "no measurement across nodes"},
    {[](const Case& c) { return c.layout.dp > 1; }, 1.4, "few measurements of data-parallel attention with experts"},
    {[](const Case& c) { return states(c) == States::roofline; }, 1.5, "linear-attention layers by roofline"},
    {[](const Case& c) { return states(c) == States::lent; }, 1.4,
     "linear-attention kernels by those measured on an H100, hardly any served measurement"},
    {[](const Case& c) { return states(c) == States::measured; }, 1.25,
     "linear-attention kernels measured, hardly any served measurement"},
    {sparse, 1.5, "sparse-attention kernels measured, hardly any served measurement"},
    {[](const Case& c) { return c.model.is_moe() && !c.routing_known; }, 1.6,
     "expert routing of this model not measured"},
    {[](const Case& c) { return c.engine.parallel.decode_context_parallel_size > 1; }, 1.5,
     "no measurement of decode context parallelism"},
    {[](const Case& c) { return c.engine.enforce_eager; }, 1.6,
     "steps without compilation depend on the CPU; few reports"},
    {[](const Case& c) { return c.engine.offload.backend != OffloadConfig::Backend::none; }, 1.8,
     "weights in host memory by the bandwidth of the bus, no served measurement"},
    {[](const Case& c) { return c.engine.lora.has_value(); }, 1.6,
     "LoRA kernels by their bytes with an adapter for every request, few reports"},
    {[](const Case& c) { return c.model.generic; }, 1.5, "architecture unknown"},
    {[](const Case& c) { return c.engine.num_speculative_tokens > 0; }, 1.8,
     "acceptance of speculative tokens unknown"},
};

}  // namespace

std::span<const WideningRow> widening_rows() { return kRows; }

void widen(BandSource& band, const WideningCase& c) {
  for (const auto& row : kRows) {
    if (!row.when(c)) continue;
    band.widen *= row.factor;
    if (row.why[0]) band.reason += (band.reason.empty() ? "" : "; ") + std::string(row.why);
  }
}

}  // namespace shardwise
