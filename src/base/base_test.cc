#include <gmock/gmock.h>

#include <set>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/parallel_map.h"
#include "base/rng.h"
#include "base/text.h"
#include "base/units.h"
#include "base/version.h"

namespace shardwise {
namespace {

TEST(Units, RatiosHaveTheRightKind) {
  EXPECT_DOUBLE_EQ((gib(2) / gb_per_second(1)).value, 2.147483648);
  EXPECT_DOUBLE_EQ(gib(3) / gib(2), 1.5);
  EXPECT_DOUBLE_EQ((Flops(2e12) / tflops(1)).value, 2);
  EXPECT_EQ(kib(1) + mib(1), Bytes(1049600));
  EXPECT_EQ(round_up(2880, 256), 3072);
}

TEST(InputErrorText, SaysWhereWhatAndInstead) {
  EXPECT_STREQ(InputError("cluster.yaml", 12, "nodes[0].gpu", "unknown 'h10'", "did you mean 'H100'?").what(),
               "cluster.yaml:12: nodes[0].gpu: unknown 'h10' (did you mean 'H100'?)");
  EXPECT_STREQ(InputError("", 0, "", "no").what(), "no");
}

TEST(Text, SplitJoinTrim) {
  EXPECT_THAT(split("a,,b", ','), testing::ElementsAre("a", "", "b"));
  EXPECT_EQ(join(split("a,b", ','), " + "), "a + b");
  EXPECT_EQ(trim("  x y \n"), "x y");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(number_text(0.1), "0.1");
}

TEST(Text, HintsOnlyWhatIsNear) {
  const std::vector<std::string> gpus = {"H100", "H200", "L40S"};
  EXPECT_EQ(did_you_mean("h10", gpus), "did you mean 'H100'?");
  EXPECT_EQ(did_you_mean("banana", gpus), "");
}

TEST(Version, ReadsReleases) {
  EXPECT_EQ(to_string(parse_vllm_version("v0.20.1rc0")), "0.20.1");
  EXPECT_LT(parse_vllm_version("0.9"), parse_vllm_version("0.20"));
  EXPECT_THROW(parse_vllm_version("latest"), InputError);
}

TEST(Rng, StreamsAreFixedAndApart) {
  Rng a(1), b(1);
  EXPECT_EQ(a.next(), b.next());
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 1000; ++i) seen.insert(Rng(7).fork(i).next());
  EXPECT_EQ(seen.size(), 1000u);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) sum += a.exponential(2);
  EXPECT_NEAR(sum / 100000, 2, 0.05);
}

TEST(ParallelFor, VisitsAllAndRethrowsTheFirstFailure) {
  std::vector<int> hits(1000);
  parallel_for(hits.size(), 8, [&](std::size_t i) { ++hits[i]; });
  EXPECT_THAT(hits, testing::Each(1));
  try {
    parallel_for(100, 4, [](std::size_t i) {
      if (i % 10 == 3) throw std::runtime_error(std::to_string(i));
    });
    FAIL();
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "3");
  }
}

TEST(Embedded, HoldsTheCatalogues) {
  EXPECT_GE(embedded_files("models/").size(), 100u);
  EXPECT_FALSE(embedded_file("no/such.json"));
}

}  // namespace
}  // namespace shardwise
