#include "hardware/generations.h"

#include <gtest/gtest.h>

namespace shardwise {
namespace {

TEST(Generations, RowsOfAVendorRiseAndDoNotOverlap) {
  const auto rows = gpu_generations();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_LE(rows[i].first, rows[i].last) << rows[i].name;
    if (i > 0 && rows[i].vendor == rows[i - 1].vendor) {
      EXPECT_GT(rows[i].first, rows[i - 1].last) << rows[i].name;
    }
  }
  EXPECT_EQ(rows.back().vendor, "");
}

TEST(Generations, EveryCatalogueGpuHasARow) {
  for (const auto& gpu : gpu_catalogue()) {
    const auto& g = generation_of(gpu);
    EXPECT_EQ(g.vendor, gpu.vendor) << gpu.name;
    EXPECT_EQ(g.bfloat16, gpu.peak.count(GpuDType::bf16) > 0) << gpu.name;
    if (gpu.vendor == "amd") {
      EXPECT_EQ(g.name, gpu.architecture);
    }
  }
}

TEST(Generations, AreFoundByVendorAndCapability) {
  EXPECT_EQ(generation_of("nvidia", 90).name, "Hopper");
  EXPECT_EQ(generation_of("nvidia", 103).name, "Blackwell");
  EXPECT_EQ(generation_of("nvidia", 121).name, "GB10");
  EXPECT_EQ(generation_of("amd", 90).name, "CDNA2");
  EXPECT_EQ(generation_of("amd", 70).name, "unknown");
  EXPECT_EQ(generation_of("nvidia", 0).name, "unknown");
}

}  // namespace
}  // namespace shardwise
