#include "parallel/linear_kernels.h"

namespace shardwise {
namespace {

/// The kernel of the first generation at or above which it is taken.
struct KernelByCapability {
  std::string_view ada, hopper, blackwell, blackwell_rtx;
};

std::string_view pick(const KernelByCapability& kernels, int cc) {
  if (cc >= 120) return kernels.blackwell_rtx;
  return cc >= 100 ? kernels.blackwell : cc >= 90 ? kernels.hopper : kernels.ada;
}

constexpr std::string_view kLinearDeepGemm = "FlashInferFp8DeepGEMMDynamicBlockScaledKernel",
                           kLinearCutlassFp8 = "CutlassFP8ScaledMMLinearKernel",
                           kLinearFlashinferFp8 = "FlashInferFP8ScaledMMLinearKernel",
                           kCutlassNvfp4 = "CutlassNvFp4LinearKernel", kMarlinNvfp4 = "MarlinNvFp4LinearKernel",
                           kMarlinMxfp8 = "MarlinMxfp8LinearKernel", kLinearMarlin = "MarlinLinearKernel";

constexpr KernelByCapability kLinearFp8Block{"CutlassFp8BlockScaledMMKernel", kLinearDeepGemm, kLinearDeepGemm,
                                             kLinearDeepGemm},
    kLinearFp8Tensor{kLinearCutlassFp8, kLinearCutlassFp8, kLinearFlashinferFp8, kLinearFlashinferFp8},
    kNvfp4{kCutlassNvfp4, kCutlassNvfp4, "FlashInferCuteDslNvFp4LinearKernel", "FlashInferCutlassNvFp4LinearKernel"},
    kNvfp4A16{kMarlinNvfp4, kMarlinNvfp4, "FlashInferCuteDslNvFp4W4A16LinearKernel", kMarlinNvfp4},
    kMxfp8{kMarlinMxfp8, kMarlinMxfp8, "FlashInferCutedslMxfp8LinearKernel", "FlashInferCutlassMxfp8LinearKernel"},
    kLinearInt4{kLinearMarlin, "MacheteLinearKernel", kLinearMarlin, kLinearMarlin};

/// compressed-tensors' scheme class that stands before the kernel.
std::string compressed(std::string_view scheme, std::string_view kernel) {
  return std::string("CompressedTensorsLinearMethod:") + std::string(scheme) + ">" + std::string(kernel);
}

std::string_view fp8_method(std::string_view quant_method) {
  return quant_method.starts_with("modelopt") ? "ModelOptLinearMethod:" : "Fp8LinearMethod:";
}

std::string method_and(std::string_view method, std::string_view kernel) {
  return std::string(method) + std::string(kernel);
}

/// DeepGEMM's multiples (utils/deep_gemm.py should_use_deepgemm_for_fp8_linear).
std::string_view fp8_block_kernel(int cc, LinearShape shape) {
  return shape.out % 64 == 0 && shape.in % 128 == 0 ? pick(kLinearFp8Block, cc) : kLinearFp8Block.ada;
}

/// Machete's groups and multiples (kernels/linear/mixed_precision/machete.py can_implement).
std::string_view int4_kernel(const QuantScheme& scheme, int cc, LinearShape shape) {
  const bool group = scheme.group_size <= 0 || scheme.group_size == 64 || scheme.group_size == 128;
  return group && shape.in % 64 == 0 && shape.out % 128 == 0 ? pick(kLinearInt4, cc) : kLinearMarlin;
}

}  // namespace

std::string linear_kernel(const QuantScheme& scheme, std::string_view quant_method, int cc, LinearShape shape) {
  using M = QuantScheme::Method;
  const bool ct = quant_method == "compressed-tensors";
  switch (scheme.method) {
    case M::none:
    case M::other:
      return "UnquantizedLinearMethod:None";
    case M::fp8_block:
      return ct ? compressed("CompressedTensorsW8A8Fp8", fp8_block_kernel(cc, shape))
                : method_and(fp8_method(quant_method), fp8_block_kernel(cc, shape));
    case M::fp8_channel:
      if (cc < 89) return "CompressedTensorsLinearMethod:CompressedTensorsW8A16Fp8";
      return compressed("CompressedTensorsW8A8Fp8", kLinearCutlassFp8);
    case M::fp8_tensor:
      if (ct && cc < 89) return "CompressedTensorsLinearMethod:CompressedTensorsW8A16Fp8";
      return ct ? compressed("CompressedTensorsW8A8Fp8", pick(kLinearFp8Tensor, cc))
                : method_and(fp8_method(quant_method), pick(kLinearFp8Tensor, cc));
    case M::int8_channel:
      return compressed("CompressedTensorsW8A8Int8", "CutlassInt8ScaledMMLinearKernel");
    case M::nvfp4:
      if (ct) return compressed("CompressedTensorsW4A4Fp4", pick(kNvfp4, cc));
      return method_and("ModelOptLinearMethod:", pick(scheme.activations ? kNvfp4 : kNvfp4A16, cc));
    case M::mxfp8:
      return ct ? compressed("CompressedTensorsW8A8Mxfp8", pick(kMxfp8, cc))
                : method_and("ModelOptLinearMethod:", pick(kMxfp8, cc));
    case M::awq:
      return method_and("AutoAWQMarlinLinearMethod:", int4_kernel(scheme, cc, shape));
    case M::gptq:
      return method_and("AutoGPTQLinearMethod:", int4_kernel(scheme, cc, shape));
    case M::int4_group:
      return compressed("CompressedTensorsWNA16", int4_kernel(scheme, cc, shape));
    case M::mxfp4:
      return "UnquantizedLinearMethod:None";
  }
  return "UnquantizedLinearMethod:None";
}

}  // namespace shardwise
