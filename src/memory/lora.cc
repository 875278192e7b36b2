#include "memory/lora.h"

#include <algorithm>
#include <bit>

namespace shardwise {
namespace {

using Kind = WeightModule::Kind;

/// Whether --lora-target-modules, if given, names the module or a part of it.
bool targeted(const WeightModule& m, const LoraConfig& config) {
  if (!config.target_modules) return true;
  const auto leaf = m.name.substr(m.name.rfind('.') + 1);
  return std::ranges::any_of(*config.target_modules, [&](const std::string& target) {
    return target == leaf || target == m.name ||
           (leaf == "qkv_proj" && (target == "q_proj" || target == "k_proj" || target == "v_proj")) ||
           (leaf == "gate_up_proj" && (target == "gate_proj" || target == "up_proj"));
  });
}

std::int64_t local_experts(const WeightModule& m, const WeightLayout& layout) {
  return m.num_experts / layout.ep_size + (layout.ep_rank < m.num_experts % layout.ep_size ? 1 : 0);
}

/// lora/layers/fused_moe.py: one factor for gate and up together where checkpoints fuse them, else two; with
/// enable_moe_shared_loras the outer factors are those of one expert.
AdapterFactors expert_factors(const WeightModule& m, const WeightLayout& layout, const LoraConfig& config,
                              VllmVersion version) {
  const double experts = static_cast<double>(local_experts(m, layout)), width = double(m.intermediate) / layout.moe_tp,
               hidden = static_cast<double>(m.in), sharded = config.fully_sharded_loras ? layout.moe_tp : 1;
  const bool fused = m.fused_adapters_since && version >= *m.fused_adapters_since &&
                     !config.enable_mixed_moe_lora_format && !config.enable_moe_shared_loras;
  const double outer = config.enable_moe_shared_loras ? 1 : experts;
  AdapterFactors f;
  f.a = (fused ? 1 : m.shards) * outer * hidden / sharded + experts * width;
  f.b = m.shards * experts * width + outer * hidden / sharded;
  f.in = hidden + width, f.out = m.shards * width + hidden;
  f.experts = true;
  return f;
}

AdapterFactors linear_factors(const WeightModule& m, const WeightLayout& layout, const LoraConfig& config) {
  const auto widths = linear_widths(m, layout);
  const double tp = config.fully_sharded_loras && m.kind != Kind::full ? widths.tp : 1;
  AdapterFactors f;
  f.in = static_cast<double>(widths.in), f.out = static_cast<double>(widths.out);
  f.a = m.adapter_slices * f.in / (m.kind == Kind::column ? tp : 1);
  f.b = f.out / (m.kind == Kind::row ? tp : 1);
  return f;
}

AdapterFactors replicated_factors(const WeightModule& m) {
  AdapterFactors f;
  f.a = f.in = m.adapter_in;
  f.b = f.out = static_cast<double>(m.in) / m.adapter_in;
  return f;
}

bool is_linear(const WeightModule& m) { return m.kind == Kind::column || m.kind == Kind::row || m.kind == Kind::full; }

/// Embedding and head: whole on every rank, whatever TP; the head's logits are gathered first and put in order.
std::int64_t vocabulary_bytes(const WeightModule& m, const WeightLayout& layout, const LoraConfig& config, bool head) {
  const std::int64_t slots = std::int64_t{config.max_loras} * config.max_lora_rank * config.element_bytes;
  return slots * (m.parts[0].units + m.in) + (head && layout.tp > 1 ? round_up(m.parts[0].units, 64) * 8 : 0);
}

/// Embedding on the first stage, and on the last one where the head is tied to it; the head on the last; or
/// `everywhere`.
std::int64_t vocabulary_bytes(const LayerProgram& part, const WeightProgram& program, const WeightLayout& layout,
                              const LoraConfig& config, bool everywhere) {
  std::int64_t out = 0;
  for (const auto& m : part.modules) {
    if (m.kind != Kind::vocabulary || !m.adapter_slices || !targeted(m, config)) continue;
    const bool head = m.cls == WeightClass::lm_head || (program.tied && m.tied_head_adapters);
    const bool here = everywhere || layout.first_stage || (layout.last_stage && program.tied);
    if (m.cls == WeightClass::embedding && here) out += vocabulary_bytes(m, layout, config, false);
    if (head && (everywhere || layout.last_stage)) out += vocabulary_bytes(m, layout, config, true);
  }
  return out;
}

}  // namespace

std::vector<AdapterFactors> adapter_factors(const LayerProgram& layer, const WeightLayout& layout,
                                            const LoraConfig& config, VllmVersion version) {
  std::vector<AdapterFactors> out;
  for (const auto& m : layer.modules) {
    if (!targeted(m, config)) continue;
    if (m.kind == Kind::experts) out.push_back(expert_factors(m, layout, config, version));
    const bool whole = m.adapters_whole && config.fully_sharded_loras;
    if (is_linear(m) && m.adapter_slices && !whole) out.push_back(linear_factors(m, layout, config));
    if (m.kind == Kind::replicated && m.adapter_in) out.push_back(replicated_factors(m));
  }
  return out;
}

Bytes lora_bytes(const WeightProgram& program, const WeightLayout& layout, const LoraConfig& config,
                 VllmVersion version) {
  double elements = 0;
  std::int64_t flags = 0;
  for (std::size_t kind = 0; kind < program.kinds.size(); ++kind) {
    const auto& upto = program.upto[kind];
    const int layers =
        upto[static_cast<std::size_t>(layout.last_layer)] - upto[static_cast<std::size_t>(layout.first_layer)];
    if (layers <= 0) continue;
    for (const auto& f : adapter_factors(program.kinds[kind], layout, config, version)) {
      elements += layers * (f.a + f.b);
      if (f.experts) flags += layers * 4 * (config.max_loras + 1);  // adapter_enabled
    }
  }
  std::int64_t vocabulary = 0;
  for (const auto* part : {&program.every, &program.embedding, &program.last})
    vocabulary += vocabulary_bytes(*part, program, layout, config, part == &program.every);
  const double slots = static_cast<double>(config.max_loras) * config.max_lora_rank * config.element_bytes;
  return Bytes(static_cast<std::int64_t>(elements * slots + 0.5) + flags + vocabulary);
}

int lora_graph_cases(const LoraConfig& config) {
  if (!config.specialize_active_lora) return 2;
  const auto most = static_cast<unsigned>(config.max_loras) + 1;  // powers of two up to it, and itself
  return 1 + std::bit_width(most) + (std::has_single_bit(most) ? 0 : 1);
}

}  // namespace shardwise
