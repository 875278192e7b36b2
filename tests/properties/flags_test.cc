// Every row of the flag table, given to a plan: it is in every command where it belongs, and in every file that holds
// commands, or the answer names it as decided by the plan.
#include <gmock/gmock.h>

#include <set>

#include "app/plan.h"
#include "base/text.h"
#include "config/json.h"
#include "launch/launch_files.h"
#include "parallel/parser_table.h"
#include "parallel/value_type.h"
#include "questions.h"

namespace shardwise {
namespace {

using Words = std::vector<std::string>;

/// Arguments that a row's kind does not tell: values that vLLM accepts, with what they need.
const std::map<std::string_view, Words>& examples() {
  static const std::map<std::string_view, Words> all = {
      {"model", {"--model", "org/other"}},
      {"pipeline_parallel_size", {"-pp", "1"}},
      {"data_parallel_size", {"-dp", "1"}},
      {"expert_placement_strategy", {"--expert-placement-strategy", "linear"}},
      {"all2all_backend", {"--all2all-backend", "allgather_reducescatter"}},
      {"dcp_comm_backend", {"--dcp-comm-backend", "ag_rs"}},
      {"decode_context_parallel_size", {"-dcp", "1"}},
      {"prefill_context_parallel_size", {"-pcp", "1"}},
      {"eplb_config", {"--eplb-config", R"({"window_size":100,"num_redundant_experts":16})", "--enable-eplb", "-ep"}},
      {"enable_eplb", {"--enable-eplb", "-ep"}},
      {"distributed_executor_backend", {"--distributed-executor-backend", "mp"}},
      {"data_parallel_backend", {"-dpb", "mp"}},
      {"master_addr", {"--master-addr", "10.0.0.9"}},
      {"data_parallel_address", {"-dpa", "10.0.0.9"}},
      {"dtype", {"--dtype", "bfloat16"}},
      {"quantization", {"-q", "fp8"}},
      {"runner", {"--runner", "generate"}},
      {"load_format", {"--load-format", "auto"}},
      {"mm_encoder_tp_mode", {"--mm-encoder-tp-mode", "data"}},
      {"kv_cache_memory_bytes", {"--kv-cache-memory-bytes", "40G"}},
      {"kv_cache_dtype", {"--kv-cache-dtype", "fp8"}},
      {"mamba_cache_mode", {"--mamba-cache-mode", "align"}},
      {"mamba_cache_dtype", {"--mamba-cache-dtype", "auto"}},
      {"mamba_ssm_cache_dtype", {"--mamba-ssm-cache-dtype", "auto"}},
      {"scheduling_policy", {"--scheduling-policy", "priority"}},
      {"speculative_config", {"-sc", R"({"method":"ngram","num_speculative_tokens":3,"prompt_lookup_max":4})"}},
      {"spec_method", {"--spec-method", "ngram", "--spec-tokens", "3"}},
      {"spec_model", {"--spec-model", "org/draft", "--spec-tokens", "3"}},
      {"spec_tokens", {"--spec-method", "ngram", "--spec-tokens", "3"}},
      {"performance_mode", {"--performance-mode", "throughput"}},
      {"attention_backend", {"--attention-backend", "FLASH_ATTN"}},
      {"moe_backend", {"--moe-backend", "triton"}},
      {"hf_overrides", {"--hf-overrides", R"({"rope_theta":1000000})"}},
      {"compilation_config", {"-cc", R"({"mode":3,"pass_config":{"fuse_norm_quant":true}})"}},
      {"kv_transfer_config", {"--kv-transfer-config", R"({"kv_connector":"NixlConnector","kv_role":"kv_both"})"}},
      {"enable_elastic_ep", {"--enable-elastic-ep", "--enable-eplb", "-ep"}},
      {"block_size", {"--block-size", "32"}},
      {"lora_modules", {"--lora-modules", "a=b"}},
      {"device_ids", {"--device-ids", "0,1,2,3"}},
      {"max_num_seqs", {"--max-num-seqs", "64"}},
      {"max_model_len", {"--max-model-len", "16k"}},
      {"enable_dbo", {"--enable-dbo", "--all2all-backend", "deepep_low_latency", "-ep"}},
      {"ubatch_size", {"--ubatch-size", "2", "--all2all-backend", "deepep_low_latency", "-ep"}},
  };
  return all;
}

std::string dashed(std::string_view name) {
  std::string out = "--" + std::string(name);
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}

/// A word of those that vLLM of that version takes; nullopt where it takes any.
std::optional<std::string> choice(const FlagRow& row, VllmVersion version) {
  for (const auto& form : argument_rows()) {
    if (form.name != row.name || !form.versions.contains(version)) continue;
    if (form.reads == "config") return "{}";
    const auto& type = form.type.empty() && form.field.starts_with("upper") ? form.field : form.type;
    if (!type.empty()) return split(words_of(type), ',').front();
  }
  return std::nullopt;
}

Words example(const FlagRow& row, VllmVersion version) {
  if (const auto it = examples().find(row.name); it != examples().end()) return it->second;
  const auto flag = dashed(row.name);
  if (const auto word = choice(row, version)) return {flag, *word};
  switch (row.kind) {
    case FlagKind::integer:
      return {flag, "2"};
    case FlagKind::human_integer:
    case FlagKind::length:
      return {flag, "8k"};
    case FlagKind::number:
      return {flag, "0.5"};
    case FlagKind::boolean:
    case FlagKind::present:
      return {flag};
    case FlagKind::text:
      return {flag + "=-a 'word' $HOME \"quoted\""};
    case FlagKind::json:
      return {flag, R"({"key":"it's $5"})"};
    case FlagKind::text_list:
      return {flag, "a", "b c"};
    case FlagKind::comma_list:
      return {flag, "a,b"};
    case FlagKind::integer_list:
      return {flag, "1", "2", "4"};
    case FlagKind::optional_text:
      return {flag};
  }
  return {};
}

PlanRequest pinned_question(const Words& pins, const FlagRow& row) {
  static const auto asked = question("Qwen3-30B-A3B", "2x4xH100");
  PlanRequest r = asked;
  r.model_spec = r.model->name;
  r.simulate_finalists = 0;
  if (!row.versions.contains(r.vllm_version))
    r.vllm_version = row.versions.since == always ? VllmVersion{0, 16, 0} : row.versions.since;
  r.pinned = parse_vllm_flags(pins, r.vllm_version);
  const auto pinned = given_flags(r.pinned);
  if (std::any_of(pinned.begin(), pinned.end(), [&](const GivenFlag& flag) { return flag.row == &row; })) return r;
  Words words = pins;
  for (auto& word : example(row, r.vllm_version)) words.push_back(std::move(word));
  r.pinned = parse_vllm_flags(words, r.vllm_version);
  return r;
}

/// What vLLM refuses with this model and these layouts: fault tolerance needs external load balancing, elastic EP no
/// pipeline, an adapter for images a model that takes them.
bool refused(const FlagRow& row, const Words& pins) {
  return row.name == "enable_fault_tolerance" || row.name == "default_mm_loras" ||
         (row.name == "enable_elastic_ep" && pins[2] == "-pp");
}

bool named(const PlanAnswer& answer, const GivenFlag& flag) {
  const auto text = " " + join(to_argv(flag), " ");
  return std::any_of(answer.warnings.begin(), answer.warnings.end(), [&](const std::string& warning) {
    return warning.starts_with("not as given") && (warning.ends_with(text) || warning.find(text + ",") != warning.npos);
  });
}

bool carried(const LaunchCommand& command, const GivenFlag& flag, VllmVersion version) {
  const auto there = given_flags(parse_vllm_flags(std::span(command.argv).subspan(2), version));
  return std::find(there.begin(), there.end(), flag) != there.end();
}

void expect_everywhere(const PlanAnswer& answer, const GivenFlag& flag, std::set<std::string>& decided) {
  if (named(answer, flag)) {
    decided.insert(std::string(flag.row->name));
    return;
  }
  // Of the launch's own arguments, which node carries which is seen in launch_test.
  const auto count = std::count_if(answer.launch.begin(), answer.launch.end(), [&](const LaunchCommand& command) {
    return carried(command, flag, answer.request.vllm_version);
  });
  if (flag.row->part == FlagPart::node)
    EXPECT_GE(count, 1) << flag.row->name;
  else
    EXPECT_EQ(count, flag.row->part == FlagPart::server ? 1 : 2) << flag.row->name;
}

void expect_files(const PlanAnswer& answer) {
  const auto files = launch_files_of(answer.request, answer.search.plans.front());
  const auto manifest = parse_json(files.at("manifest.json"), "manifest.json");
  for (std::size_t i = 0; i < answer.launch.size(); ++i) {
    const auto& command = answer.launch[i];
    EXPECT_EQ(manifest["launch"][i]["command"], Json(command.argv));
    const auto node = std::to_string(command.node);
    for (const auto& word : command.argv) {
      EXPECT_THAT(files.at("run-node" + node + ".sh"), testing::HasSubstr(shell_word(word)));
      const auto quoted = Json(word).dump();
      if (word.find('$') == std::string::npos) {
        EXPECT_THAT(files.at("compose.node" + node + ".yaml"), testing::HasSubstr(quoted.substr(1, quoted.size() - 2)));
      }
    }
  }
}

class EveryFlag : public testing::TestWithParam<Words> {};

TEST_P(EveryFlag, IsInTheCommandsOrNamed) {
  std::set<std::string> decided;
  for (const auto& row : flag_rows()) {
    SCOPED_TRACE(row.name);
    if (refused(row, GetParam())) continue;
    const auto request = pinned_question(GetParam(), row);
    PlanAnswer answer;
    ASSERT_NO_THROW(answer = make_plan(request)) << testing::PrintToString(example(row, request.vllm_version));
    if (!answer.found()) {
      ADD_FAILURE() << "no plan: " << answer.no_reason << answer.search.rejected.front().example;
      continue;
    }
    ASSERT_EQ(answer.launch.size(), 2u);
    for (const auto& flag : given_flags(request.pinned)) expect_everywhere(answer, flag, decided);
    for (const auto& command : answer.launch) {
      const Words words(command.argv.begin() + 2, command.argv.end());
      EXPECT_EQ(to_argv(parse_vllm_flags(words, request.vllm_version)), words);
    }
    expect_files(answer);
  }
  EXPECT_THAT(decided,
              testing::IsSubsetOf({"model", "nnodes", "node_rank", "data_parallel_rank", "data_parallel_start_rank",
                                   "data_parallel_size_local", "data_parallel_hybrid_lb", "data_parallel_external_lb",
                                   "data_parallel_multi_port_external_lb", "data_parallel_backend", "device_ids"}));
}

INSTANTIATE_TEST_SUITE_P(TwoNodes, EveryFlag,
                         testing::Values(Words{"-tp", "4", "-dp", "2"}, Words{"-tp", "4", "-pp", "2"}));

}  // namespace
}  // namespace shardwise
