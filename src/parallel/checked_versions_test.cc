#include "parallel/checked_versions.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace shardwise {
namespace {

using testing::HasSubstr;

TEST(CheckedVersions, NearestOfEveryKind) {
  const auto nearest = [](VllmVersion v) { return to_string(checked_version(v).nearest); };
  EXPECT_EQ(nearest({0, 29, 1}), "0.30.0");
  EXPECT_EQ(nearest({0, 20, 1}), "0.20.2");
  EXPECT_EQ(nearest({0, 20, 0}), "0.20.2");  // only its KV plans were compared
  EXPECT_EQ(nearest({0, 21, 0}), "0.20.2");
  EXPECT_EQ(nearest({0, 31, 0}), "0.32.0");  // as near to 0.30.0: the newer one
  EXPECT_EQ(nearest({0, 9, 2}), "0.16.0");
  EXPECT_EQ(nearest({1, 0, 0}), "0.33.0");
  EXPECT_TRUE(checked_version(kDefaultVllmVersion).exact);
}

TEST(CheckedVersions, EveryCheckedOneIsItsOwnNearestAndSilent) {
  for (const auto& row : checked_versions()) {
    EXPECT_EQ(checked_version(row.version).exact, row.rules);
    EXPECT_EQ(unchecked_version_note(row.version).has_value(), !row.rules);
  }
  EXPECT_TRUE(std::is_sorted(checked_versions().begin(), checked_versions().end(),
                             [](const auto& a, const auto& b) { return a.version < b.version; }));
}

TEST(CheckedVersions, NoteSaysWhereTheVersionLies) {
  EXPECT_EQ(
      unchecked_version_note({0, 29, 1}),
      "vLLM 0.29.1 was not checked against recordings: answered by the rules known for it, nearest checked version "
      "0.30.0");
  const auto note = unchecked_version_note({0, 34, 0}).value();
  EXPECT_THAT(note, HasSubstr("newer than every version"));
  EXPECT_THAT(note, HasSubstr("changed in 0.33.0: EAGLE"));
  EXPECT_THAT(note, HasSubstr("rules kv_cache_dtype_vs_dtype"));
  EXPECT_THAT(note, HasSubstr("arguments monokernel"));
  EXPECT_THAT(unchecked_version_note({0, 15, 1}).value(), HasSubstr("older than every version"));
}

}  // namespace
}  // namespace shardwise
