#include "workload/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/input_error.h"

namespace shardwise {
namespace {

using testing::HasSubstr;

std::string error_of(auto&& f) {
  try {
    f();
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

constexpr const char* kLengths[] = {"1024",
                                    "uniform[819,1024]",
                                    "uniform[1,1]",
                                    "lognormal[mean=1024,sigma=0.6]",
                                    "lognormal[mean=50.5,sigma=1.25]",
                                    "percentiles[p50=900,p90=2000,p99=8000]",
                                    "percentiles[p0=10,p33.3=20,p100=30]",
                                    "percentiles[p29=3,p57=4,p99.9=5]",
                                    "empirical[3:100,1:2000]"};

TEST(Length, FormsReadBack) {
  for (const char* text : kLengths) {
    const LengthDistribution d = parse_length(text, "--isl");
    EXPECT_EQ(to_string(d), text);
    EXPECT_EQ(parse_length(to_string(d), "--isl"), d);
  }
  EXPECT_EQ(to_string(parse_length(" uniform[ 8 , 16 ] ", "--isl")), "uniform[8,16]");
  EXPECT_EQ(to_string(parse_length("lognormal[1024,0.6]", "--isl")), "lognormal[mean=1024,sigma=0.6]");
}

TEST(Length, MomentsAgreeWithSamples) {
  for (const char* text : kLengths) {
    SCOPED_TRACE(text);
    const LengthDistribution d = parse_length(text, "--isl");
    Rng rng(7);
    constexpr int kSamples = 100'000;
    double sum = 0, squares = 0;
    for (int i = 0; i < kSamples; ++i) {
      const auto length = static_cast<double>(d.sample(rng));
      ASSERT_GE(length, 1);
      ASSERT_LE(length, static_cast<double>(d.max()));
      sum += length;
      squares += length * length;
    }
    // An unbounded tail is cut at p99.9: a few per cent of the moments of a broad distribution are missing there.
    const bool cut = d.kind == LengthDistribution::Kind::lognormal;
    const double rounding = 0.5;
    EXPECT_NEAR(sum / kSamples, d.mean(), d.mean() * (cut ? 0.03 : 0.01) + rounding);
    EXPECT_NEAR(std::sqrt(squares / kSamples), std::sqrt(d.second_moment()),
                std::sqrt(d.second_moment()) * (cut ? 0.2 : 0.01) + rounding);
    double last = 0;
    for (double p = 0; p <= 1; p += 0.01) {
      EXPECT_GE(d.quantile(p), last);
      last = d.quantile(p);
    }
  }
}

TEST(Length, ExactMoments) {
  const LengthDistribution u = parse_length("uniform[819,1024]", "");
  double squares = 0;
  for (int n = 819; n <= 1024; ++n) squares += n * n / 206.0;
  EXPECT_NEAR(u.second_moment(), squares, 1e-6);
  EXPECT_DOUBLE_EQ(u.mean(), 921.5);
  const LengthDistribution l = parse_length("lognormal[mean=1000,sigma=0.5]", "");
  EXPECT_NEAR(l.quantile(0.5), 1000 * std::exp(-0.125), 1e-6);
  EXPECT_NEAR(l.quantile(0.9), 1000 * std::exp(-0.125 + 0.5 * 1.2815515655446), 1e-4);
}

TEST(Length, Errors) {
  auto error = [](const char* text) { return error_of([&] { parse_length(text, "--isl"); }); };
  EXPECT_EQ(error("0"), "--isl: length 0 is out of range (1 to 1000000000 tokens)");
  EXPECT_EQ(error("12.5"), "--isl: length 12.5 is not a whole number of tokens");
  EXPECT_EQ(error("unifrom[1,2]"), "--isl: unknown distribution 'unifrom' (did you mean 'uniform'?)");
  EXPECT_EQ(error("uniform[10,2]"), "--isl: 'uniform[10,2]': the first end is above the second");
  EXPECT_EQ(error("percentiles[p50=900,p40=1000]"),
            "--isl: 'percentiles[p50=900,p40=1000]': percentiles must rise, and lengths must not fall");
  EXPECT_EQ(error("percentiles[50=900]"), "--isl: '50=900' is no percentile (write for example p50=900)");
  EXPECT_THAT(error("uniform[1,2"), HasSubstr("the ']' is missing"));
  EXPECT_THAT(error("nan"), HasSubstr("is no length"));
  EXPECT_THAT(error(""), HasSubstr("no length given"));
}

TEST(Goals, FormsReadBack) {
  for (const char* text :
       {"ttft:p99<500ms", "tpot:mean<20ms", "e2e:p95<12000ms", "tpot:p50<7.25ms", "ttft:p90<0.125ms"})
    EXPECT_EQ(to_string(parse_slo(text, "--slo")), text);
  EXPECT_EQ(parse_slo("e2e:p99<=12s", "--slo"), parse_slo("e2e:p99<12000ms", "--slo"));
  for (const char* text : {"throughput", "latency", "cost", "balanced"})
    EXPECT_EQ(to_string(parse_goal(text, "--goal")), text);
  EXPECT_EQ(error_of([] { parse_goal("latencey", "--goal"); }),
            "--goal: unknown goal 'latencey' (did you mean 'latency'?)");
  EXPECT_EQ(error_of([] { parse_slo("ttft:p98<5ms", "--slo"); }),
            "--slo: unknown statistic 'p98' (did you mean 'p90'?)");
  EXPECT_EQ(error_of([] { parse_slo("ttft:p99<5", "--slo"); }),
            "--slo: 'ttft:p99<5': the limit has no unit (write for example ttft:p99<5ms)");
  EXPECT_EQ(error_of([] { parse_slo("ttft", "--slo"); }), "--slo: 'ttft' is no SLO (write for example ttft:p99<500ms)");
}

TEST(TraceReader, OwnForm) {
  const Trace trace = read_trace(
      "{\"arrival\": 1.5, \"prompt\": 100, \"output\": 20}\n\n"
      "{\"arrival\": 0, \"prompt\": 64, \"output\": 5, \"prefix_id\": \"system\", \"prefix_tokens\": 40}\n"
      "{\"arrival\": 2, \"prompt\": 64, \"output\": 5, \"prefix_id\": \"system\", \"prefix_tokens\": 40}\n"
      "{\"arrival\": 3, \"prompt\": 64, \"output\": 5, \"prefix\": [1, 2]}\n",
      "t.jsonl");
  ASSERT_EQ(trace.requests.size(), 4u);
  EXPECT_EQ(trace.prefix_block, 16);
  EXPECT_EQ(trace.requests[0].prompt, 64);
  EXPECT_EQ(trace.requests[1].arrival, 1.5);
  EXPECT_EQ(trace.requests[0].prefix.size(), 2u);
  EXPECT_EQ(trace.requests[0].prefix, trace.requests[2].prefix);
  EXPECT_THAT(trace.requests[3].prefix, testing::ElementsAre(1, 2));
  EXPECT_EQ(read_trace(trace_jsonl(trace), "back"), trace);
}

TEST(TraceReader, Mooncake) {
  const Trace trace = read_trace(
      "{\"timestamp\": 0, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0, 1, 2]}\n"
      "{\"timestamp\": 3000, \"input_length\": 7322, \"output_length\": 490, \"hash_ids\": [0, 1, 14, 15]}\n",
      "m.jsonl");
  EXPECT_EQ(trace.prefix_block, 512);
  EXPECT_EQ(trace.requests[1].arrival, 3);
  EXPECT_EQ(read_trace(trace_jsonl(trace), "back"), trace);
  const Workload workload = workload_of(std::make_shared<Trace>(trace));
  EXPECT_DOUBLE_EQ(workload.isl.mean(), 7040);
  EXPECT_DOUBLE_EQ(workload.prefix_share, 1024.0 / (6758 + 7322));
  EXPECT_DOUBLE_EQ(*workload.request_rate, 1.0 / 3);
}

TEST(TraceReader, Azure) {
  const Trace trace = read_trace(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.6805900,374,44\r\n"
      "2023-11-17 00:00:00.9951690,396,109\r\n2024-05-10 00:00:00.009930+00:00,10,1\r\n",
      "a.csv");
  ASSERT_EQ(trace.requests.size(), 3u);
  EXPECT_EQ(trace.requests[0].arrival, 0);
  EXPECT_NEAR(trace.requests[1].arrival, 1.314579, 1e-9);
  EXPECT_EQ(trace.requests[1].output, 109);
  EXPECT_NEAR(trace.requests[2].arrival, 176 * 86400 + 0.329340 - 86400 + 1 - 1, 1.0);
}

TEST(TraceReader, ErrorsNameTheLine) {
  auto error = [](const char* text) { return error_of([&] { read_trace(text, "t"); }); };
  constexpr const char* kGood = "{\"arrival\": 0, \"prompt\": 1, \"output\": 1}\n";
  EXPECT_EQ(error(""), "t: the trace is empty");
  EXPECT_EQ(error("{\"prefix_block\": 16}"), "t: the trace has no request");
  EXPECT_EQ(error((std::string(kGood) + "{\"arrival\": 0, \"promt\": 1, \"output\": 1}").c_str()),
            "t:2: unknown key 'promt' (did you mean 'prompt'?)");
  EXPECT_EQ(error("{\"arrival\": 0, \"prompt\": 0, \"output\": 1}"),
            "t:1: prompt: must be from 1 to 1000000000 tokens");
  EXPECT_EQ(error("{\"arrival\": 0, \"prompt\": 1.5, \"output\": 1}"), "t:1: prompt: must be a whole number of tokens");
  EXPECT_EQ(error("{\"arrival\": -1, \"prompt\": 1, \"output\": 1}"), "t:1: arrival: is out of range");
  EXPECT_EQ(error("{\"arrival\": 0, \"prompt\": 1}"), "t:1: 'output' is missing");
  EXPECT_EQ(error("{\"arrival\": 0, \"arrival\": 0, \"prompt\": 1, \"output\": 1}"),
            "t:1: key 'arrival' is given twice");
  EXPECT_EQ(error("{\"arrival\": 0"), "t:1: not one JSON object (one request a line)");
  EXPECT_EQ(error("{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": [1, 2]}"),
            "t:1: hash_ids: 2 blocks of 512 tokens are longer than the prompt");
  EXPECT_EQ(error("TIMESTAMP,ContextTokens\n1,2\n"),
            "t:1: no column 'GeneratedTokens' (columns: TIMESTAMP, ContextTokens)");
  EXPECT_EQ(error("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-13-16 18:15:46.68,3,4\n"),
            "t:2: TIMESTAMP: '2023-13-16 18:15:46.68' is no time (as in 2023-11-16 18:15:46.6805900)");
  EXPECT_EQ(error("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,3\n"),
            "t:2: 2 cells, but the header has 3");
}

TEST(WorkloadOf, KeepsMeanAndRate) {
  auto trace = std::make_shared<Trace>();
  Rng rng(3);
  double now = 0, prompts = 0;
  for (int i = 0; i < 5000; ++i) {
    now += rng.exponential(0.25);
    trace->requests.push_back({now, rng.uniform_int(1, 20000), rng.uniform_int(1, 300), {}});
    prompts += static_cast<double>(trace->requests.back().prompt);
  }
  const Workload workload = workload_of(trace);
  EXPECT_NEAR(workload.isl.mean(), prompts / 5000, 1e-6);
  EXPECT_LE(workload.isl.points.size(), 512u);
  EXPECT_NEAR(*workload.request_rate, 4, 0.2);
  EXPECT_NEAR(workload.burstiness, 1, 0.1);
  EXPECT_EQ(parse_length(to_string(workload.osl), ""), workload.osl);
}

}  // namespace
}  // namespace shardwise
