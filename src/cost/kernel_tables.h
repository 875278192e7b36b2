#pragma once
// Efficiency surfaces fitted to measured kernels (data/calibration/kernels_*.csv) and which of them a GPU uses.
// A surface holds ln(measured / roof) and is multilinear in log2 of its axes, constant outside the knots.
#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hardware/hardware.h"

namespace shardwise {

/// Left knot and weight of the right one, clamped to the ends.
inline std::pair<std::size_t, double> hat(double x, const std::vector<double>& knots) {
  x = std::clamp(x, knots.front(), knots.back());
  std::size_t i = 0;
  while (i + 2 < knots.size() && x >= knots[i + 1]) ++i;
  return {i, (x - knots[i]) / (knots[i + 1] - knots[i])};
}

/// ln(measured / roof) over log2 axes; the last axis is fastest. `z` are coefficients of features beside the grid.
struct Grid {
  std::vector<std::vector<double>> axes;
  std::vector<float> values;
  std::array<double, 5> z{};

  bool empty() const { return values.empty(); }
  std::size_t leading() const;  ///< points over all axes but the last two
  /// Values over the leading axes at fixed log2 coordinates of the last two.
  std::vector<float> slice(double second_last, double last) const;
};

/// ln seconds over log2 bytes, non-decreasing.
struct Curve {
  double first = 8;  ///< log2 bytes of the first point; points are one octave apart
  std::vector<double> values;
  double seconds(double bytes) const;  ///< clamped below, extended in proportion to bytes above
};

/// What remains at a tabulated model's own expert shape after the smooth surface: [tensor or expert sharded][log2
/// shards].
struct MoeShape {
  int hidden = 0, intermediate = 0, topk = 0, experts = 0;
  std::array<std::array<std::vector<float>, 5>, 2> rows;
};

enum class GemmKind { bf16, fp8, nvfp4 };
enum class MoeKind { bf16, fp8, fp8_block, nvfp4, mxfp4, mxfp4_marlin, mxfp4_mxfp8, int4 };
inline constexpr int kGemmKinds = 3, kMoeKinds = 8;

enum class Collective { custom_allreduce, all_reduce, all_gather, reduce_scatter, alltoall };
inline constexpr int kCollectives = 5;

struct AttentionGrid {
  bool decode = false;
  int head_dim = 0;
  bool fp8_kv = false;
  int window = 0;  ///< 0 = full attention
  Grid grid;
};

/// All surfaces of one measured system and the roofs they are relative to.
struct KernelTables {
  std::string system;
  double bandwidth = 0;               ///< bytes/s
  double bf16 = 0, fp8 = 0, fp4 = 0;  ///< dense FLOP/s
  double sms = 0;
  double link = 0;  ///< bytes/s per GPU, one direction, inside the node
  std::array<Grid, kGemmKinds> gemm;
  std::array<Grid, kMoeKinds> moe;
  std::array<std::vector<MoeShape>, kMoeKinds> moe_shapes;
  std::vector<AttentionGrid> attention;
  /// By the name of their table: CORE_decode and CORE_prefill of mla, dsa, msa, csa, hca, gdn, kda; quant_fp8; mhc.
  std::map<std::string, Grid, std::less<>> surfaces;
  std::array<std::map<int, Curve>, kCollectives> collectives;  ///< by group size

  /// Nearest tabulated attention surface: same phase; head size, then window or not, then KV type as near as there is.
  const AttentionGrid* find_attention(bool decode, int head_dim, bool fp8_kv, int window) const;
  /// A surface of this system, or of the H100 where it has none: efficiency carries over. Null: nobody measured it.
  const Grid* find(std::string_view surface) const;
};

/// Which tables speak for a GPU, and how well.
struct KernelKin {
  const KernelTables* tables = nullptr;
  bool exact = true;    ///< measured on this very GPU kind
  double widen = 1;     ///< factor on the half width of intervals, in ln
  double slowdown = 1;  ///< kernels of another vendor reach less of their peak
  std::string reason;   ///< "" if exact
};

/// Row of data/calibration/kin.csv for this GPU; a GPU no row names uses its architecture's row, then the default row.
KernelKin kernel_kin(const Gpu& gpu);

}  // namespace shardwise
