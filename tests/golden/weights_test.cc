// Parameters of one rank as vLLM's own model classes register them, to the byte; drafts, what stays after loading,
// refusals.
#include <gtest/gtest.h>

#include "verify/verify.h"

namespace shardwise {
namespace {

TEST(GoldenWeights, Cases) {
  VerifyOptions options;
  options.topic = "weights";
  options.file = SHARDWISE_SOURCE_DIR "/tests/golden/weights/cases.jsonl";
  options.threads = 1;
  const VerifySummary summary = verify(options);
  EXPECT_GE(summary.compared, 400u);
  EXPECT_TRUE(summary.all_agree()) << to_text(summary);
}

}  // namespace
}  // namespace shardwise
