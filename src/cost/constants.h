#pragma once
// The few numbers that no kernel table and no data sheet gives: scale factors, launch gaps, host and front-end times.
// Values and sources are rows of data/calibration/serving.csv; bands are rows of data/calibration/bands.csv.
#include <array>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

/// One row of serving.csv.
struct CostParameter {
  std::string name;
  double value = 1;       ///< fitted
  double prior = 1;       ///< physical default the fit starts from
  double prior_sd = 0.3;  ///< of ln(value), for the ridge of the fit
  std::string unit, source;
};

enum class Coef {
  gemm,
  moe,
  decode_attention,
  prefill_attention,
  all_reduce,
  prefill_hopper,
  prefill_blackwell,
  sustained_hopper,
  sustained_blackwell,
  gap_hopper,
  gap_blackwell,
  moe_gap,
  host,
  sequence,
  mixed,
  http,
  first_token,
  front_end,
  old_engine,
  no_async,
  stream,
  eager_dense,
  eager_moe,
  fused_all_reduce,
  static_fp8_hopper,
  static_fp8_blackwell,
  static_scale,
  old_block_moe
};

/// What a coefficient is called in serving.csv, and what it means. "hopper": Hopper and older.
struct CoefRow {
  Coef coef;
  std::string_view name, meaning;
};
inline constexpr CoefRow kCoefRows[] = {
    {Coef::gemm, "gemm", "measured GEMM time in a step / kernel time, decode"},
    {Coef::moe, "moe", "routed experts, decode (routing concentration of an unknown model included)"},
    {Coef::decode_attention, "decode_attention", "measured / kernel time, decode"},
    {Coef::prefill_attention, "prefill_attention", "measured / kernel time, prompts"},
    {Coef::all_reduce, "all_reduce", "short all-reduces in a step / table"},
    {Coef::prefill_hopper, "prefill_hopper", "experts and element-wise kernels of prompt steps"},
    {Coef::prefill_blackwell, "prefill_blackwell", "prefill_hopper, of Blackwell"},
    {Coef::sustained_hopper, "sustained_hopper",
     "share of the dense peak that GEMMs keep up under power and thermal limits"},
    {Coef::sustained_blackwell, "sustained_blackwell", "sustained_hopper, of Blackwell"},
    {Coef::gap_hopper, "gap_hopper", "s per layer between kernels of a CUDA graph"},
    {Coef::gap_blackwell, "gap_blackwell", "gap_hopper, of Blackwell"},
    {Coef::moe_gap, "moe_gap", "s per MoE layer: router, top-k, align, sum"},
    {Coef::host, "host", "s per step that asynchronous scheduling does not hide"},
    {Coef::sequence, "sequence", "s per running sequence and step"},
    {Coef::mixed, "mixed", "s per step that holds prompt tokens"},
    {Coef::http, "http", "s per request: client, HTTP, first scheduling"},
    {Coef::first_token, "first_token",
     "s that the first token takes to the client beside that: first detokenisation and chunk"},
    {Coef::front_end, "front_end", "s per prompt token, one request at a time: tokeniser, input processing"},
    {Coef::old_engine, "old_engine", "s per step of engines up to 0.12"},
    {Coef::no_async, "no_async", "s per running sequence and step without asynchronous scheduling"},
    {Coef::stream, "stream", "s added to the first token per request in flight: one process streams all answers"},
    {Coef::eager_dense, "eager_dense", "s per layer: CPU launches of a prompt step longer than the captured graphs"},
    {Coef::eager_moe, "eager_moe", "s per MoE layer beside that"},
    {Coef::fused_all_reduce, "fused_all_reduce", "what a short all-reduce keeps of that when fused with RMSNorm"},
    {Coef::static_fp8_hopper, "static_fp8_hopper",
     "prompt-step GEMMs of per-tensor fp8 checkpoints: scales are static, quantisation is fused"},
    {Coef::static_fp8_blackwell, "static_fp8_blackwell", "static_fp8_hopper, of Blackwell"},
    {Coef::static_scale, "static_scale", "share of the time of dynamic activation scales that static ones save"},
    {Coef::old_block_moe, "old_block_moe", "s per layer of fp8_block experts before 0.18"},
};
inline constexpr std::size_t kCoefs = std::size(kCoefRows);

/// Every coefficient has its row, at its own place.
constexpr bool rows_follow_coefs() {
  for (std::size_t i = 0; i < kCoefs; ++i)
    if (static_cast<std::size_t>(kCoefRows[i].coef) != i) return false;
  return kCoefs == static_cast<std::size_t>(Coef::old_block_moe) + 1;
}
static_assert(rows_follow_coefs());

/// How strongly the tokens of a batch agree on experts, relative to a skewed random routing: factor on expert time.
struct RoutingRow {
  std::string pattern;  ///< part of the model's name or architecture, lower case
  double factor = 1;
  std::string source;
};

struct CostConstants {
  std::array<double, kCoefs> value{};
  std::vector<RoutingRow> routing;
  double step = 1;                      ///< factor on every engine step: what a calibration found
  double ttft_band = 1, tpot_band = 1;  ///< factors on the half widths of intervals (in ln), likewise
  double operator[](Coef c) const { return value[static_cast<std::size_t>(c)]; }
  double& operator[](Coef c) { return value[static_cast<std::size_t>(c)]; }
};

const std::vector<CostParameter>& cost_parameters();  ///< rows of serving.csv, in the order of Coef
const CostConstants& default_constants();             ///< their values

/// Fixed physics that is not fitted; each with its source.
struct FixedConstant {
  double value;
  const char* unit;
  const char* source;
};
namespace fixed {
inline constexpr FixedConstant gemm_floor{2e-6, "s", "added to every GEMM roof in the fit of the surfaces"};
inline constexpr FixedConstant moe_floor{8e-6, "s", "added to every expert roof in the fit of the surfaces"};
inline constexpr FixedConstant decode_floor{4e-6, "s", "added to every decode-attention roof in the fit"};
inline constexpr FixedConstant prefill_floor{5e-6, "s", "added to every prefill-attention roof in the fit"};
inline constexpr FixedConstant block_fp8_scale{1.1, "", "fp8 128x128 block GEMM against per-tensor fp8, large shapes"};
inline constexpr FixedConstant block_fp8_add{2e-6, "s", "activation group quantisation kernel"};
inline constexpr FixedConstant stream{0.8, "of bandwidth", "element-wise kernels, measured share of HBM bandwidth"};
inline constexpr FixedConstant sampler{30e-6, "s", "sampler and logits processing, kernels of one step"};
inline constexpr FixedConstant mla_floor{9e-6, "s",
                                         "mla_generation_module tables minus their projections, short contexts"};
inline constexpr FixedConstant sparse_decode_floor{30e-6, "s",
                                                   "added to every roof of sparse attention in the fit, decode"};
inline constexpr FixedConstant sparse_prefill_floor{40e-6, "s",
                                                    "added to every roof of sparse attention in the fit, prompts"};
inline constexpr FixedConstant state_decode_floor{5e-6, "s",
                                                  "added to every roof of a recurrent state in the fit, decode"};
inline constexpr FixedConstant state_prompt_floor{14e-6, "s",
                                                  "added to every roof of a recurrent state in the fit, prompts"};
inline constexpr FixedConstant quant_floor{3e-6, "s", "added to every roof of activation quantisation in the fit"};
inline constexpr FixedConstant mhc_floor{25e-6, "s", "added to every roof of hyper-connections in the fit"};
// States without a kernel table (Mamba, lightning attention, short convolutions).
inline constexpr FixedConstant state_bandwidth{0.73, "of bandwidth",
                                               "gdn_perf fused_recurrent decode: 0.78 H200, 0.70 B200"};
inline constexpr FixedConstant state_floor{8e-6, "s", "gdn_perf decode kernels at batch 1 (recurrent + convolution)"};
inline constexpr FixedConstant state_prefill_flops{0.08, "of peak", "gdn_perf chunk_gated_delta_rule, 1k-32k tokens"};
inline constexpr FixedConstant state_prefill_bandwidth{0.5, "of bandwidth", "gdn_perf causal_conv1d_fn, 1k-32k tokens"};
inline constexpr FixedConstant state_prefill_floor{16e-6, "s", "gdn_perf context kernels at short prompts"};
inline constexpr FixedConstant eager_layer{
    600e-6, "s",
    "one layer without compilation, reported: 652 us (27B, 64 layers, RTX 5090: "
    "24.0 tokens/s, 62.5 with graphs), 800 us (Qwen2.5-Omni-7B, A800: 22 to 23 ms "
    "a token, 13 with), 470 us (3B, H200: 4.3 times as slow as with)"};
inline constexpr FixedConstant eager_moe_layer{330e-6, "s",
                                               "further launches of a MoE layer, by its number of kernels"};
inline constexpr FixedConstant piecewise_layer{12e-6, "s", "attention launched between graph pieces"};
inline constexpr FixedConstant mamba_launch{580e-6, "s",
                                            "CPU launches of one Mamba2 layer's prompts, which no graph holds "
                                            "(bench/data/mamba_h100.csv, mamba2_prefill_launch: 563-672)"};
inline constexpr FixedConstant pp_transfer{30e-6, "s",
                                           "send/receive of hidden states and residual between stages, small message"};
inline constexpr FixedConstant pp_host{150e-6, "s",
                                       "per stage and step: intermediate tensors metadata, scheduling of a stage"};
inline constexpr FixedConstant lockstep_waits{0.5, "of the other ranks",
                                              "share of other ranks whose prompts a rank waits for apart from its own: "
                                              "prompts come in waves; mean of simulated layouts of four MoE models"};
inline constexpr FixedConstant host_copy{
    0.8, "of the bus",
    "copies from pinned host memory, reported: 10.5 GiB/s of PCIe gen3 x16 (0.72), "
    "25 GB/s of gen4 (0.8), 55 GB/s of gen5 (0.87)"};
inline constexpr FixedConstant adapter_kernel{
    5e-6, "s",
    "one Triton kernel of LoRA (shrink or expand) in a CUDA graph, beside its "
    "bytes: Llama-2-7B on an A100 loses a third of its throughput (vLLM #11267)"};
inline constexpr FixedConstant adapter_flops{0.2, "of peak", "assumed of GEMMs as narrow as a LoRA rank"};
inline constexpr FixedConstant network_efficiency{0.8, "of link", "NCCL over InfiniBand, large messages"};
inline constexpr FixedConstant network_step{10e-6, "s",
                                            "NCCL inter-node step: proxy and completion, beside the wire latency"};
}  // namespace fixed

}  // namespace shardwise
