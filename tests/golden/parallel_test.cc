// What vLLM accepts, resolves and places: recorded runs of vLLM 0.32.0 and, in versions.jsonl, of six other versions.
#include <gtest/gtest.h>

#include "verify/verify.h"

namespace shardwise {
namespace {

void expect_all_agree(const std::string& topic, const std::string& name, std::size_t at_least) {
  VerifyOptions options;
  options.topic = topic;
  options.file = SHARDWISE_SOURCE_DIR "/tests/golden/" + topic + "/" + name;
  options.threads = 1;
  const VerifySummary summary = verify(options);
  EXPECT_GE(summary.compared, at_least);
  EXPECT_TRUE(summary.all_agree()) << to_text(summary);
}

TEST(GoldenLegality, EveryRule) { expect_all_agree("legality", "legality.jsonl", 300); }
TEST(GoldenLegality, Sweep) { expect_all_agree("legality", "sweep.jsonl", 200); }
TEST(GoldenLegality, ModelConstruction) { expect_all_agree("legality", "model_init.jsonl", 150); }
TEST(GoldenLegality, Rocm) { expect_all_agree("legality", "rocm.jsonl", 130); }
TEST(GoldenLegality, Versions) { expect_all_agree("legality", "versions.jsonl", 300); }
TEST(GoldenRanks, Groups) { expect_all_agree("ranks", "groups.jsonl", 100); }
TEST(GoldenRanks, Nodes) { expect_all_agree("ranks", "nodes.jsonl", 30); }
TEST(GoldenExperts, Maps) { expect_all_agree("experts", "experts.jsonl", 150); }
TEST(GoldenEplb, Policy) { expect_all_agree("eplb", "eplb.jsonl", 100); }
TEST(GoldenKernels, Choices) { expect_all_agree("kernels", "kernels.jsonl", 100); }

}  // namespace
}  // namespace shardwise
