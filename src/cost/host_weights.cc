#include "cost/host_weights.h"

#include <algorithm>
#include <numeric>

#include "cost/operators.h"
#include "memory/weights.h"

namespace shardwise {
namespace {

/// Host to GPU, bytes/s.
double host_bandwidth(const Gpu& gpu) {
  return gpu.host_bandwidth.value_or(gpu.pcie_bandwidth).value * fixed::host_copy.value;
}

/// Share of the routed experts that `tokens` reach: each token picks its own.
double touched(const Model& model, int layer, double tokens) {
  const auto* moe = std::get_if<MoeFfn>(&model.layers[static_cast<std::size_t>(layer)].ffn);
  if (!moe || moe->num_experts < 1) return 1;
  return distinct_experts(moe->num_experts, moe->num_experts_per_tok * tokens) / moe->num_experts;
}

/// Kernels read over the bus instead of from GPU memory.
TokenTable read_seconds(const LayerContext& c, const OffloadedWeights& stage) {
  TokenTable out{};
  const double per_byte = 1 / host_bandwidth(c.gpu) - 1 / c.gpu.memory_bandwidth.value;
  for (std::size_t i = 0; i < kKnots; ++i)
    for (const auto& layer : stage.layers) {
      const auto experts = static_cast<double>(layer.routed_experts.value);
      const double read = static_cast<double>(layer.bytes.value) - experts +
                          experts * touched(c.model, layer.layer, kTokenKnots[i] * c.dp);
      out[i] += read * std::max(0.0, per_byte);
    }
  return out;
}

CopiedLayers copied_layers(const LayerContext& c, const OffloadedWeights& stage, std::pair<int, int> layers) {
  CopiedLayers out{layers.second - layers.first, {}, {}, c.engine.offload.prefetch_step};
  for (const auto& layer : stage.layers) {
    out.at.push_back(layer.layer - layers.first);
    out.copy.push_back(static_cast<double>(layer.bytes.value) / host_bandwidth(c.gpu));
  }
  return out;
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

/// Waiting by the kernels' time of all stages.
void add_waits(HostWeights& out, const std::vector<CopiedLayers>& stages, int all_layers) {
  for (std::size_t i = 0; i < HostWeights::kTimes; ++i) {
    const double kernels = HostWeights::time_at(i);
    for (const auto& stage : stages) {
      const double own = kernels * stage.layers / all_layers;
      const auto put = [&](StepParts& to, double seconds) {
        to.all += seconds - own, to.busiest = std::max(to.busiest, seconds - own);
      };
      put(out.graph_waits[i], step_with_copies(stage, own, true));
      put(out.waits[i], step_with_copies(stage, own, false));
    }
  }
}

}  // namespace

double step_with_copies(const CopiedLayers& stage, double kernels, bool joined) {
  if (stage.at.empty()) return kernels;
  const double layer_time = kernels / stage.layers;
  const auto n = stage.at.size();
  std::vector<double> arrived(n, 0.0);
  double now = 0, copier = 0, began = 0;
  constexpr int kSteps = 4;  // the last is like all that follow
  for (int step = 0; step < kSteps; ++step) {
    began = now;
    std::size_t k = 0;
    for (int l = 0; l < stage.layers; ++l) {
      const bool copied = k < n && stage.at[k] == l;
      if (copied) now = std::max(now, arrived[k]);
      now += layer_time;
      if (!copied) continue;
      const auto next = (k + static_cast<std::size_t>(stage.prefetch_step)) % n;
      copier = std::max(copier, now) + stage.copy[next];
      arrived[next] = copier;
      ++k;
    }
    if (joined) now = std::max(now, copier);
  }
  return std::max(now - began, sum(stage.copy));  // a lead of the copies is used up in the end
}

HostWeights host_weights(const LayerContext& c, const WeightProgram& weights) {
  using Backend = OffloadConfig::Backend;
  HostWeights out;
  const auto& p = c.engine.parallel;
  std::vector<CopiedLayers> copied;
  const auto stages = pp_layers(c.model.num_hidden_layers(), p);
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const int rank = static_cast<int>(s) * p.tensor_parallel_size * p.prefill_context_parallel_size;
    const auto stage = rank_offloaded(weights, c.model, c.engine, rank, generation_of(c.gpu));
    if (c.engine.offload.backend == Backend::uva) {
      const auto read = read_seconds(c, stage);
      for (std::size_t i = 0; i < kKnots; ++i)
        out.read[i] += read[i], out.read_busiest[i] = std::max(out.read_busiest[i], read[i]);
    } else {
      copied.push_back(copied_layers(c, stage, stages[s]));
      const double seconds = sum(copied.back().copy);
      out.copies.all += seconds, out.copies.busiest = std::max(out.copies.busiest, seconds);
    }
  }
  out.copied = out.copies.all > 0;
  if (out.copied) add_waits(out, copied, c.model.num_hidden_layers());
  return out;
}

}  // namespace shardwise
