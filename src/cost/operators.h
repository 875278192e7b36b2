#pragma once
// Time of single operators on one rank: roofline x fitted efficiency.
#include <array>
#include <vector>

#include "cost/kernel_tables.h"
#include "model/model.h"

namespace shardwise {

/// What the roofs of one GPU are made of. Rates in FLOP/s and bytes/s; 0 = no hardware support.
struct Chip {
  const KernelTables* tables = nullptr;
  double bandwidth = 0, bf16 = 0, fp8 = 0, fp4 = 0, int8 = 0, sms = 1;
  double slowdown = 1;
};
Chip chip_of(const Gpu& gpu);

/// Time with the two sides of its roof. compute and memory are at the vendor's peak.
struct OpTime {
  double seconds = 0, compute = 0, memory = 0;
  OpTime& operator+=(const OpTime& o) {
    seconds += o.seconds, compute += o.compute, memory += o.memory;
    return *this;
  }
  OpTime operator*(double k) const { return {seconds * k, compute * k, memory * k}; }
};

/// Which kernel a linear layer of this quantisation runs on this chip.
struct GemmType {
  const Grid* grid = nullptr;
  double weight_bytes = 2, activation_bytes = 2, peak = 0, scale = 1, add = 0;
  bool static_scale = false;  ///< activation scales are stored: their quantisation is folded into the kernel before
  friend bool operator==(const GemmType&, const GemmType&) = default;
};
GemmType gemm_type(const QuantScheme& quant, const Chip& chip);

/// One GEMM y[m, n] = x[m, k] W with n and k of one rank; compiled for any m.
class Gemm {
 public:
  Gemm(const GemmType& type, const Chip& chip, double n, double k);
  OpTime time(double m) const;

 private:
  GemmType type_;
  double bandwidth_, sms_, slowdown_, n_, k_;
  std::vector<float> slice_;
};

/// Dynamic quantisation of activations to fp8, one row of k elements a token: inside the measured fp8 GEMM rows.
double quantise_seconds(const Chip& chip, double tokens, double k);

/// Hyper-connections of one layer (DeepSeek-V4): the residual streams before and after attention and experts.
double hyper_connection_seconds(const Chip& chip, double tokens, double hidden, double streams);

/// Routed experts of one layer on one rank.
struct MoeType {
  const Grid* grid = nullptr;
  const std::vector<MoeShape>* shapes = nullptr;
  double weight_bytes = 2, peak = 0;
};
/// Decode runs the fastest of `decode`; prompt steps the fastest or the geometric mean of `mixed`.
struct MoeTypes {
  std::vector<MoeType> decode, mixed;
  bool mixed_fastest = false;
};
MoeTypes moe_types(const QuantScheme& quant, const Chip& chip, bool hopper_or_older);

class Experts {
 public:
  /// `width`: hidden size the experts work in; tp, ep: shards of the intermediate size, or of the experts.
  Experts(const MoeType& type, const Chip& chip, const MoeFfn& ffn, double width, int tp, int ep);
  OpTime time(double tokens) const;  ///< tokens entering the layer over all ranks that share these experts
  bool tabulated_shape() const { return residual_ != nullptr; }

 private:
  MoeType type_;
  double bandwidth_, slowdown_, h_, i_, topk_, experts_, tp_, ep_, gated_;
  std::vector<float> slice_;
  const MoeShape* shape_ = nullptr;
  const std::array<std::vector<float>, 5>* residual_ = nullptr;
};

/// Distinct experts that `pairs` random (token, expert) pairs touch among `experts`.
double distinct_experts(double experts, double pairs);

}  // namespace shardwise
