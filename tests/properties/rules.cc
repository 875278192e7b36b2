// Whatever is asked, every rule that an answer names is a row of rules(), and `shardwise rules` prints it.
#include <rapidcheck.h>

#include <algorithm>
#include <cstdio>

#include "app/check.h"
#include "app/memory_answer.h"
#include "app/plan.h"
#include "base/input_error.h"
#include "config/json.h"
#include "model/bundled_model.h"
#include "model/load.h"
#include "parallel/checked_versions.h"
#include "report/catalogue.h"
#include "report/report.h"

using namespace shardwise;

namespace {

std::shared_ptr<const Model> any_model() {
  static const auto all = [] {
    std::vector<std::shared_ptr<const Model>> models;
    for (const char* name : {"Llama-3.1-8B", "Llama-3.1-405B", "Qwen3-30B-A3B", "DeepSeek-V3", "gpt-oss-120b",
                             "gemma-3-27b-it", "Qwen3.5-35B-A3B", "llama-2-70b"})
      models.push_back(std::make_shared<const Model>(bundled_model(name)));
    return models;
  }();
  return *rc::gen::elementOf(all);
}

/// Now and then one of `values`, else the argument is not given.
template <class T, class V = T>
void maybe(std::optional<T>& argument, std::vector<V> values, int one_in = 6) {
  if (*rc::gen::inRange(0, one_in) == 0) argument = *rc::gen::elementOf(values);
}

/// Arguments that vLLM may well refuse, each in a way of its own.
EngineArgs any_args(VllmVersion version) {
  EngineArgs a;
  maybe(a.tensor_parallel_size, {2, 3, 4, 8, 16}, 2);
  maybe(a.pipeline_parallel_size, {2, 3, 70});
  maybe(a.data_parallel_size, {2, 3, 4});
  if (version >= VllmVersion{0, 23, 0}) maybe(a.tensor_parallel_size, {-1, 0}, 12);
  maybe(a.decode_context_parallel_size, {2, 3});
  maybe(a.prefill_context_parallel_size, {2});
  maybe(a.enable_expert_parallel, std::vector<int>{1});
  maybe(a.enable_eplb, std::vector<int>{1});
  maybe<std::string, const char*>(a.eplb_config, {R"({"num_redundant_experts": 7})", R"({"policy": "other"})"}, 12);
  maybe<std::string, const char*>(a.expert_placement_strategy, {"round_robin", "spiral"}, 12);
  maybe<std::string, const char*>(a.all2all_backend, {"deepep_low_latency", "moonep", "teleport"}, 12);
  maybe<std::string, const char*>(a.distributed_executor_backend, {"ray", "mp", "uni", "external_launcher"}, 12);
  maybe(a.nnodes, {2, 3}, 12);
  maybe(a.node_rank, {1, 5}, 12);
  maybe(a.data_parallel_rank, {1, 9}, 12);
  maybe(a.data_parallel_size_local, {0, 1, 2, 5}, 12);
  maybe(a.data_parallel_hybrid_lb, std::vector<int>{1}, 12);
  maybe(a.data_parallel_external_lb, std::vector<int>{1}, 12);
  maybe(a.headless, std::vector<int>{1}, 20);
  maybe(a.cp_kv_cache_interleave_size, {7, 8});
  maybe(a.max_model_len, {-5, -1, 4096, 10'000'000});
  maybe<std::string, const char*>(a.dtype, {"float16", "float8"}, 12);
  maybe<std::string, const char*>(a.quantization, {"fp8", "awq", "gptq", "fbgemm_fp8", "none_such"}, 12);
  maybe<std::string, const char*>(a.kv_cache_dtype, {"fp8", "fp2"}, 12);
  maybe(a.gpu_memory_utilization, std::vector<double>{0.2, 0.95, 0.999, 1.5});
  maybe(a.max_num_batched_tokens, {0, 16, 8192});
  maybe(a.max_num_seqs, {0, 64});
  maybe(a.enable_chunked_prefill, std::vector<int>{0}, 12);
  maybe<std::string, const char*>(
      a.speculative_config,
      {R"({"method": "mtp", "num_speculative_tokens": 3})", R"({"method": "ngram", "num_speculative_tokens": 0})",
       R"({"method": "ngram", "num_speculative_tokens": 3})", R"({"method": "eagle"})"},
      12);
  return a;
}

CheckRequest any_question() {
  CheckRequest r;
  r.model = any_model();
  r.model_spec = r.model->name;
  r.cluster = parse_cluster(*rc::gen::elementOf(std::vector<std::string>{"1xH100", "8xH100", "4xL40S", "2x8xH200"}));
  if (*rc::gen::inRange(0, 8) == 0)
    r.env["VLLM_PP_LAYER_PARTITION"] = *rc::gen::elementOf(std::vector<std::string>{"1,2", "x", "16,16"});
  if (*rc::gen::inRange(0, 3) == 0) {
    const auto versions = checked_versions();
    r.vllm_version = (*rc::gen::elementOf(std::vector<CheckedRow>(versions.begin(), versions.end()))).version;
  }
  r.args = any_args(r.vllm_version);
  r.workload.isl = parse_length("1024", "--isl");
  r.workload.osl = parse_length("128", "--osl");
  r.workload.concurrency = 4;
  r.simulate = r.find_changes = false;
  r.threads = 1;
  return r;
}

PlanRequest plan_of(const CheckRequest& question) {
  PlanRequest r;
  r.model = question.model, r.model_spec = question.model_spec;
  r.cluster = question.cluster;
  r.pinned = question.args;
  r.workload = question.workload;
  r.vllm_version = question.vllm_version;
  r.threads = 1;
  r.explain = false;
  r.simulate_finalists = 0;
  return r;
}

void expect_row(std::string_view id) {
  RC_TAG(std::string(id));
  RC_LOG() << id << "\n";
  RC_ASSERT(find_rule(id) != nullptr);
}

/// Every value of a key "rule", however deep.
void expect_rows(const Json& answer) {
  for (const auto& [key, value] : answer.items())
    if (key == "rule")
      expect_row(value.get<std::string>());
    else if (value.is_structured())
      expect_rows(value);
}

/// Every "(rule NAME)" and "(NAME): " behind `opening`.
void expect_rows(const std::string& text, const std::string& opening) {
  for (auto at = text.find(opening); at != std::string::npos; at = text.find(opening, at + 1)) {
    const auto from = at + opening.size();
    expect_row(std::string_view(text).substr(from, text.find(')', from) - from));
  }
}

bool every_row_is_printed() {
  bool good = true;
  for (const auto* rule : rules()) {
    const auto text = rule_text(*rule, Style{});
    for (const auto part : {rule->id, rule->text, rule->where, rule->instead, rule->stage()})
      if (text.find(part) == std::string::npos)
        good = false, std::printf("rules %s does not print %s\n", rule->id.data(), part.data());
    if (rules_text(rules(), Style{}).find(rule->id) == std::string::npos)
      good = false, std::printf("rules does not list %s\n", rule->id.data());
  }
  return good;
}

}  // namespace

int main() {
  bool good = every_row_is_printed();
  good &= rc::check("check and memory name rows only", [] {
    const auto question = any_question();
    const auto answer = check(question);
    expect_rows(Json::parse(check_json(answer)));
    expect_rows(check_text(answer, Style{}), "(rule ");
    const auto memory = memory_answer(question);
    expect_rows(Json::parse(memory_answer_json(memory)));
    expect_rows(memory_answer_text(memory, Style{}), "(rule ");
  });
  good &= rc::check("plan names rows only", [] {
    auto request = plan_of(any_question());
    try {
      const auto answer = make_plan(request);
      for (const auto& rejected : answer.search.rejected) expect_row(rejected.rule->id);
      expect_rows(Json::parse(plan_json(answer)));
      for (const auto& change : answer.nearest)
        if (const std::string still = "still no: "; change.note.starts_with(still))
          expect_row(change.note.substr(still.size()));
    } catch (const InputError& e) {
      expect_rows(e.what(), "refuses this (");
    }
  });
  return good ? 0 : 1;
}
