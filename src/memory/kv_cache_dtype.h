#pragma once
// How a KV cache of a --kv-cache-dtype is stored.
#include <string>

#include "memory/kv_spec.h"
#include "model/model.h"

namespace shardwise {

KvDType model_dtype(const Model& model);
KvQuantMode quant_mode(const std::string& cache_dtype);
/// kv_cache_dtype_str_to_dtype: every quantised cache is stored as bytes.
KvDType cache_torch_dtype(const Model& model, const std::string& cache_dtype);

}  // namespace shardwise
