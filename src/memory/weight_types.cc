#include <numeric>

#include "memory/weight_program.h"

namespace shardwise {
namespace {

template <class Array>
std::int64_t total(const Array& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

}  // namespace

const char* to_string(WeightClass c) {
  static constexpr const char* kNames[] = {"embedding",      "lm_head", "attention",  "dense_mlp", "routed_experts",
                                           "shared_experts", "router",  "norm_other", "vision",    "mtp"};
  return kNames[static_cast<std::size_t>(c)];
}
const char* to_string(StoredType t) {
  static constexpr const char* kNames[] = {"bfloat16", "float16", "float32", "float8_e4m3fn", "float8_e8m0fnu",
                                           "int8",     "uint8",   "int32",   "int64"};
  return kNames[static_cast<std::size_t>(t)];
}
const char* to_string(BufferKind k) {
  static constexpr const char* kNames[] = {"cos_sin_cache", "inv_freq", "kv_scales", "_expert_map", "other"};
  return kNames[static_cast<std::size_t>(k)];
}
int bytes_of(StoredType t) {
  static constexpr int kBytes[] = {2, 2, 4, 1, 1, 1, 1, 4, 8};
  return kBytes[static_cast<std::size_t>(t)];
}

std::int64_t RankWeights::param_bytes() const { return total(bytes); }
std::int64_t RankWeights::num_params() const { return total(elements); }
std::int64_t RankWeights::buffer_bytes() const { return total(buffers); }

}  // namespace shardwise
