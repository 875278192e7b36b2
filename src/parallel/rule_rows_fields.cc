// Ranges and literals that vLLM declares on its config fields (pydantic), in the order of the classes' fields.
#include "config/json.h"
#include "parallel/parser_table.h"
#include "parallel/python_text.h"
#include "parallel/rule_rows.h"
#include "parallel/value_type.h"

namespace shardwise {
namespace {

using namespace rows;

struct Word {
  std::string_view name;
  VllmVersion since = always, until = ever;
};

constexpr Word all2all[] = {{"naive"},
                            {"pplx"},
                            {"deepep_high_throughput"},
                            {"deepep_low_latency"},
                            {"allgather_reducescatter"},
                            {"flashinfer_all2allv"},
                            {"mori", {0, 15, 1}, {0, 23, 0}},
                            {"deepep_v2", {0, 24, 0}},
                            {"mori_high_throughput", {0, 23, 0}},
                            {"mori_low_latency", {0, 23, 0}},
                            {"moonep", {0, 31, 0}},
                            {"nixl_ep", {0, 18, 1}},
                            {"flashinfer_nvlink_two_sided", {0, 18, 1}},
                            {"flashinfer_nvlink_one_sided", {0, 18, 1}},
                            {"passthrough", {0, 31, 0}}};
constexpr Word placements[] = {{"linear"}, {"round_robin"}};
constexpr Word dp_backends[] = {{"ray"}, {"mp"}};
constexpr Word dcp_backends[] = {{"ag_rs"}, {"a2a"}};
constexpr Word dtypes[] = {{"auto"}, {"half"}, {"float16"}, {"bfloat16"}, {"float"}, {"float32"}};
constexpr Word cache_dtypes[] = {{"auto"},
                                 {"float16", {0, 18, 1}},
                                 {"bfloat16"},
                                 {"fp8"},
                                 {"fp8_e4m3"},
                                 {"fp8_e5m2"},
                                 {"fp8_inc"},
                                 {"fp8_ds_mla"},
                                 {"nvfp4_ds_mla", {0, 31, 0}},
                                 {"turboquant_k8v4", {0, 20, 0}},
                                 {"turboquant_4bit_nc", {0, 20, 0}},
                                 {"turboquant_k3v4_nc", {0, 20, 0}},
                                 {"turboquant_3bit_nc", {0, 20, 0}},
                                 {"ultraquant_4bit", {0, 31, 0}},
                                 {"int4_per_token_head", {0, 20, 0}},
                                 {"int8_per_token_head", {0, 20, 0}},
                                 {"fp8_per_token_head", {0, 20, 0}},
                                 {"nvfp4", {0, 20, 0}},
                                 {"nvfp4_4over6", {0, 31, 0}},
                                 {"octave_k3v4", {0, 33, 0}},
                                 {"octave_k3v3", {0, 33, 0}},
                                 {"octave_k3v3_compact", {0, 33, 0}}};
constexpr Word speculative_methods[] = {{"ngram"},
                                        {"ngram_gpu"},
                                        {"draft_model"},
                                        {"suffix"},
                                        {"custom_class"},
                                        {"eagle"},
                                        {"eagle3"},
                                        {"extract_hidden_states"},
                                        {"mtp"},
                                        {"dflash"},
                                        {"dspark"},
                                        {"medusa", always, {0, 33, 0}},
                                        {"mlp_speculator", always, {0, 33, 0}}};
constexpr Word mamba_modes[] = {{"align"}, {"none"}, {"all", always, {0, 32, 0}}};

Violation least(const std::optional<std::int64_t>& value, std::int64_t minimum, std::string_view name) {
  return value && *value < minimum ? wrong("{} is {}, must be at least {}", name, *value, minimum) : ok;
}

template <std::size_t N>
Violation one_of(S s, const std::optional<std::string>& value, const Word (&words)[N], std::string_view name) {
  if (!value) return ok;
  for (const auto& w : words)
    if (w.name == *value && w.since <= s.v && s.v < w.until) return ok;
  return wrong("{} '{}' is not known to vLLM {}", name, *value, to_string(s.v));
}

/// The form of an argument in a version; null if the version does not have it.
const ArgumentRow* argument_form(std::string_view name, VllmVersion version) {
  for (const auto& row : argument_rows())
    if (row.name == name && row.versions.contains(version)) return &row;
  return nullptr;
}

/// A word as the field of the configuration gets it.
Json field_value(const FlagRow& row, const std::string& word) {
  if (row.kind == FlagKind::json) return Json::parse(word, nullptr, false);
  if (row.kind == FlagKind::number) return python_float(word).value_or(0);
  const auto number = row.kind == FlagKind::text ? std::nullopt : human_readable_int(word);
  return number ? Json(*number) : Json(word);
}

/// What the field of a configuration refuses of the words that the parser took.
Violation field_problem(const GivenFlag& given, VllmVersion version) {
  const auto* form = argument_form(given.row->name, version);
  if (!form || form->field.empty()) return ok;
  for (const auto& word : given.words) {
    const auto made = coerce(form->field, field_value(*given.row, word), version);
    if (const auto* problem = std::get_if<ValueProblem>(&made))
      return wrong("{}{}: {}", given.row->name, problem->path.empty() ? "" : "." + problem->path, problem->message);
  }
  return ok;
}

/// Keys and types of a draft.
Violation beyond_speculation(S s) {
  if (!s.a.speculative_config) return ok;
  return field_problem({find_flag("speculative_config"), {*s.a.speculative_config}}, s.v);
}

/// Ranges, and names of backends.
Violation beyond_its_field(S s) {
  for (const auto& given : given_flags(s.a))
    if (auto problem = field_problem(given, s.v)) return problem;
  return ok;
}

constexpr Rule field(std::string_view id, When when, std::string_view text, Check check) {
  return {id, when, "engine/arg_utils.py:create_engine_config", text, "a value in range", check};
}

constexpr When sizes = from(parallel, {0, 23, 0});  // have declared ranges from then on

constexpr Rule kFieldRules[] = {
    field("field_range:dtype", model, "dtype is one of vLLM's.",
          [](S s) { return one_of(s, s.a.dtype, dtypes, "dtype"); }),
    field("field_range:max_model_len", model, "max_model_len is at least -1 (automatic).",
          [](S s) { return least(s.a.max_model_len, -1, "max_model_len"); }),
    field("field_range:block_size", features, "block_size is at least 1.",
          [](S s) { return least(s.a.block_size, 1, "block_size"); }),
    field("field_range:gpu_memory_utilization", features, "gpu_memory_utilization is above 0 and at most 1.",
          [](S s) {
            const auto value = s.a.gpu_memory_utilization;
            return value && (*value <= 0 || *value > 1)
                       ? wrong("gpu_memory_utilization is {}, must be above 0 and at most 1", *value)
                       : ok;
          }),
    field("field_range:cache_dtype", features, "kv_cache_dtype is one of this version's.",
          [](S s) { return one_of(s, s.a.kv_cache_dtype, cache_dtypes, "cache_dtype"); }),
    field("field_range:mamba_cache_mode", features, "mamba_cache_mode is one of this version's.",
          [](S s) { return one_of(s, s.a.mamba_cache_mode, mamba_modes, "mamba_cache_mode"); }),
    field("field_range:pipeline_parallel_size", sizes, "pipeline_parallel_size is at least 1.",
          [](S s) { return least(s.a.pipeline_parallel_size, 1, "pipeline_parallel_size"); }),
    field("field_range:tensor_parallel_size", sizes, "tensor_parallel_size is at least 1.",
          [](S s) { return least(s.a.tensor_parallel_size, 1, "tensor_parallel_size"); }),
    field("field_range:prefill_context_parallel_size", sizes, "prefill_context_parallel_size is at least 1.",
          [](S s) { return least(s.a.prefill_context_parallel_size, 1, "prefill_context_parallel_size"); }),
    field("field_range:data_parallel_size", sizes, "data_parallel_size is at least 1.",
          [](S s) { return least(s.a.data_parallel_size, 1, "data_parallel_size"); }),
    field("field_range:data_parallel_size_local", sizes, "data_parallel_size_local is at least 0.",
          [](S s) { return least(s.r.data_parallel_size_local, 0, "data_parallel_size_local"); }),
    field("field_range:data_parallel_rank", sizes, "data_parallel_rank is at least 0.",
          [](S s) { return least(s.r.data_parallel_rank, 0, "data_parallel_rank"); }),
    field("field_range:data_parallel_backend", parallel, "data_parallel_backend is mp or ray.",
          [](S s) { return one_of(s, s.a.data_parallel_backend, dp_backends, "data_parallel_backend"); }),
    field("field_range:expert_placement_strategy", parallel, "expert_placement_strategy is linear or round_robin.",
          [](S s) { return one_of(s, s.a.expert_placement_strategy, placements, "expert_placement_strategy"); }),
    field("field_range:all2all_backend", parallel, "all2all_backend is one of this version's.",
          [](S s) { return one_of(s, s.a.all2all_backend, all2all, "all2all_backend"); }),
    field("field_range:ubatch_size", sizes, "ubatch_size is at least 0.",
          [](S s) { return least(s.a.ubatch_size, 0, "ubatch_size"); }),
    {"ubatch_above_threshold", from(sizes, {0, 30, 0}), "config/parallel.py:_verify_args",
     "A step is split into micro-batches only from as many tokens on as there are micro-batches.",
     "larger --dbo-decode-token-threshold and --dbo-prefill-token-threshold",
     [](S s) {
       const auto least_tokens = std::min(s.a.dbo_decode_token_threshold.value_or(kDboDecodeTokens),
                                          s.a.dbo_prefill_token_threshold.value_or(kDboPrefillTokens));
       return micro_batches(s.a) > std::max<std::int64_t>(1, least_tokens)
                  ? wrong("{} micro-batches from {} tokens on", micro_batches(s.a), least_tokens)
                  : ok;
     }},
    field("field_range:node_rank", sizes, "node_rank is at least 0.",
          [](S s) { return least(s.a.node_rank, 0, "node_rank"); }),
    field("field_range:nnodes", sizes, "nnodes is at least 1.", [](S s) { return least(s.a.nnodes, 1, "nnodes"); }),
    field("field_range:decode_context_parallel_size", sizes, "decode_context_parallel_size is at least 1.",
          [](S s) { return least(s.a.decode_context_parallel_size, 1, "decode_context_parallel_size"); }),
    field("field_range:dcp_comm_backend", parallel, "dcp_comm_backend is ag_rs or a2a.",
          [](S s) { return one_of(s, s.a.dcp_comm_backend, dcp_backends, "dcp_comm_backend"); }),
    field("field_range:num_speculative_tokens", speculative, "num_speculative_tokens is at least 1.",
          [](S s) { return s.has_spec ? least(s.spec_tokens, 1, "num_speculative_tokens") : ok; }),
    field("field_range:method", speculative, "The speculative method is one of this version's.",
          [](S s) { return s.has_spec ? one_of(s, s.spec_method, speculative_methods, "method") : ok; }),
    field("field_range:speculative_config", speculative, "Keys and values of --speculative-config are vLLM's.",
          beyond_speculation),
    field("field_range:max_num_batched_tokens", scheduler, "max_num_batched_tokens is at least 1.",
          [](S s) { return least(s.r.max_num_batched_tokens, 1, "max_num_batched_tokens"); }),
    field("field_range:max_num_scheduled_tokens", scheduler, "max_num_scheduled_tokens is at least 1.",
          [](S s) { return least(s.a.max_num_scheduled_tokens, 1, "max_num_scheduled_tokens"); }),
    field("field_range:max_num_seqs", scheduler, "max_num_seqs is at least 1.",
          [](S s) { return least(s.r.max_num_seqs, 1, "max_num_seqs"); }),
    field("field_range", hooks, "A value is one that the field of its configuration takes.", beyond_its_field),
};

}  // namespace

std::span<const Rule> field_rules() { return kFieldRules; }

}  // namespace shardwise
