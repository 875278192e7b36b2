#pragma once
// What vLLM decides by a GPU's compute capability: one row a generation, one trait a decision.
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "hardware/hardware.h"

namespace shardwise {

/// vLLM's attention backends for MLA that a generation prefers (platforms/cuda.py _get_backend_priorities).
enum class MlaBackend { TRITON_MLA, FLASH_ATTN_MLA, FLASHINFER_MLA };
enum class SparseMlaBackend { FLASH_ATTN_MLA_SPARSE, FLASHINFER_MLA_SPARSE, FLASHINFER_MLA_SPARSE_SM120 };

/// Files are vLLM's, below vllm/.
struct GpuGeneration {
  std::string_view name;
  std::string_view vendor;  ///< Gpu::vendor; "" = any
  int first, last;          ///< compute capabilities, 90 = 9.0

  /// vLLM's kernels are built for it (CMakeLists.txt CUDA_SUPPORTED_ARCHS)
  bool runs_vllm = true;
  /// bfloat16 among the types (platforms/cuda.py supported_dtypes)
  bool bfloat16 = false;
  /// vLLM has an all-reduce of its own for it (platforms/rocm.py use_custom_allreduce)
  bool custom_all_reduce = true;
  /// shared by CPU and GPU: small defaults of a batch (engine/arg_utils.py get_batch_defaults, 0.33), more of it taken
  bool unified_memory = false;
  /// most tokens of a default graph since 0.28, 512 before (config/vllm.py _set_cudagraph_sizes)
  int max_cudagraph_capture_size = 512;

  /// widest head that FlashAttention takes; 0 = none (v1/attention/backends/flash_attn.py supports_head_size)
  int flash_attn_head_size = 0;
  /// versions 3 and 4 of FlashAttention: sinks, values of another width than keys
  /// (v1/attention/backends/fa_utils.py flash_attn_supports_sinks)
  bool flash_attn_3 = false;
  /// version 3 reads fp8 caches (v1/attention/backends/fa_utils.py flash_attn_supports_fp8)
  bool flash_attn_fp8 = false;
  /// v1/attention/backends/flashinfer.py supports_compute_capability, and its sinks
  bool flashinfer = false, flashinfer_sinks = false;
  /// FlashInfer's trtllm-gen attention: FlashInfer comes first, heads before tokens in the cache
  /// (v1/attention/backends/flashinfer.py, utils/flashinfer.py supports_trtllm_attention)
  bool trtllm_attention = false;

  /// FlashInfer's prefill of gated delta nets, of keys this wide only; 0 = of any
  /// (model_executor/layers/mamba/gdn/qwen_gdn_linear_attn.py _resolve_gdn_prefill_backend)
  bool flashinfer_gdn = false;
  int flashinfer_gdn_key_head_dim = 0;

  MlaBackend mla = MlaBackend::TRITON_MLA;
  SparseMlaBackend sparse_mla = SparseMlaBackend::FLASH_ATTN_MLA_SPARSE;
  /// FLASHINFER_MLA_SPARSE_SM90 for plain fp8_e4m3 caches (v1/attention/backends/mla/flashinfer_mla_sparse_sm90.py)
  bool flashinfer_mla_sparse_sm90 = false;
  /// block size of MLA caches up to 0.17 (platforms/cuda.py check_and_update_config)
  int mla_block_size = 16;
  /// --kv-cache-dtype auto is fp8_e4m3 for GLM's sparse MLA (model_executor/models/config.py)
  bool glm_dsa_fp8_cache = false;

  /// MXFP4 experts of models with biases by Triton's kernel (model_executor/layers/fused_moe/oracle/mxfp4.py)
  bool triton_mxfp4_moe = false;
  /// unquantised experts by FlashInfer's TRT-LLM kernel (model_executor/layers/fused_moe/oracle/unquantized.py)
  bool trtllm_unquantized_moe = false;
  /// tensor cores take NVFP4: W4A4 experts by a kernel of their own (model_executor/layers/fused_moe/oracle/nvfp4.py)
  bool nvfp4_moe = false;

  /// Largest message, MiB, of the all-reduce fused with RMSNorm for 2, 4 and 8 ranks; 0 = not fused by default
  /// (compilation/passes/fusion/allreduce_rms_fusion.py FI_ALLREDUCE_FUSION_MAX_SIZE_MB)
  struct FusedAllReduce {
    double tp2 = 0, tp4 = 0, tp8 = 0;
  } fi_allreduce_fusion_max_size_mb = {};
  /// NCCL reduces in NVSwitch (NVLS); its buffers are taken at start-up (data/calibration/startup.csv)
  bool nvlink_sharp = false;
  /// the sampler takes few bytes a logit before 0.17 too (data/calibration/startup.csv)
  bool lean_sampler = false;
};

std::span<const GpuGeneration> gpu_generations();

/// The row of a vendor's compute capability. A GPU that no row is of has the last one: nothing that needs a generation.
const GpuGeneration& generation_of(std::string_view vendor, int compute_capability);
const GpuGeneration& generation_of(const Gpu& gpu);

/// What is not known of vLLM on GPUs of that maker; nullopt where its rules were compared.
std::optional<std::string> platform_note(const Gpu& gpu);

}  // namespace shardwise
