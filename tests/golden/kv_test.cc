// KV-cache specs and plans that vLLM itself computed, of models and of given specs, by version.
#include <gtest/gtest.h>

#include "verify/verify.h"

namespace shardwise {
namespace {

void expect_all_agree(const std::string& name, std::size_t at_least) {
  VerifyOptions options;
  options.topic = "kv";
  options.file = SHARDWISE_SOURCE_DIR "/tests/golden/kv/" + name;
  options.threads = 1;
  const VerifySummary summary = verify(options);
  EXPECT_GE(summary.compared, at_least);
  EXPECT_TRUE(summary.all_agree()) << to_text(summary);
}

TEST(GoldenKv, Specs) { expect_all_agree("specs.jsonl", 200); }
TEST(GoldenKv, Plans) { expect_all_agree("plans.jsonl", 300); }
TEST(GoldenKv, Versions) { expect_all_agree("versions.jsonl", 200); }

}  // namespace
}  // namespace shardwise
