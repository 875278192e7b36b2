#include "parallel/expert_kernels.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

namespace shardwise {
namespace {

using Act = MoeActivation;
using Way = RoutingMethod;

/// How weights and activations are stored, in pairs that vLLM's kernels ask for (utils/quant_utils.py QuantKey).
enum class Pair {
  unquantised,
  fp8_block,         ///< blocks of 128, activations in groups of 128
  fp8_other_block,   ///< finer blocks, where TP cuts one of 128
  fp8_channel,       ///< per channel, per token
  fp8_tensor,        ///< both static per tensor
  fp8_tensor_token,  ///< weights per tensor, activations per tensor or token when they come
  mxfp8,
  nvfp4,
  nvfp4_a16,  ///< NVFP4 weights, 16-bit activations
  mxfp4,
  int4,
  int8_channel,
  other
};

Pair pair_of(const ExpertKernelQuery& q);

/// A layer as the kernels' predicates see it.
struct ExpertView {
  const ExpertKernelQuery& q;
  Pair pair;
  int cc;
  bool ep, all2all;
  explicit ExpertView(const ExpertKernelQuery& query)
      : q(query),
        pair(pair_of(query)),
        cc(query.compute_capability),
        ep(query.parallel.enable_expert_parallel && query.parallel.expert_parallel_size() > 1),
        all2all(ep && (query.parallel.data_parallel_size > 1 || query.parallel.prefill_context_parallel_size > 1 ||
                       query.sequence_parallel)) {}
  bool a2a(std::string_view name) const { return all2all && q.parallel.all2all_backend == name; }
  bool one_sided() const { return a2a("flashinfer_nvlink_one_sided"); }
  bool two_sided() const { return a2a("flashinfer_nvlink_two_sided") || a2a("flashinfer_all2allv"); }
  bool high_throughput() const { return a2a("deepep_high_throughput"); }
  bool gathers() const { return a2a("allgather_reducescatter"); }
  bool batched() const { return a2a("deepep_low_latency") || a2a("nixl_ep"); }
  bool plain_or_gathers() const { return !all2all || gathers(); }
  bool eplb() const { return q.parallel.enable_eplb; }
  bool family(int major) const { return cc / 10 == major; }
  Act activation() const { return q.moe->activation; }
  Way routing() const { return q.moe->routing; }
  bool acts(std::initializer_list<Act> list) const { return std::ranges::find(list, activation()) != list.end(); }
  bool routes(std::initializer_list<Way> list) const { return std::ranges::find(list, routing()) != list.end(); }
  bool deep_gemm() const { return cc == 90 || family(10) || family(12); }  // platforms/cuda.py support_deep_gemm
};
using Seen = const ExpertView&;

/// Blocks of TP-cut experts: finer ones where that does not cut one, else none (oracle/fp8.py
/// refine_fp8_moe_block_shape).
bool cuts_blocks(const ExpertKernelQuery& q) {
  const int block = q.scheme.block_n;
  const auto& p = q.parallel;
  const int tp = p.enable_expert_parallel && p.expert_parallel_size() > 1
                     ? 1
                     : p.world_size() / p.pipeline_parallel_size * p.data_parallel_size;
  const int width = q.moe->moe_intermediate_size / std::max(tp, 1);
  return block > 0 && width % block != 0 && std::gcd(std::gcd(block, width), q.hidden_size) >= 32;
}

Pair pair_of(const ExpertKernelQuery& q) {
  using M = QuantScheme::Method;
  switch (q.scheme.method) {
    case M::none:
      return Pair::unquantised;
    case M::fp8_block:
      return !q.online && (q.scheme.block_n != 128 || cuts_blocks(q)) ? Pair::fp8_other_block : Pair::fp8_block;
    case M::fp8_channel:
      return Pair::fp8_channel;
    case M::fp8_tensor:
      return q.scheme.static_activations ? Pair::fp8_tensor : Pair::fp8_tensor_token;
    case M::mxfp8:
      return Pair::mxfp8;
    case M::nvfp4:
      return q.scheme.activations ? Pair::nvfp4 : Pair::nvfp4_a16;
    case M::mxfp4:
      return Pair::mxfp4;
    case M::awq:
    case M::gptq:
    case M::int4_group:
      return Pair::int4;
    case M::int8_channel:
      return Pair::int8_channel;
    case M::other:
      return Pair::other;
  }
  return Pair::other;
}

/// One class of experts/*.py under one backend. `takes`: its _supports_* methods, the activation format aside.
struct ExpertRow {
  std::string_view backend, experts;
  bool batched = false;
  bool (*takes)(Seen) = nullptr;
};

bool trtllm_routing(Seen v) {
  return v.routes({Way::deepseek_v3, Way::renormalize_naive, Way::sigmoid_renorm, Way::sigmoid, Way::minimax2}) &&
         !v.q.moe->hash_routing;
}
/// Kernels with their own routing know Llama 4's only for some schemes.
bool trtllm_routing_or_llama4(Seen v) { return trtllm_routing(v) || v.routes({Way::llama4}); }

bool flashinfer_cutlass(Seen v) {
  return (v.cc == 90 || v.family(10) || v.family(12)) &&
         v.acts({Act::silu, Act::gelu_tanh, Act::relu2_no_mul, Act::swigluoai, Act::swigluoai_uninterleave});
}
bool triton(Seen v) { return !v.one_sided() && !v.two_sided(); }
bool marlin(Seen v) { return v.cc >= 75 && !v.two_sided(); }
bool takes_all(Seen) { return true; }
/// Methods that give CUTLASS scales for each output or one for all.
bool channels(Seen v) {
  return v.q.quant_method == "compressed-tensors" || (v.q.online && v.pair == Pair::fp8_channel && !v.family(12));
}
bool fp8_in_triton(Seen v) { return v.cc >= 89 && v.pair != Pair::mxfp8; }

constexpr ExpertRow kTrtllmBf16[] = {{"FlashInfer TRTLLM", "TrtLlmBf16ExpertsMonolithic", false,
                                      [](Seen v) {
                                        return v.family(10) && v.acts({Act::silu, Act::relu2_no_mul}) &&
                                               v.plain_or_gathers() && !v.eplb() && trtllm_routing_or_llama4(v) &&
                                               v.q.moe->num_experts <= 2048;
                                      }},
                                     {"FlashInfer TRTLLM", "TrtLlmBf16ExpertsModular", false, [](Seen v) {
                                        return v.family(10) && v.acts({Act::silu, Act::relu2_no_mul}) && v.all2all &&
                                               !v.gathers() && !v.high_throughput() && !v.eplb() &&
                                               v.q.moe->num_experts <= 2048;
                                      }}};
constexpr ExpertRow kFlashinferBf16{"FlashInfer CUTLASS", "FlashInferExperts", false, flashinfer_cutlass};
constexpr ExpertRow kTritonBf16{"TRITON", "TritonExperts", false, triton};
constexpr ExpertRow kBatchedTritonBf16{"BATCHED_TRITON", "BatchedTritonExperts", true, takes_all};

/// oracle/unquantized.py _get_priority_backends
std::vector<ExpertRow> unquantised_rows(Seen v) {
  std::vector<ExpertRow> rows(std::begin(kTrtllmBf16), std::end(kTrtllmBf16));
  const bool hopper = v.family(9), oai = v.activation() == Act::swigluoai;
  const bool cutlass_last = hopper || oai || v.q.parallel.data_parallel_size > 1;
  if (hopper || oai) rows.clear();
  if (!cutlass_last) rows.push_back(kFlashinferBf16);
  rows.push_back(kTritonBf16);
  rows.push_back(kBatchedTritonBf16);
  if (hopper || oai) rows.insert(rows.end(), std::begin(kTrtllmBf16), std::end(kTrtllmBf16));
  if (cutlass_last) rows.push_back(kFlashinferBf16);
  return rows;
}

bool trtllm_fp8(Seen v) {
  return v.family(10) && v.acts({Act::silu, Act::swigluoai_uninterleave, Act::relu2_no_mul}) && !v.eplb() &&
         v.q.moe->num_experts <= 2048;
}
constexpr ExpertRow kTrtllmFp8[] = {
    {"FLASHINFER_TRTLLM", "TrtLlmFp8ExpertsMonolithic", false,
     [](Seen v) {
       const bool blocks = v.pair == Pair::fp8_block || v.pair == Pair::mxfp8;
       return trtllm_fp8(v) && (blocks || v.pair == Pair::fp8_tensor) && v.plain_or_gathers() &&
              !v.q.sequence_parallel && (blocks ? trtllm_routing(v) : trtllm_routing_or_llama4(v));
     }},
    {"FLASHINFER_TRTLLM", "TrtLlmFp8ExpertsModular", false, [](Seen v) {
       return trtllm_fp8(v) && (v.pair == Pair::fp8_block || v.pair == Pair::mxfp8) &&
              (v.plain_or_gathers() || v.a2a("deepep_v2") || v.one_sided() || v.two_sided());
     }}};
constexpr ExpertRow kFlashinferFp8{"FLASHINFER_CUTLASS", "FlashInferExperts", false, [](Seen v) {
                                     return flashinfer_cutlass(v) &&
                                            (v.pair == Pair::fp8_tensor || (v.pair == Pair::fp8_block && v.cc == 90));
                                   }};
constexpr ExpertRow kDeepGemm{"DEEPGEMM", "TritonOrDeepGemmExperts", false, [](Seen v) {
                                return v.deep_gemm() && v.pair == Pair::fp8_block && triton(v) &&
                                       v.acts({Act::silu, Act::swiglustep, Act::swigluoai_uninterleave});
                              }};
constexpr ExpertRow kVllmCutlass{"VLLM_CUTLASS", "TritonOrCutlassExperts", false, [](Seen v) {
                                   return v.cc >= 90 && channels(v) && v.q.moe->gated &&
                                          (v.pair == Pair::fp8_channel || v.pair == Pair::fp8_tensor) && triton(v) &&
                                          !v.high_throughput();
                                 }};
constexpr ExpertRow kTritonFp8{"TRITON", "TritonExperts", false, [](Seen v) { return fp8_in_triton(v) && triton(v); }};
/// Marlin repacks no scales that are made for each output while weights are read (online/fp8.py, which raises).
constexpr ExpertRow kMarlin{"MARLIN", "MarlinExperts", false, [](Seen v) {
                              return v.pair != Pair::fp8_other_block && !(v.q.online && v.pair == Pair::fp8_channel) &&
                                     marlin(v);
                            }};
constexpr ExpertRow kBatchedDeepGemm{"BATCHED_DEEPGEMM", "BatchedDeepGemmExperts", true, [](Seen v) {
                                       return v.deep_gemm() && v.pair == Pair::fp8_block && v.acts({Act::silu});
                                     }};
constexpr ExpertRow kBatchedVllmCutlass{"BATCHED_VLLM_CUTLASS", "CutlassBatchedExpertsFp8", true, [](Seen v) {
                                          return v.cc >= 90 && channels(v) && v.q.moe->gated &&
                                                 (v.pair == Pair::fp8_channel || v.pair == Pair::fp8_tensor);
                                        }};
constexpr ExpertRow kBatchedTritonFp8{"BATCHED_TRITON", "BatchedTritonExperts", true,
                                      [](Seen v) { return fp8_in_triton(v) && v.pair != Pair::fp8_other_block; }};

/// oracle/fp8.py _get_priority_backends
std::vector<ExpertRow> fp8_rows(Seen v) {
  std::vector<ExpertRow> rows;
  const bool hopper_blocks = v.cc == 90 && v.pair == Pair::fp8_block;
  if (hopper_blocks) rows.push_back(v.ep ? kFlashinferFp8 : kTritonFp8);
  rows.insert(rows.end(), std::begin(kTrtllmFp8), std::end(kTrtllmFp8));
  rows.insert(rows.end(), {kFlashinferFp8, kDeepGemm, kVllmCutlass, kTritonFp8, kMarlin, kBatchedDeepGemm,
                           kBatchedVllmCutlass, kBatchedTritonFp8});
  return rows;
}

/// oracle/mxfp8.py _SUPPORTED_BACKENDS
std::vector<ExpertRow> mxfp8_rows(Seen) {
  std::vector<ExpertRow> rows(std::begin(kTrtllmFp8), std::end(kTrtllmFp8));
  rows.push_back(
      {"DEEPGEMM", "DeepGemmExperts", false, [](Seen v) {
         return v.family(10) && triton(v) && v.acts({Act::silu, Act::swiglustep, Act::swigluoai_uninterleave});
       }});
  rows.push_back(kMarlin);
  rows.push_back({"EMULATION", "Mxfp8EmulationTritonExperts", false, triton});
  return rows;
}

bool trtllm_nvfp4(Seen v) {
  return v.family(10) && v.pair == Pair::nvfp4 &&
         v.acts({Act::silu, Act::relu2_no_mul, Act::gelu, Act::gelu_tanh, Act::swigluoai_uninterleave, Act::situ});
}

/// oracle/nvfp4.py: its kernels without the SwiGLU clamp are left out where the model clamps.
std::vector<ExpertRow> nvfp4_rows(Seen v) {
  std::vector<ExpertRow> rows = {
      {"FLASHINFER_TRTLLM", "TrtLlmNvFp4ExpertsMonolithic", false,
       [](Seen l) { return trtllm_nvfp4(l) && !l.all2all && !l.eplb() && trtllm_routing_or_llama4(l); }},
      {"FLASHINFER_TRTLLM", "TrtLlmNvFp4ExpertsModular", false, trtllm_nvfp4},
      {"FLASHINFER_CUTEDSL", "FlashInferCuteDSLExperts", false, [](Seen l) {
         return l.family(10) && l.pair == Pair::nvfp4 &&
                l.acts({Act::silu, Act::swigluoai, Act::swigluoai_uninterleave, Act::relu2_no_mul, Act::situ});
       }}};
  if (!v.q.moe->swiglu_limit && !v.q.online)
    rows.push_back({"FLASHINFER_CUTEDSL_BATCHED", "FlashInferCuteDSLBatchedExperts", true, [](Seen l) {
                      return l.family(10) && l.pair == Pair::nvfp4 && l.q.moe->gated && l.acts({Act::silu});
                    }});
  rows.push_back({"FLASHINFER_CUTLASS", "FlashInferExperts", false,
                  [](Seen l) { return flashinfer_cutlass(l) && l.pair == Pair::nvfp4 && l.cc >= 100; }});
  rows.push_back({"VLLM_CUTLASS", "CutlassExpertsFp4", false, [](Seen l) {
                    return l.pair == Pair::nvfp4 && (l.family(10) || l.family(11) || l.family(12)) && triton(l) &&
                           !l.high_throughput();
                  }});
  rows.push_back({"MARLIN", "MarlinExperts", false, marlin});
  rows.push_back({"EMULATION", "Nvfp4QuantizationEmulationTritonExperts", false,
                  [](Seen l) { return l.pair == Pair::nvfp4 && triton(l) && !l.q.moe->bias; }});
  return rows;
}

bool trtllm_mxfp4(Seen v) { return v.family(10) && v.q.moe->gated && v.acts({Act::swigluoai, Act::silu, Act::situ}); }
bool trtllm_mxfp4_monolithic(Seen v) {
  return trtllm_mxfp4(v) && !v.all2all && !v.eplb() && v.q.parallel.data_parallel_size <= 1 &&
         v.routes({Way::deepseek_v3, Way::renormalize_naive}) && !v.q.moe->hash_routing;
}
constexpr ExpertRow kMxfp4Marlin{"MARLIN", "MarlinExperts", false, marlin};
constexpr ExpertRow kMxfp4BatchedMarlin{"BATCHED_MARLIN", "BatchedMarlinExperts", true, marlin};

/// oracle/mxfp4.py _get_priority_backends
std::vector<ExpertRow> mxfp4_rows(Seen) {
  return {{"FLASHINFER_TRTLLM_MXFP4_MXFP8", "TrtLlmMxfp4ExpertsMonolithic", false, trtllm_mxfp4_monolithic},
          {"FLASHINFER_TRTLLM_MXFP4_MXFP8", "TrtLlmMxfp4ExpertsModular", false, trtllm_mxfp4},
          {"DEEPGEMM_MXFP4", "DeepGemmFP4Experts", false,
           [](Seen v) {
             return (v.family(10) || v.family(12)) && v.acts({Act::silu, Act::swiglustep, Act::situ}) && triton(v);
           }},
          kMxfp4Marlin,
          kMxfp4BatchedMarlin};
}

bool oai_triton(Seen v) { return v.cc >= 90 && v.cc < 130 && v.q.moe->gated && v.activation() == Act::swigluoai; }

/// The same for gpt-oss, whose activations stay in 16 bits.
std::vector<ExpertRow> gpt_oss_rows(Seen v) {
  const std::vector<ExpertRow> triton_kernels = {{"TRITON", "OAITritonMxfp4ExpertsMonolithic", false,
                                                  [](Seen l) {
                                                    return oai_triton(l) && !l.all2all && !l.eplb() &&
                                                           l.q.parallel.data_parallel_size <= 1 &&
                                                           l.routes({Way::renormalize_naive});
                                                  }},
                                                 {"TRITON", "OAITritonExperts", false, oai_triton}};
  std::vector<ExpertRow> rows = {
      {"FLASHINFER_TRTLLM_MXFP4_BF16", "TrtLlmMxfp4ExpertsMonolithic", false, trtllm_mxfp4_monolithic},
      {"FLASHINFER_TRTLLM_MXFP4_BF16", "TrtLlmMxfp4ExpertsModular", false, trtllm_mxfp4}};
  if (!v.family(12)) rows.insert(rows.end(), triton_kernels.begin(), triton_kernels.end());
  rows.push_back({"FLASHINFER_CUTLASS_MXFP4_BF16", "FlashInferExperts", false,
                  [](Seen l) { return flashinfer_cutlass(l) && l.cc == 90; }});
  rows.insert(rows.end(), {kMxfp4Marlin, kMxfp4BatchedMarlin});
  if (v.family(12)) rows.insert(rows.end(), triton_kernels.begin(), triton_kernels.end());
  return rows;
}

/// oracle/int_wna16.py
std::vector<ExpertRow> wna16_rows(Seen) {
  return {kMxfp4Marlin, kMxfp4BatchedMarlin, {"TRITON", "TritonWNA16Experts", false, [](Seen v) {
                                                return v.q.quant_method == "compressed-tensors" && !v.q.moe->bias &&
                                                       triton(v);
                                              }}};
}

/// Classes with LoRAExpertsMixin.
bool takes_adapters(const ExpertRow& row) {
  return row.experts == "TritonExperts" || row.experts == "MarlinExperts" || row.experts == "UnfusedOAITritonExperts";
}

/// oracle/int8.py
std::vector<ExpertRow> int8_rows(Seen) { return {{"TRITON", "TritonExperts", false, triton}}; }

/// A way of storing experts: vLLM's function that chooses, its rows, and the layer's method by quantisation.
struct ExpertOracle {
  std::string_view name;
  std::vector<ExpertRow> (*rows)(Seen) = nullptr;
};

ExpertOracle oracle_of(Seen v) {
  switch (v.pair) {
    case Pair::unquantised:
      return {"select_unquantized_moe_backend", unquantised_rows};
    case Pair::fp8_block:
    case Pair::fp8_other_block:
    case Pair::fp8_channel:
    case Pair::fp8_tensor:
    case Pair::fp8_tensor_token:
      return {"select_fp8_moe_backend", fp8_rows};
    case Pair::mxfp8:
      return {"select_mxfp8_moe_backend", mxfp8_rows};
    case Pair::nvfp4:
    case Pair::nvfp4_a16:
      return {"select_nvfp4_moe_backend", nvfp4_rows};
    case Pair::mxfp4:
      if (v.q.gpt_oss) return {"select_mxfp4_moe_backend", gpt_oss_rows};
      return {"select_deepseek_v4_mxfp4_moe_backend", mxfp4_rows};
    case Pair::int4:
      return {"select_wna16_moe_backend", wna16_rows};
    case Pair::int8_channel:
      return {"select_int8_moe_backend", int8_rows};
    case Pair::other:
      return {};
  }
  return {};
}

/// layers/quantization/online/base.py
std::string_view online_method(Pair pair) {
  switch (pair) {
    case Pair::fp8_channel:
      return "Fp8PtpcOnlineMoEMethod";
    case Pair::fp8_block:
    case Pair::fp8_other_block:
      return "Fp8PerBlockOnlineMoEMethod";
    case Pair::mxfp8:
      return "Mxfp8OnlineMoEMethod";
    case Pair::mxfp4:
      return "Mxfp4OnlineMoEMethod";
    case Pair::int8_channel:
      return "Int8OnlineMoEMethod";
    case Pair::nvfp4:
    case Pair::nvfp4_a16:
      return "Nvfp4OnlineMoEMethod";
    default:
      return "Fp8PerTensorOnlineMoEMethod";
  }
}

std::string_view method_of(Seen v) {
  if (v.q.online && v.pair != Pair::unquantised) return online_method(v.pair);
  const auto& quant = v.q.quant_method;
  const bool modelopt = quant.starts_with("modelopt"), compressed = quant == "compressed-tensors";
  switch (v.pair) {
    case Pair::unquantised:
      return "UnquantizedFusedMoEMethod";
    case Pair::mxfp8:
      return modelopt ? "ModelOptMxFp8FusedMoE" : "CompressedTensorsW8A8Mxfp8MoEMethod";
    case Pair::nvfp4:
    case Pair::nvfp4_a16:
      return compressed ? "CompressedTensorsW4A4Nvfp4MoEMethod" : "ModelOptNvFp4FusedMoE";
    case Pair::mxfp4:
      return v.q.gpt_oss ? "GptOssMxfp4MoEMethod" : "Mxfp4MoEMethod";
    case Pair::int4:
      return compressed                                      ? "CompressedTensorsWNA16MoEMethod"
             : v.q.scheme.method == QuantScheme::Method::awq ? "AutoAWQMoEMethod"
                                                             : "AutoGPTQMoEMethod";
    default:
      return modelopt ? "ModelOptFp8MoEMethod" : compressed ? "CompressedTensorsW8A8Fp8MoEMethod" : "Fp8MoEMethod";
  }
}

}  // namespace

std::optional<ExpertKernel> choose_expert_kernel(const ExpertKernelQuery& query) {
  const ExpertView view(query);
  const auto oracle = oracle_of(view);
  if (query.online && view.pair == Pair::nvfp4 && !view.family(10)) return std::nullopt;  // online/nvfp4.py
  if (!oracle.rows) return ExpertKernel{method_of(view), "", "", view.all2all, view.batched()};
  for (const auto& row : oracle.rows(view))
    if (row.batched == view.batched() && row.takes(view) && (!query.lora || takes_adapters(row)))
      return ExpertKernel{method_of(view), row.backend, row.experts, view.all2all, view.batched()};
  return std::nullopt;
}

ExpertKernelQuery expert_query(const ModelFacts& model, const ParallelConfig& parallel, bool sequence_parallel,
                               std::string_view quantisation, int compute_capability) {
  ExpertKernelQuery q;
  q.moe = &model.experts->moe;
  q.scheme = model.experts->scheme;
  q.online = model.experts->online;
  q.quant_method = quantisation;
  q.gpt_oss = model.model_type == "gpt_oss";
  q.hidden_size = model.experts->hidden_size;
  q.parallel = parallel;
  q.sequence_parallel = sequence_parallel;
  q.compute_capability = compute_capability;
  return q;
}

std::string_view expert_kernel_oracle(const ExpertKernelQuery& query) { return oracle_of(ExpertView(query)).name; }

}  // namespace shardwise
