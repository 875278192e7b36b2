#include "hardware/generations.h"

#include <algorithm>
#include <limits>

namespace shardwise {
namespace {

constexpr int kAny = std::numeric_limits<int>::max();

/// A vendor's rows by rising capability; the last row is everything else.
constexpr GpuGeneration kRows[] = {
    {.name = "before Volta", .vendor = "nvidia", .first = 1, .last = 69, .runs_vllm = false},
    {.name = "Volta", .vendor = "nvidia", .first = 70, .last = 74},
    {.name = "Turing", .vendor = "nvidia", .first = 75, .last = 79},
    {.name = "Ampere",
     .vendor = "nvidia",
     .first = 80,
     .last = 88,
     .bfloat16 = true,
     .flash_attn_head_size = 256,
     .flashinfer = true},
    {.name = "Ada",
     .vendor = "nvidia",
     .first = 89,
     .last = 89,
     .bfloat16 = true,
     .flash_attn_head_size = 256,
     .flashinfer = true},
    {.name = "Hopper",
     .vendor = "nvidia",
     .first = 90,
     .last = 99,
     .bfloat16 = true,
     .flash_attn_head_size = 512,
     .flash_attn_3 = true,
     .flash_attn_fp8 = true,
     .flashinfer = true,
     .flashinfer_sinks = true,
     .flashinfer_gdn = true,
     .mla = MlaBackend::FLASH_ATTN_MLA,
     .flashinfer_mla_sparse_sm90 = true,
     .mla_block_size = 64,
     .triton_mxfp4_moe = true,
     .fi_allreduce_fusion_max_size_mb = {64, 2, 0.5},
     .nvlink_sharp = true,
     .lean_sampler = true},
    {.name = "Blackwell",
     .vendor = "nvidia",
     .first = 100,
     .last = 109,
     .bfloat16 = true,
     .max_cudagraph_capture_size = 1024,
     .flash_attn_head_size = 512,
     .flash_attn_3 = true,
     .flashinfer = true,
     .flashinfer_sinks = true,
     .trtllm_attention = true,
     .flashinfer_gdn = true,
     .flashinfer_gdn_key_head_dim = 128,
     .mla = MlaBackend::FLASHINFER_MLA,
     .sparse_mla = SparseMlaBackend::FLASHINFER_MLA_SPARSE,
     .mla_block_size = 64,
     .glm_dsa_fp8_cache = true,
     .trtllm_unquantized_moe = true,
     .nvfp4_moe = true,
     .fi_allreduce_fusion_max_size_mb = {64, 32, 1},
     .nvlink_sharp = true,
     .lean_sampler = true},
    {.name = "Thor",
     .vendor = "nvidia",
     .first = 110,
     .last = 119,
     .bfloat16 = true,
     .flash_attn_head_size = 512,
     .flashinfer = true,
     .flashinfer_sinks = true,
     .mla_block_size = 64,
     .trtllm_unquantized_moe = true,
     .nvfp4_moe = true,
     .nvlink_sharp = true,
     .lean_sampler = true},
    {.name = "Blackwell RTX",
     .vendor = "nvidia",
     .first = 120,
     .last = 120,
     .bfloat16 = true,
     .flash_attn_head_size = 512,
     .flashinfer = true,
     .flashinfer_sinks = true,
     .flashinfer_gdn = true,
     .flashinfer_gdn_key_head_dim = 128,
     .sparse_mla = SparseMlaBackend::FLASHINFER_MLA_SPARSE_SM120,
     .mla_block_size = 64,
     .nvfp4_moe = true,
     .nvlink_sharp = true,
     .lean_sampler = true},
    {.name = "GB10",
     .vendor = "nvidia",
     .first = 121,
     .last = 121,
     .bfloat16 = true,
     .unified_memory = true,
     .flash_attn_head_size = 512,
     .flashinfer = true,
     .flashinfer_sinks = true,
     .flashinfer_gdn = true,
     .flashinfer_gdn_key_head_dim = 128,
     .sparse_mla = SparseMlaBackend::FLASHINFER_MLA_SPARSE_SM120,
     .mla_block_size = 64,
     .nvfp4_moe = true,
     .nvlink_sharp = true,
     .lean_sampler = true},
    {.name = "after Blackwell",
     .vendor = "nvidia",
     .first = 122,
     .last = kAny,
     .bfloat16 = true,
     .flash_attn_head_size = 512,
     .mla_block_size = 64,
     .nvfp4_moe = true,
     .nvlink_sharp = true,
     .lean_sampler = true},
    {.name = "CDNA2", .vendor = "amd", .first = 90, .last = 93, .bfloat16 = true, .custom_all_reduce = false},
    {.name = "CDNA3", .vendor = "amd", .first = 94, .last = 94, .bfloat16 = true},
    {.name = "CDNA4", .vendor = "amd", .first = 95, .last = 95, .bfloat16 = true},
    {.name = "RDNA3", .vendor = "amd", .first = 110, .last = 119, .bfloat16 = true, .custom_all_reduce = false},
    {.name = "RDNA4", .vendor = "amd", .first = 120, .last = 129, .bfloat16 = true, .custom_all_reduce = false},
    {.name = "Xe", .vendor = "intel", .first = 0, .last = kAny, .bfloat16 = true, .custom_all_reduce = false},
    {.name = "unknown", .vendor = "", .first = 0, .last = kAny},
};

}  // namespace

std::span<const GpuGeneration> gpu_generations() { return kRows; }

const GpuGeneration& generation_of(std::string_view vendor, int compute_capability) {
  return *std::find_if(std::begin(kRows), std::prev(std::end(kRows)), [&](const GpuGeneration& g) {
    return g.vendor == vendor && g.first <= compute_capability && compute_capability <= g.last;
  });
}

std::optional<std::string> platform_note(const Gpu& gpu) {
  if (gpu.vendor != "intel") return std::nullopt;
  return gpu.name +
         ": vLLM has a build of its own for Intel GPUs (XPU); which methods and backends it takes is not checked, and "
         "no "
         "kernel of it is measured: times are transferred from another maker's GPU";
}

const GpuGeneration& generation_of(const Gpu& gpu) { return generation_of(gpu.vendor, gpu.compute_capability); }

}  // namespace shardwise
