// Numbers that nobody means, in every place that reads one: an InputError with its place, or an answer that is finite.
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "app/check.h"
#include "app/memory_answer.h"
#include "app/plan.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/text_source.h"
#include "measured/bench_result.h"
#include "measured/calibration.h"
#include "model/bundled_model.h"
#include "model/load.h"
#include "report/report.h"
#include "workload/options.h"

namespace shardwise {
namespace {

const std::vector<std::string> kNumbers = {"nan",
                                           "inf",
                                           "-inf",
                                           "-1",
                                           "0",
                                           "1e-300",
                                           "1e300",
                                           "2147483647",
                                           "2147483648",
                                           "9223372036854775807",
                                           "9223372036854775808",
                                           "-9223372036854775808",
                                           "18446744073709551616",
                                           "0.1",
                                           "-0.0",
                                           "1e18"};

std::shared_ptr<const Model> small_model() {
  static const auto model = [] { return std::make_shared<const Model>(bundled_model("Qwen3-30B-A3B")); }();
  return model;
}

Workload short_load() {
  Workload w;
  w.isl = parse_length("64", "--isl");
  w.osl = parse_length("4", "--osl");
  w.concurrency = 1;
  return w;
}

CheckRequest check_request() {
  CheckRequest r;
  r.model_spec = "Qwen3-30B-A3B";
  r.model = small_model();
  r.cluster = parse_cluster("8xH100");
  r.workload = short_load();
  r.find_changes = false;
  return r;
}

/// Every number of an answer is finite, and every interval is ordered around its mean.
void expect_finite(const Json& value, const std::string& path) {
  if (value.is_number()) {
    EXPECT_TRUE(std::isfinite(value.get<double>())) << path;
  } else if (value.is_object()) {
    if (value.contains("mean") && value.contains("lo") && value.contains("hi")) {
      EXPECT_TRUE(value["mean"].is_number() && value["lo"].is_number() && value["hi"].is_number()) << path;
      EXPECT_LE(value["lo"], value["mean"]) << path;
      EXPECT_LE(value["mean"], value["hi"]) << path;
      EXPECT_GE(value["lo"], 0) << path;
    }
    for (const auto& [key, inner] : value.items()) expect_finite(inner, path + "." + key);
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) expect_finite(value[i], path + "[" + std::to_string(i) + "]");
  }
}

void expect_sound(const std::string& json, const std::string& text) {
  expect_finite(parse_json(json, "answer"), "");
  static const std::regex odd("(^|[ \\[(,])-?(nan|inf)\\b");
  EXPECT_FALSE(std::regex_search(text, odd)) << text;
}

/// Runs `ask`, which may refuse its input and nothing else.
template <class F>
void expect_answer_or_refusal(const std::string& what, const F& ask) {
  SCOPED_TRACE(what);
  try {
    ask();
  } catch (const InputError& e) {
    EXPECT_FALSE(e.message.empty());
  } catch (const std::exception& e) {
    ADD_FAILURE() << e.what();
  }
}

void ask_check(CheckRequest r) {
  const auto answer = check(r);
  expect_sound(check_json(answer), answer.refusal ? "" : check_text(answer, {}));  // a refusal repeats what was given
}

bool reads_number(const FlagRow& row) {
  return row.kind == FlagKind::integer || row.kind == FlagKind::human_integer || row.kind == FlagKind::length ||
         row.kind == FlagKind::number || row.kind == FlagKind::integer_list;
}

TEST(Numbers, OfEveryArgument) {
  for (const FlagRow& row : flag_rows()) {
    const bool used = !std::holds_alternative<std::monostate>(row.member);
    if (!reads_number(row)) continue;
    for (const auto& number : kNumbers)
      for (const VllmVersion version : {kDefaultVllmVersion, VllmVersion{0, 18, 0}}) {
        const std::string flag = "--" + std::regex_replace(std::string(row.name), std::regex("_"), "-");
        expect_answer_or_refusal(flag + "=" + number + " " + to_string(version), [&] {
          CheckRequest r = check_request();
          r.vllm_version = version;
          r.args = parse_or_refuse(std::vector<std::string>{flag + "=" + number}, version);
          if (used && (!r.args.refused || number == "nan")) ask_check(r);
        });
      }
  }
}

TEST(Numbers, OfConfigurationsInArguments) {
  const std::pair<const char*, const char*> kInner[] = {{"--eplb-config", "num_redundant_experts"},
                                                        {"--eplb-config", "window_size"},
                                                        {"--speculative-config", "num_speculative_tokens"},
                                                        {"--compilation-config", "max_cudagraph_capture_size"},
                                                        {"--compilation-config", "cudagraph_capture_sizes"},
                                                        {"--compilation-config", "mode"},
                                                        {"--hf-overrides", "num_hidden_layers"},
                                                        {"--hf-overrides", "max_position_embeddings"},
                                                        {"--hf-overrides", "hidden_size"},
                                                        {"--hf-overrides", "num_attention_heads"},
                                                        {"--hf-overrides", "num_experts"}};
  for (const auto& [flag, key] : kInner)
    for (const auto& number : kNumbers)
      for (const std::string& value :
           {number, "\"" + number + "\"", "[" + number + "]", std::string("null"), std::string("{}")}) {
        const std::string text = std::string("{\"") + key + "\": " + value + "}";
        expect_answer_or_refusal(std::string(flag) + " " + text, [&, flag = flag] {
          CheckRequest r = check_request();
          std::vector<std::string> words = {flag, text};
          if (std::string_view(flag) == "--eplb-config")
            words.insert(words.end(), {"--enable-eplb", "-ep", "-tp", "2"});
          r.args = parse_or_refuse(words);
          if (!r.args.refused) ask_check(r);
        });
      }
}

TEST(Numbers, OfPinnedArguments) {
  for (const FlagRow& row : flag_rows()) {
    if (!reads_number(row) || std::holds_alternative<std::monostate>(row.member)) continue;
    for (const auto& number : kNumbers) {
      const std::string flag = "--" + std::regex_replace(std::string(row.name), std::regex("_"), "-");
      expect_answer_or_refusal("plan " + flag + "=" + number, [&] {
        PlanRequest r;
        r.model_spec = "Qwen3-30B-A3B";
        r.model = small_model();
        r.cluster = parse_cluster("2xH100");
        r.workload = short_load();
        r.pinned = parse_vllm_flags(std::vector<std::string>{flag + "=" + number});
        r.explain = false;
        r.simulate_finalists = 0;
        const auto answer = make_plan(r);
        expect_sound(plan_json(answer), plan_text(answer, {}));
      });
    }
  }
}

const char* const kCluster =
    "gpus:\n  - name: X1\n    vendor: nvidia\n    architecture: Hopper\n    compute_capability: 9.0\n    memory: 80 "
    "GB\n"
    "    memory_total: 79 GiB\n    memory_taken: 1 GiB\n    memory_bandwidth: 3350 GB/s\n    peak: {bf16: 989 TFLOPS}\n"
    "    scale_up: {name: NVLink4, bandwidth: 450 GB/s, domain: 8}\n    pcie: gen5 x16\n    l2_cache: 50 MiB\n"
    "    sm_count: 132\n    power: 700 W\n    network: InfiniBand NDR 400\n    gpus_per_nic: 1\n"
    "nodes:\n  - gpu: X1\n    count: 2\n    gpus: 2\n    available: 2\n    numa_domains: 1\n    nics: 2\n    price: "
    "2.5 USD/h\n"
    "    pcie: {name: slot, bandwidth: 50 GB/s, latency: 2 us}\n"
    "    scale_up: {name: NVLink4, bandwidth: 450 GB/s, latency: 2 us, domain: 2}\n"
    "    network: {name: net, bandwidth: 50 GB/s, latency: 5 us}\n";

TEST(Numbers, OfEveryFieldOfAClusterFile) {
  const std::string text = kCluster;
  const std::regex number(": ?([0-9.]+)( [A-Za-z/]+)?(?=[\n,}])");
  int fields = 0;
  for (auto it = std::sregex_iterator(text.begin(), text.end(), number); it != std::sregex_iterator(); ++it, ++fields)
    for (const auto& odd : kNumbers) {
      const auto at = static_cast<std::size_t>(it->position(1));
      std::string changed = text;
      changed.replace(at, static_cast<std::size_t>(it->length(1)), odd);
      expect_answer_or_refusal(changed.substr(at > 30 ? at - 30 : 0, 60), [&] {
        PlanRequest r;
        r.model_spec = "Qwen3-30B-A3B";
        r.model = small_model();
        r.cluster = read_cluster_yaml(changed, "cluster.yaml");
        r.workload = short_load();
        r.explain = false;
        r.simulate_finalists = 0;
        const auto answer = make_plan(r);
        expect_sound(plan_json(answer), plan_text(answer, {}));
      });
    }
  EXPECT_GE(fields, 24);
  EXPECT_NO_THROW(read_cluster_yaml(text, "cluster.yaml"));
}

TEST(Numbers, OfEveryWorkloadOption) {
  for (const auto& option : workload_options())
    for (const auto& number : kNumbers)
      for (const char* form : {"", "ms", "lognormal", "uniform", "p99<"}) {
        std::string value = number;
        const std::string shape = form;
        if (shape == "ms") value += "ms";
        if (shape == "lognormal") value = "lognormal[mean=" + number + ",sigma=" + number + "]";
        if (shape == "uniform") value = "uniform[1," + number + "]";
        if (shape == "p99<") value = "p99<" + number + "s";
        const std::string name = option.name;
        if (name == "trace") continue;
        expect_answer_or_refusal("--" + name + " " + value, [&] {
          std::vector<WorkloadPart> parts = {{name, value, {"--" + name, 0, ""}}};
          if (name != "isl") parts.push_back({"isl", "64", {}});
          if (name != "osl") parts.push_back({"osl", "4", {}});
          if (name == "think_time") parts.push_back({"turns", "2", {}});
          CheckRequest r = check_request();
          r.workload = build_workload(parts);
          r.simulate = !r.workload.concurrency || *r.workload.concurrency < 1000;
          if (r.workload.isl.max() + r.workload.osl.max() > 4096 || r.workload.turns > 10 ||
              r.workload.prefix_groups > 100)
            r.simulate = false;
          ask_check(r);
        });
      }
}

TEST(Numbers, OfMeasuredFiles) {
  const std::string folder = SHARDWISE_SOURCE_DIR "/tests/cases/";
  for (const char* file : {"bench_c4.json", "mine.yaml"}) {
    const std::string text = read_file(folder + file);
    const std::regex number("[:,{] ?(-?[0-9][0-9.]*)(?=[\n,}])");
    for (auto it = std::sregex_iterator(text.begin(), text.end(), number); it != std::sregex_iterator(); ++it)
      for (const auto& odd : kNumbers) {
        std::string changed = text;
        changed.replace(static_cast<std::size_t>(it->position(1)), static_cast<std::size_t>(it->length(1)), odd);
        expect_answer_or_refusal(std::string(file) + " " + it->str() + " -> " + odd, [&] {
          if (std::string_view(file) == "mine.yaml") {
            const auto c = read_calibration(changed, file);
            EXPECT_TRUE(std::isfinite(c.ttft_band) && c.ttft_band > 0);
          } else {
            const auto b = read_bench_result(changed, file);
            EXPECT_TRUE(std::isfinite(b.mean_ttft_ms) && b.mean_ttft_ms > 0 && std::isfinite(b.isl));
          }
        });
      }
  }
}

TEST(Numbers, AnAnswerOfOneTokenHasNoTimeAToken) {
  CheckRequest r = check_request();
  r.workload.osl = parse_length("1", "--osl");
  const auto answer = check(r);
  ASSERT_TRUE(answer.plan);
  const auto json = check_json(answer);
  expect_sound(json, check_text(answer, {}));
  EXPECT_TRUE(std::regex_search(json, std::regex("\"tpot_ms\": ?null"))) << json;
}

}  // namespace
}  // namespace shardwise
