// The parser itself; what it says of recorded argument lists is in tests/golden/arguments_test.cc.
#include "parallel/argument_parser.h"

#include <gmock/gmock.h>

#include "base/input_error.h"

namespace shardwise {
namespace {

using Words = std::vector<std::string>;
using testing::ElementsAre;

constexpr VllmVersion v32{0, 32, 0}, v33{0, 33, 0}, newer{0, 90, 0};

/// name=words of everything that was given, or "refused".
std::string said(const Words& argv, VllmVersion version = v32) {
  std::string out;
  try {
    for (const auto& argument : parse_arguments(argv, version).given) {
      out += (out.empty() ? "" : " ") + argument.row->name + (argument.off ? "!" : "");
      for (const auto& word : argument.words) out += "=" + word;
    }
  } catch (const InputError&) {
    return "refused";
  }
  return out;
}

TEST(ArgumentParser, SpellingsOfOneValue) {
  for (const Words& argv : std::vector<Words>{{"-tp", "4"},
                                              {"-tp=4"},
                                              {"--tensor-parallel-size", "4"},
                                              {"--tensor_parallel_size=4"},
                                              {"--tensor-parallel", "4"},
                                              {"--tensor_p=4"}})
    EXPECT_EQ(said(argv), "tensor_parallel_size=4") << argv.front();
  EXPECT_EQ(said({"-tp4"}), "refused");
  EXPECT_EQ(said({"-n2"}), "nnodes=2");
  EXPECT_EQ(said({"--data-parallel", "2"}), "refused");
}

TEST(ArgumentParser, OptimizationLevels) {
  for (const Words& argv : std::vector<Words>{{"-O3"}, {"-O=3"}, {"-O", "3"}, {"--optimization-level", "3"}})
    EXPECT_EQ(said(argv), "optimization_level=3") << argv.front();
  EXPECT_EQ(said({"-O.mode=3"}), "optimization_level=.mode=3");
}

TEST(ArgumentParser, DottedKeysAreMergedBehindTheRest) {
  EXPECT_EQ(
      said({"--compilation_config.pass_config.fuse_norm_quant=true", "-q", "fp8", "--compilation-config.mode", "3"}),
      R"(quantization=fp8 compilation_config={"pass_config":{"fuse_norm_quant":true},"mode":3})");
  EXPECT_EQ(said({"-cc.cudagraph_capture_sizes+", "1,2", "-cc.cudagraph_capture_sizes+=4"}),
            R"(compilation_config={"cudagraph_capture_sizes":[1,2,4]})");
  EXPECT_EQ(said({"-cc.mode"}), "refused");
  EXPECT_EQ(said({"--attention-config.use_fp4_indexer_cache=True"}), "refused");
}

TEST(ArgumentParser, SwitchesTakeNoWord) {
  EXPECT_EQ(said({"--enforce-eager"}), "enforce_eager");
  EXPECT_EQ(said({"--no-enforce-eager"}), "enforce_eager!");
  EXPECT_EQ(said({"--enforce-eager=true"}), "refused");
  EXPECT_EQ(said({"m", "--enforce-eager", "true"}), "refused");
}

TEST(ArgumentParser, EnableAndDisableArePairsFrom033On) {
  EXPECT_EQ(said({"--disable-prefix-caching"}, v33), "enable_prefix_caching!");
  EXPECT_EQ(said({"--disable-prefix-caching"}, v32), "refused");
  EXPECT_EQ(said({"--enable-custom-all-reduce"}, v33), "disable_custom_all_reduce!");
  EXPECT_EQ(said({"--no-disable-custom-all-reduce"}, v33), "disable_custom_all_reduce!");
}

TEST(ArgumentParser, WordsOutsideTheChoices) {
  EXPECT_EQ(said({"--moe-backend", "banana"}), "refused");
  EXPECT_EQ(said({"--moe-backend", "FLASHINFER-TRTLLM"}), "moe_backend=flashinfer_trtllm");
  EXPECT_EQ(said({"--kv-cache-dtype", "octave_k3v4"}, v32), "refused");
  EXPECT_EQ(said({"--kv-cache-dtype", "octave_k3v4"}, v33), "kv_cache_dtype=octave_k3v4");
}

TEST(ArgumentParser, AnArgumentOfOtherVersionsIsNamed) {
  const auto parsed = parse_arguments(Words{"--swap-space", "16"}, v32);
  ASSERT_EQ(parsed.given.size(), 1u);
  EXPECT_FALSE(parsed.given[0].row->versions.contains(v32));
}

TEST(ArgumentParser, WhatOnlyANewerVersionCanHaveIsKept) {
  EXPECT_EQ(said({"--brand-new", "1"}), "refused");
  const auto parsed = parse_arguments(Words{"m", "--brand-new", "1", "2", "-tp", "2", "--other=x"}, newer);
  EXPECT_THAT(parsed.unknown, ElementsAre(testing::Pair("--brand-new", ElementsAre("1", "2")),
                                          testing::Pair("--other=x", ElementsAre())));
  EXPECT_EQ(parsed.given.size(), 1u);
}

TEST(ArgumentParser, HelpEndsIt) {
  EXPECT_TRUE(parse_arguments(Words{"--help", "--tensor-parallel-size", "x"}, v32).help);
}

}  // namespace
}  // namespace shardwise
