// A sample of what the versions behind the one that most goldens were recorded from answered, topic by topic:
// versions/X.Y.Z/NAME.jsonl, the version in every input.
#include <gtest/gtest.h>

#include "verify/verify.h"

namespace shardwise {
namespace {

struct Part {
  const char* topic;
  const char* name;
  std::size_t at_least;
};

void PrintTo(const Part& part, std::ostream* out) { *out << part.name; }

class GoldenVersions : public testing::TestWithParam<Part> {};

TEST_P(GoldenVersions, AllAgree) {
  VerifyOptions options;
  options.topic = GetParam().topic;
  options.file = SHARDWISE_SOURCE_DIR "/tests/golden/versions/0.33.0/" + std::string(GetParam().name) + ".jsonl";
  options.threads = 1;
  const VerifySummary summary = verify(options);
  EXPECT_GE(summary.compared, GetParam().at_least);
  EXPECT_TRUE(summary.all_agree()) << to_text(summary);
}

INSTANTIATE_TEST_SUITE_P(V0_33_0, GoldenVersions,
                         testing::Values(Part{"legality", "model_init", 40}, Part{"ranks", "groups", 20},
                                         Part{"ranks", "nodes", 10},

                                         Part{"kv", "kv_specs", 30}, Part{"schedule", "schedule", 12}));

}  // namespace
}  // namespace shardwise
