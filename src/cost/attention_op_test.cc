// Attention cores and recurrent states: measured kernels, the plain formula, and what must never shrink.
#include "cost/attention_op.h"

#include <gtest/gtest.h>

#include <cmath>

#include "config/text_source.h"
#include "cost/compiled_step.h"
#include "hardware/catalogue.h"
#include "model/bundled_model.h"
#include "model/load.h"

namespace shardwise {
namespace {

Chip chip(const char* name) { return chip_of(*find_gpu_or_null(name)); }

template <class Kind, class Fits>
const Kind& first_layer(const Model& m, Fits&& fits) {
  for (const auto& layer : m.layers)
    if (const auto* a = std::get_if<Kind>(&layer.attention); a && fits(*a)) return *a;
  throw std::runtime_error("no such layer in " + m.name);
}

double micro(const OpTime& t) { return t.seconds * 1e6; }

// ---- measured rows of aiconfigurator-core 0.12.0, microseconds

TEST(MeasuredKernels, GatedDeltaNet) {
  const LinearAttention layer{.kind = LinearAttention::Kind::gated_delta_net,
                              .num_heads = 16,
                              .num_key_heads = 8,
                              .head_dim = 128,
                              .key_head_dim = 128,
                              .conv_kernel = 4};
  struct Row {
    const char* gpu;
    double decode_1, decode_64, decode_512, prompt_2k, prompts_4x1k, prompt_16k;
  };
  // convolution + recurrence of gdn_perf, 16 value heads, 8 key heads
  for (const Row& r :
       {Row{"H200", 6.28, 41.9, 278.7, 126.8, 91.8, 941.6}, Row{"B200", 6.61, 26.2, 182.8, 110.1, 84.9, 737.7}}) {
    auto op = attention_op(layer, chip(r.gpu), 1, 1, {2, 4}, 4096);
    op.copy_bytes = 0;  // the tables time the kernel alone
    EXPECT_NEAR(micro(op.decode_time(1, 100)), r.decode_1, 0.1 * r.decode_1);
    EXPECT_NEAR(micro(op.decode_time(64, 100)), r.decode_64, 0.1 * r.decode_64);
    EXPECT_NEAR(micro(op.decode_time(512, 100)), r.decode_512, 0.1 * r.decode_512);
    EXPECT_NEAR(micro(op.prefill_time(1, 2048, 0)), r.prompt_2k, 0.1 * r.prompt_2k);
    EXPECT_NEAR(micro(op.prefill_time(4, 1024, 0)), r.prompts_4x1k, 0.1 * r.prompts_4x1k);
    EXPECT_NEAR(micro(op.prefill_time(1, 16384, 0)), r.prompt_16k, 0.1 * r.prompt_16k);
  }
}

TEST(MeasuredKernels, KimiDelta) {
  const LinearAttention layer{.kind = LinearAttention::Kind::kimi_delta,
                              .num_heads = 24,
                              .num_key_heads = 24,
                              .head_dim = 128,
                              .key_head_dim = 128,
                              .conv_kernel = 4};
  EXPECT_NEAR(micro(attention_op(layer, chip("H200"), 1, 1, {2, 2}, 7168).decode_time(64, 1)), 62.0, 6);
  EXPECT_NEAR(micro(attention_op(layer, chip("B200"), 1, 1, {2, 2}, 7168).decode_time(64, 1)), 47.5, 5);
}

/// Sum of bf16 projections of one layer, microseconds.
double projections(const Chip& c, double tokens, std::initializer_list<std::pair<double, double>> shapes) {
  double sum = 0;
  for (const auto& [n, k] : shapes) sum += micro(Gemm(gemm_type(QuantScheme{}, c), c, n, k).time(tokens));
  return sum;
}

TEST(MeasuredKernels, MiniMaxM3Module) {
  const auto m = bundled_model("MiniMaxAI/MiniMax-M3");
  const auto& layer = first_layer<FullAttention>(m, [](const auto& a) { return a.indexer.has_value(); });
  for (const auto& [gpu, decode, prompt] : {std::tuple{"H200", 128.3, 1147.3}, std::tuple{"B200", 104.9, 367.4}}) {
    const auto c = chip(gpu);
    // msa_generation_module: 8 heads, 128 sequences of 8192, fp8 cache; msa_context_module: 16 heads, one prompt of
    // 4096
    const auto eight = attention_op(layer, c, 8, 1, {1, 2}, 6144), sixteen = attention_op(layer, c, 4, 1, {1, 2}, 6144);
    EXPECT_NEAR(micro(eight.decode_time(128, 8192)) + projections(c, 128, {{1536, 6144}, {6144, 1024}}), decode,
                0.1 * decode);
    EXPECT_NEAR(
        micro(sixteen.prefill_time(1, 4096, 4096 * 2048.0)) + projections(c, 4096, {{2560, 6144}, {6144, 2048}}),
        prompt, 0.12 * prompt);
  }
}

TEST(MeasuredKernels, DeepSeekSparseModule) {
  const auto m = bundled_model("deepseek-ai/DeepSeek-V3.2");
  const auto& layer = first_layer<MlaAttention>(m, [](const auto& a) { return a.indexer.has_value(); });
  for (const auto& [gpu, decode, prompt] : {std::tuple{"H200", 332.1, 10368.3}, std::tuple{"B200", 265.5, 4658.9}}) {
    const auto c = chip(gpu);  // dsa_*_module, 16 heads, fp8 cache: 128 sequences of 4097; one prompt of 8192
    const auto op = attention_op(layer, c, 8, 1, {1, 2}, 7168);
    const auto around = [&](double tokens) {
      return projections(c, tokens,
                         {{1536 + 576, 7168},
                          {16 * 192, 1536},
                          {16 * 256, 512},
                          {7168, 16 * 128},
                          {64 * 128, 1536},
                          {128 + 64, 7168}});
    };
    EXPECT_NEAR(micro(op.decode_time(128, 4097)) + around(128), decode, 0.1 * decode);
    EXPECT_NEAR(micro(op.prefill_time(1, 8192, 8192 * 4096.0)) + around(8192), prompt, 0.12 * prompt);
  }
}

TEST(MeasuredKernels, QuantisationAndHyperConnections) {
  EXPECT_NEAR(quantise_seconds(chip("H200"), 4096, 4096) * 1e6, 19.3, 2);
  EXPECT_NEAR(quantise_seconds(chip("B200"), 4096, 4096) * 1e6, 17.4, 2);
  EXPECT_NEAR(hyper_connection_seconds(chip("H200"), 4096, 4096, 4) * 1e6, 320, 32);
  EXPECT_NEAR(hyper_connection_seconds(chip("B200"), 4096, 4096, 4) * 1e6, 233, 24);
}

// ---- the plain formula

/// Multilinear interpolation over all axes at once, written without slices.
double interpolate(const Grid& g, const std::vector<double>& at) {
  double sum = 0;
  for (std::size_t corner = 0; corner < (std::size_t{1} << at.size()); ++corner) {
    double weight = 1;
    std::size_t index = 0;
    for (std::size_t d = 0; d < at.size(); ++d) {
      const auto& axis = g.axes[d];
      const double x = std::min(std::max(at[d], axis.front()), axis.back());
      std::size_t left = 0;
      while (left + 2 < axis.size() && axis[left + 1] <= x) ++left;
      const double up = (x - axis[left]) / (axis[left + 1] - axis[left]);
      const bool right = corner >> d & 1;
      weight *= right ? up : 1 - up;
      index = index * axis.size() + left + right;
    }
    sum += weight * g.values[index];
  }
  return sum;
}

TEST(AttentionOp, EqualsThePlainFormula) {
  const auto c = chip("H100");
  const double bw = c.bandwidth, bf16 = c.bf16, fp8 = c.fp8;
  const auto near = [](const OpTime& t, double seconds) { EXPECT_NEAR(t.seconds, seconds, 1e-5 * seconds); };
  {  // MSA, 16 query heads and one key head a rank, 16-bit cache
    const auto m = bundled_model("MiniMaxAI/MiniMax-M3");
    const auto& a = first_layer<FullAttention>(m, [](const auto& l) { return l.indexer.has_value(); });
    const auto op = attention_op(a, c, 4, 1, {2, 2}, 6144);
    const double B = 24, S = 10000, core = std::max(B * 2048 * 4 * 16 * 128 / bf16, B * 2048 * 2 * 128 * 2 / bw);
    const double scan = B * S * std::max(2 * 128 / bf16, 256 / bw);
    near(op.decode_time(B, S), (core + scan + 30e-6) * std::exp(interpolate(*c.tables->find("msa_decode"),
                                                                            {std::log2(B), std::log2(S), 4, 1})));
    const double s = 3000, p = s * (500 + s / 2);
    near(op.prefill_time(2, s, p),
         (2 * s * std::min(p / s, 2048.0) * 4 * 16 * 128 / bf16 + 2 * s * (2 * 16 + 2) * 128 * 2 / bw +
          2 * p * 2 * 128 / bf16 + 40e-6) *
             std::exp(interpolate(*c.tables->find("msa_prefill"), {std::log2(2 * s), std::log2(p / s), 4, 1})));
  }
  {  // DSA: 16 heads padded to 64, the choice of 2048 whatever the context, fp8 cache
    const auto m = bundled_model("deepseek-ai/DeepSeek-V3.2");
    const auto op = attention_op(m.layers[0].attention, c, 8, 1, {1, 2}, 7168);
    const double B = 48, S = 900;
    const double core = std::max(B * 2048 * 2 * 64 * 1088 / bf16, B * 2048 * 576 / bw);
    const double scan = B * S * std::max(2.0 * 64 * 128 / fp8, 132 / bw);
    near(op.decode_time(B, S), (core + scan + 30e-6) * std::exp(interpolate(*c.tables->find("dsa_decode"),
                                                                            {std::log2(B), std::log2(S), 4, 0})));
  }
  {  // compressed attention, one entry for four tokens and a window of 128
    const auto m = bundled_model("deepseek-ai/DeepSeek-V4-Flash");
    const auto& a = first_layer<MlaAttention>(m, [](const auto& l) { return l.compress_ratio == 4; });
    const auto op = attention_op(a, c, 1, 1, {1, 2}, 4096);
    const double B = 8, S = 1000, seen = 250 + 128;
    const double core = std::max(B * seen * 4 * 64 * 512 / bf16, B * seen * 584 / bw);
    const double scan = B * 250 * std::max(2.0 * 64 * 128 / fp8, 132 / bw);
    near(op.decode_time(B, S), (core + scan + 30e-6) * std::exp(interpolate(*c.tables->find("csa_decode"),
                                                                            {std::log2(B), std::log2(S), 6, 0})));
  }
  {  // GDN: 32 value heads, 16 key heads over two ranks, 16-bit states
    const auto m = bundled_model("qwen3-next-80b-a3b");
    const auto& a = first_layer<LinearAttention>(m, [](const auto&) { return true; });
    const auto op = attention_op(a, c, 2, 1, {2, 2}, 2048);
    const double state = 16 * 128 * 128, channels = 16 * 128 + 2 * 8 * 128;
    near(op.decode_time(100, 1), (100 * (2 * 2 * state + 4 * channels * 4) / bw + 5e-6) *
                                     std::exp(interpolate(*c.tables->find("gdn_decode"), {std::log2(100), 4, 1})));
  }
}

// ---- what must never shrink

TEST(AttentionOp, MoreWorkIsNeverFaster) {
  for (const char* gpu : {"H100", "H200", "B200", "GB300"})
    for (const char* name : {"qwen3-next-80b-a3b", "Qwen/Qwen3.5-397B-A17B", "moonshotai/Kimi-Linear-48B-A3B-Instruct",
                             "moonshotai/Kimi-K3", "deepseek-ai/DeepSeek-V3.2", "nvidia/GLM-5.2-NVFP4",
                             "MiniMaxAI/MiniMax-M3", "deepseek-ai/DeepSeek-V4-Flash", "deepseek-ai/DeepSeek-V4-Pro"}) {
      const auto m = bundled_model(name);
      const auto c = chip(gpu);
      std::vector<Attention> seen;
      for (const auto& layer : m.layers) {
        if (std::find(seen.begin(), seen.end(), layer.attention) != seen.end()) continue;
        seen.push_back(layer.attention);
        if (const auto* full = std::get_if<FullAttention>(&layer.attention); full && !full->indexer) continue;
        const auto op = attention_op(layer.attention, c, 8, 1, {1, 4}, m.hidden_size);
        const auto grows = [&](const char* along, double from, double to, auto&& time) {
          double last = 0;
          for (double x = from; x <= to; x *= 1.3) {
            const double t = time(x).seconds;
            EXPECT_GE(t, last * 0.95) << name << " on " << gpu << ", layer " << &layer - m.layers.data() << ", "
                                      << along << " "
                                      << x;  // surfaces rise from knot to knot; between them a few per cent
            last = std::max(last, t);
          }
        };
        grows("sequences", 1, 1024, [&](double n) { return op.decode_time(n, 4000); });
        grows("context", 16, 131072, [&](double s) { return op.decode_time(32, s); });
        grows("prompt", 16, 32768, [&](double s) { return op.prefill_time(1, s, s * s / 2); });
        grows("prefix", 1, 65536, [&](double p) { return op.prefill_time(1, 2048, 2048 * (p + 1024)); });
      }
    }
}

TEST(AttentionOp, SharedIndexesAreNotScannedAgain) {
  const auto m = bundled_model("nvidia/GLM-5.2-NVFP4");
  const auto c = chip("H100");
  const auto& full = first_layer<MlaAttention>(m, [](const auto& a) { return a.indexer && !a.indexer->shared; });
  const auto& shared = first_layer<MlaAttention>(m, [](const auto& a) { return a.indexer && a.indexer->shared; });
  const auto scan = attention_op(full, c, 8, 1, {1, 2}, 6144), reuse = attention_op(shared, c, 8, 1, {1, 2}, 6144);
  EXPECT_GT(scan.decode_time(128, 65536).seconds, 1.5 * reuse.decode_time(128, 65536).seconds);
}

TEST(AttentionOp, StatesWithoutATableFollowBandwidth) {
  const LinearAttention layer{.kind = LinearAttention::Kind::lightning,
                              .num_heads = 64,
                              .num_key_heads = 64,
                              .head_dim = 128,
                              .key_head_dim = 128};
  auto c = chip("H100");
  const double slow = attention_op(layer, c, 1, 1, {2, 4}, 4096).decode_time(512, 1).seconds - 8e-6;
  c.bandwidth *= 2;
  EXPECT_NEAR(attention_op(layer, c, 1, 1, {2, 4}, 4096).decode_time(512, 1).seconds - 8e-6, slow / 2, 1e-3 * slow);
}

}  // namespace
}  // namespace shardwise
