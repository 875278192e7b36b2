#pragma once
// What a vLLM model class fixes in its code, where config.json has no field for it: one row per architecture.
#include <string>
#include <vector>

namespace shardwise {

/// Biases and norms of an architecture's layers; `field` = taken from config.json (attention_bias, use_bias ...).
enum class Bias { none, field, always };
/// Whether there is a bias; `field`: what the config says.
inline bool resolve(Bias bias, bool field) { return bias == Bias::always || (bias == Bias::field && field); }
enum class QkNorm { none, field, per_head, all_heads };

struct ArchitectureTraits {
  const char* name;  ///< as in config.json "architectures"
  Bias qkv_bias = Bias::field;
  Bias o_bias = Bias::none;
  QkNorm qk_norm = QkNorm::none;
  bool gated_ffn = true;  ///< gate and up projections
  Bias ffn_bias = Bias::none;
  bool shared_expert_gate = false;
  bool output_gate = false;  ///< q_proj carries a gate unless attn_output_gate says otherwise
  bool sinks = false;
  bool correction_bias = false;  ///< router has e_score_correction_bias whatever the config says
  bool router_bias = false;
  bool moe_bias = false;  ///< biases on the expert matrices
};

/// The row of the first architecture that is known; null if none is.
const ArchitectureTraits* find_traits(const std::vector<std::string>& architectures);
std::vector<std::string> known_architectures();

}  // namespace shardwise
