#pragma once
// Buffers that all2all backends take outside PyTorch when the model is loaded.
#include "base/units.h"
#include "model/model.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// Of one rank. DeepEP's (distributed/device_communicators/all2all.py): VLLM_DEEPEP_BUFFER_SIZE_MB over NVLink; the
/// same again over the network for deepep_high_throughput where experts lie on more than `scale_up_domain` GPUs; for
/// deepep_low_latency two buffers to send and two to receive, of every expert's largest batch (DeepEP csrc/config.hpp
/// LowLatencyLayout), with NVSHMEM's heap and queue pairs around what crosses the network. Other backends' buffers are
/// not counted.
Bytes all2all_buffers(const Model& model, const EngineConfig& engine, int scale_up_domain);

}  // namespace shardwise
