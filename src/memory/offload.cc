#include "memory/offload.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include "base/units.h"

namespace shardwise {
namespace {

/// Experts hold their weights one level deeper from 0.24 on (fused_moe/runner/moe_runner.py).
std::string full_name(const StoredTensor& tensor, VllmVersion version) {
  if (tensor.cls != WeightClass::routed_experts || version < VllmVersion{0, 24, 0}) return tensor.kind;
  const auto leaf = tensor.kind.rfind('.');
  return tensor.kind.substr(0, leaf) + ".routed_experts" + tensor.kind.substr(leaf);
}

bool matches(const OffloadConfig& config, const StoredTensor& tensor, VllmVersion version) {
  if (config.params.empty()) return true;
  const auto name = "." + full_name(tensor, version) + ".";
  return std::ranges::any_of(
      config.params, [&](const std::string& segment) { return name.find("." + segment + ".") != std::string::npos; });
}

bool is_experts(const StoredTensor& tensor) { return tensor.cls == WeightClass::routed_experts; }

/// Tensors of a kind of layer as they are built, and what each takes once weights are loaded.
struct KindTensors {
  std::vector<StoredTensor> built;
  std::vector<std::int64_t> loaded;
};

/// Loading changes sizes module by module: all tensors of one in proportion.
std::vector<std::int64_t> loaded_sizes(const std::vector<StoredTensor>& built, const std::vector<StoredTensor>& after) {
  std::map<std::size_t, double> before, then;
  for (const auto& t : built) before[t.module] += static_cast<double>(t.bytes);
  for (const auto& t : after) then[t.module] += static_cast<double>(t.bytes);
  std::vector<std::int64_t> out;
  for (const auto& t : built)
    out.push_back(static_cast<std::int64_t>(static_cast<double>(t.bytes) * then[t.module] / before[t.module] + 0.5));
  return out;
}

KindTensors kind_tensors(const LayerProgram& kind, WeightLayout layout) {
  KindTensors out;
  out.built = stored_tensors(kind, layout);
  layout.after_loading = true;
  out.loaded = loaded_sizes(out.built, stored_tensors(kind, layout));
  return out;
}

/// UVAOffloader: parameter by parameter, until the budget is used up.
struct Budget {
  const OffloadConfig& config;
  VllmVersion version;
  std::int64_t left;
  bool takes(const StoredTensor& tensor) {
    if (left <= 0 || !matches(config, tensor, version)) return false;
    left -= tensor.bytes;
    return true;
  }
};

/// PrefetchOffloader: the last num_in_group of each group of the stage's layers.
bool in_group(const OffloadConfig& config, int index) {
  return config.group_size > 0 && index % config.group_size >= config.group_size - config.num_in_group;
}

/// One buffer a slot for every parameter that differs in name or size (StaticBufferPool).
class BufferPool {
 public:
  void add(const StoredTensor& tensor, std::int64_t bytes) { sizes_[{tensor.name, bytes}] = bytes; }
  std::int64_t bytes() const {
    return std::accumulate(sizes_.begin(), sizes_.end(), std::int64_t{0},
                           [](std::int64_t sum, const auto& row) { return sum + row.second; });
  }

 private:
  std::map<std::pair<std::string, std::int64_t>, std::int64_t> sizes_;
};

/// Towers are offered to the offloader before the layers, from 0.29 on.
void offload_vision(const LayerProgram& vision, const WeightLayout& layout, Budget& budget, OffloadedWeights& out) {
  for (const auto& tensor : stored_tensors(vision, layout))
    if (budget.takes(tensor)) out.vision += Bytes(tensor.bytes), out.as_built += Bytes(tensor.bytes);
}

}  // namespace

Bytes OffloadedWeights::total() const {
  return std::accumulate(layers.begin(), layers.end(), vision,
                         [](Bytes sum, const OffloadedLayer& layer) { return sum + layer.bytes; });
}

OffloadedWeights offloaded_weights(const WeightProgram& program, const WeightLayout& layout,
                                   const OffloadConfig& config, VllmVersion version) {
  using Backend = OffloadConfig::Backend;
  OffloadedWeights out;
  if (config.backend == Backend::none) return out;
  const bool prefetch = config.backend == Backend::prefetch;
  Budget budget{config, version, config.cpu_offload_max_bytes.value};
  BufferPool pool;
  if (!prefetch && version >= VllmVersion{0, 29, 0} && !layout.language_model_only)
    offload_vision(program.vision, layout, budget, out);
  std::map<std::size_t, KindTensors> kinds;
  for (int l = layout.first_layer; l < layout.last_layer; ++l) {
    if (prefetch && !in_group(config, l - layout.first_layer)) continue;
    const auto kind = program.kind_of(l);
    auto known = kinds.find(kind);
    if (known == kinds.end()) known = kinds.emplace(kind, kind_tensors(program.kinds[kind], layout)).first;
    const auto& [built, loaded] = known->second;
    OffloadedLayer layer{l, {}, {}};
    for (std::size_t i = 0; i < built.size(); ++i) {
      if (prefetch ? !matches(config, built[i], version) : !budget.takes(built[i])) continue;
      layer.bytes += Bytes(loaded[i]);
      out.as_built += Bytes(built[i].bytes);
      if (is_experts(built[i])) layer.routed_experts += Bytes(loaded[i]);
      if (prefetch && loaded[i] > 0) pool.add(built[i], loaded[i]);
    }
    if (layer.bytes.value > 0) out.layers.push_back(layer);
  }
  out.buffers = Bytes(pool.bytes() * config.prefetch_step);
  return out;
}

}  // namespace shardwise
