// Traces of vLLM 0.32.0's own scheduler: all 26 kinds, other seeds and ranges than the code was written with among
// them; mixtures: features of several kinds at once.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "verify/verify.h"

namespace shardwise {
namespace {

TEST(GoldenSchedule, EveryTraceAgrees) {
  std::set<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(SHARDWISE_SOURCE_DIR "/tests/golden/schedule"))
    if (entry.path().extension() == ".jsonl") files.insert(entry.path());
  EXPECT_EQ(files.size(), 27u);
  std::size_t cases = 0;
  for (const auto& file : files) {
    VerifyOptions options;
    options.topic = "schedule";
    options.file = file.string();
    options.threads = 1;
    const VerifySummary summary = verify(options);
    EXPECT_TRUE(summary.all_agree()) << to_text(summary);
    cases += summary.cases;
  }
  EXPECT_GE(cases, 275u);
}

}  // namespace
}  // namespace shardwise
