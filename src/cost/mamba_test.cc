// Mamba layers against kernels measured on an H100 (bench/data/mamba_h100.csv), and properties of their times.
#include <gtest/gtest.h>

#include "cost/attention_op.h"
#include "cost/compiled_step.h"

namespace shardwise {
namespace {

Gpu gpu(const char* name, double gb_per_s, double bf16_tflops) {
  Gpu g;
  g.name = name, g.vendor = "nvidia", g.architecture = "Hopper", g.compute_capability = 90;
  g.memory_bandwidth = gb_per_second(gb_per_s);
  g.peak = {{GpuDType::bf16, tflops(bf16_tflops)}};
  g.sm_count = 132;
  return g;
}

struct Mixer {
  int heads, head_dim, state_size, groups, chunk_size;
};

AttentionOp op_of(const Mixer& m, double state_bytes, const Gpu& on, int tp = 1) {
  LinearAttention l;
  l.kind = LinearAttention::Kind::mamba2;
  l.num_heads = m.heads, l.head_dim = m.head_dim, l.state_size = m.state_size, l.num_key_heads = m.groups;
  l.intermediate_size = m.heads * m.head_dim, l.chunk_size = m.chunk_size, l.conv_kernel = 4;
  return attention_op(l, chip_of(on), tp, 1, {2, state_bytes}, 4096);
}

const Gpu h100 = gpu("H100-SXM", 3350, 989.4);
const Mixer ultra{256, 64, 128, 8, 128}, nano{64, 64, 128, 8, 128}, granite{128, 64, 128, 1, 256},
    zamba{112, 64, 64, 2, 256}, falcon{32, 128, 256, 2, 128};

TEST(Mamba, DecodeAgreesWithMeasuredKernels) {
  struct Row {
    Mixer mixer;
    double state_bytes, sequences, us;
  };
  const Row rows[] = {{ultra, 4, 8, 52.5},    {nano, 4, 1, 6.3},      {nano, 4, 64, 104.7},    {nano, 4, 1024, 1570},
                      {granite, 2, 16, 29.9}, {zamba, 2, 128, 145.2}, {falcon, 2, 256, 717.0}, {falcon, 4, 4, 17.1}};
  for (const auto& r : rows)
    EXPECT_NEAR(op_of(r.mixer, r.state_bytes, h100).decode_time(r.sequences, 1000).seconds * 1e6, r.us, 0.1 * r.us)
        << r.mixer.heads << " heads, " << r.sequences << " sequences";
}

TEST(Mamba, PromptsAgreeWithMeasuredKernels) {
  struct Row {
    Mixer mixer;
    double state_bytes, prompts, tokens, us;
  };
  const Row rows[] = {{nano, 4, 1, 512, 63},     {nano, 4, 1, 8192, 628},  {nano, 4, 16, 64, 196},
                      {granite, 2, 4, 512, 208}, {zamba, 2, 1, 2048, 150}, {falcon, 2, 4, 4096, 1392}};
  for (const auto& r : rows)
    EXPECT_NEAR(
        op_of(r.mixer, r.state_bytes, h100).prefill_time(r.prompts, r.tokens, r.tokens * r.tokens / 2).seconds * 1e6,
        r.us, 0.15 * r.us)
        << r.mixer.heads << " heads, " << r.prompts << " x " << r.tokens;
}

TEST(Mamba, MoreWorkIsNeverFasterAndShardsAreNeverSlower) {
  for (const auto& m : {ultra, nano, granite, zamba, falcon})
    for (double bytes : {2.0, 4.0}) {
      const auto op = op_of(m, bytes, h100), half = op_of(m, bytes, h100, 2);
      double last = 0, last_prompt = 0;
      for (double n = 1; n <= 4096; n *= 1.3) {
        const double t = op.decode_time(n, 1000).seconds;
        EXPECT_GE(t, last * 0.99) << n;
        EXPECT_LE(half.decode_time(n, 1000).seconds, t * 1.01) << n;
        last = t;
      }
      for (double p = 16; p <= 65536; p *= 1.3) {
        const double t = op.prefill_time(1, p, p * p / 2).seconds;
        EXPECT_GE(t, last_prompt * 0.99) << p;
        EXPECT_LE(half.prefill_time(1, p, p * p / 2).seconds, t * 1.01) << p;
        last_prompt = t;
      }
    }
}

TEST(Mamba, AnotherGpuTakesTheSurfacesByUtilisation) {
  const Gpu h200 = gpu("H200-SXM", 4800, 989.4);
  const auto here = op_of(nano, 4, h100), there = op_of(nano, 4, h200);
  EXPECT_FALSE(here.lent);
  EXPECT_TRUE(there.lent);
  EXPECT_NEAR(here.decode_time(1024, 1000).seconds / there.decode_time(1024, 1000).seconds, 4800.0 / 3350, 0.02);
}

}  // namespace
}  // namespace shardwise
