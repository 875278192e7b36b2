#include "app/calibrate.h"

#include <gmock/gmock.h>

#include <cmath>

#include "app/check.h"
#include "base/input_error.h"
#include "model/bundled_model.h"

namespace shardwise {
namespace {

using testing::HasSubstr;

CheckRequest question(const std::string& model, const std::string& gpus, std::int64_t tp) {
  CheckRequest r;
  r.model_spec = model;
  r.model = std::make_shared<const Model>(bundled_model(model));
  r.cluster = parse_cluster(gpus);
  r.workload.isl = parse_length("1024", "--isl");
  r.workload.osl = parse_length("256", "--osl");
  r.args.tensor_parallel_size = tp;
  return r;
}

BenchResult bench(int concurrency) {
  BenchResult b;
  b.name = "c" + std::to_string(concurrency);
  b.isl = 2000, b.osl = 300, b.completed = 10 * concurrency, b.max_concurrency = concurrency;
  return b;
}

/// What a machine with these constants would measure.
void measure(const CheckRequest& request, const CostConstants& truth, std::vector<BenchResult>& benches) {
  const auto served = check(request);
  ASSERT_TRUE(served.plan);
  for (auto& b : benches) {
    const auto p = predict_serving(bench_case(served, b), truth);
    b.mean_ttft_ms = p.ttft_ms.mean, b.mean_tpot_ms = p.tpot_ms.mean;
    b.output_throughput = p.output_tok_s_per_gpu.mean;
  }
}

TEST(Calibration, FindsASlowFrontEndAndConcentratedRouting) {
  const auto request = question("gpt-oss-120b", "2xH200", 2);
  Calibration made;
  made.model = request.model->name;
  made.gpu = "H200-SXM";
  made.first_token_ms = Learned{40, 0};
  made.experts = Learned{-0.15, 0};
  std::vector<BenchResult> benches = {bench(1), bench(2), bench(4), bench(16)};
  measure(request, calibrated(default_constants(), made, made.model), benches);
  const auto found = calibrate_command(request, benches, {}).calibration;
  ASSERT_TRUE(found.first_token_ms && found.experts && found.step);
  EXPECT_GT(found.first_token_ms->value, 15);
  EXPECT_LT(found.first_token_ms->value, 55);
  // Experts and the step as a whole are told apart only in part: together they make the difference.
  EXPECT_LT(found.experts->value + found.step->value, -0.04);
  EXPECT_LT(found.ttft_band, 1);
  EXPECT_LT(found.tpot_band, 1);
}

TEST(Calibration, PredictsOtherLoadsOfTheSameMachineBetter) {
  const auto request = question("Qwen3-32B", "2xH100", 2);
  Calibration machine;
  machine.model = request.model->name, machine.gpu = "H100-SXM";
  machine.first_token_ms = Learned{45, 0};
  machine.step = Learned{0.08, 0};
  const auto truth = calibrated(default_constants(), machine, machine.model);
  std::vector<BenchResult> seen = {bench(2)}, unseen = {bench(1), bench(8), bench(32)};
  measure(request, truth, seen);
  measure(request, truth, unseen);
  const auto learned = calibrate_command(request, seen, {}).calibration;
  const auto constants = calibrated(default_constants(), learned, learned.model);
  const auto served = check(request);
  double before = 0, after = 0;
  for (const auto& b : unseen) {
    const auto c = bench_case(served, b);
    const auto was = predict_serving(c, default_constants()), is = predict_serving(c, constants);
    before +=
        std::abs(std::log(was.ttft_ms.mean / b.mean_ttft_ms)) + std::abs(std::log(was.tpot_ms.mean / b.mean_tpot_ms));
    after +=
        std::abs(std::log(is.ttft_ms.mean / b.mean_ttft_ms)) + std::abs(std::log(is.tpot_ms.mean / b.mean_tpot_ms));
    EXPECT_LE(is.tpot_ms.hi / is.tpot_ms.lo, was.tpot_ms.hi / was.tpot_ms.lo);
  }
  EXPECT_LT(after, 0.8 * before);
}

TEST(Calibration, AStartupLogMovesTheKvCache) {
  const auto request = question("Qwen3-32B", "2xH100", 2);
  const auto before = check(request).memory->kv_gib;
  const auto log = read_startup_log(
      "INFO Available KV cache memory: 36.00 GiB\nINFO Available KV cache memory: 35.50 GiB\n", "a/serve.log");
  EXPECT_EQ(log.name, "serve.log");
  EXPECT_EQ(log.available_kv_gib, 35.5);
  const auto found = calibrate_command(request, {}, {log});
  ASSERT_TRUE(found.calibration.kv_gib);
  auto changed = request;
  apply_calibration(changed.cluster, found.calibration, request.model->name);
  const auto after = check(changed).memory->kv_gib;
  EXPECT_NEAR(after.mean, 35.5, 0.2);
  EXPECT_LT(after.hi - after.lo, before.hi - before.lo);
}

TEST(Calibration, TheFileReadsBack) {
  Calibration c;
  c.model = "a: model", c.gpu = "H100-SXM";
  c.first_token_ms = Learned{12.5, 3}, c.step = Learned{-0.02, 0.01}, c.kv_gib = Learned{-1.25, 0.1};
  c.ttft_band = 0.75, c.made_from = {"c4.json: 1 in flight", "serve.log"};
  EXPECT_EQ(read_calibration(calibration_text(c), "c.yaml"), c);
}

std::string error_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(Calibration, BadInputSaysWhatAndWhere) {
  EXPECT_THAT(error_of([] { read_bench_result(R"({"completed": 4})", "r.json"); }),
              HasSubstr("r.json: total_input_tokens: missing"));
  EXPECT_THAT(error_of([] { read_startup_log("nothing here", "x.log"); }), HasSubstr("Available KV cache memory"));
  EXPECT_THAT(
      error_of([] { read_calibration("shardwise_calibration: 1\nmodel: m\ngpu: g\nfirst_token: 3\n", "c.yaml"); }),
      HasSubstr("c.yaml:4"));
  auto request = question("Qwen3-32B", "2xH100", 2);
  EXPECT_THAT(error_of([&] { calibrate_command(request, {}, {}); }), HasSubstr("--bench"));
  Calibration other;
  other.gpu = "B200";
  EXPECT_THAT(error_of([&] { apply_calibration(request.cluster, other, "m"); }), HasSubstr("made on B200"));
}

}  // namespace
}  // namespace shardwise
