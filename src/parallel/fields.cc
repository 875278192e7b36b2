// Ranges and literals that vLLM declares on its config fields (pydantic), in the order of the classes' fields.
#include <fmt/format.h>

#include <array>

#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

using S = ResolveState;

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

struct Checker {
  S& s;
  bool done = false;
  void fail(std::string_view name, std::string message) {
    if (done) return;
    done = true;
    s.field_problem = "field_range:" + std::string(name);
    s.field_message = std::move(message);
  }
  void least(std::string_view name, const std::optional<std::int64_t>& value, std::int64_t minimum) {
    if (!done && value && *value < minimum)
      fail(name, fmt::format("{} is {}, must be at least {}", name, *value, minimum));
  }
  template <std::size_t N>
  void one_of(std::string_view name, const std::optional<std::string>& value, const Word (&words)[N]) {
    if (done || !value) return;
    for (const auto& w : words)
      if (w.name == *value && w.since <= s.v && s.v < w.until) return;
    fail(name, fmt::format("{} '{}' is not known to vLLM {}", name, *value, to_string(s.v)));
  }
};

}  // namespace

void check_fields(Phase phase, ResolveState& s) {
  Checker c{s};
  const auto& a = s.a;
  const bool ranged = s.v >= VllmVersion{0, 23, 0};  // sizes have declared ranges from 0.23 on
  if (phase == Phase::model) {
    c.one_of("dtype", a.dtype, dtypes);
    c.least("max_model_len", a.max_model_len, -1);
  } else if (phase == Phase::features) {
    c.least("block_size", a.block_size, 1);
    if (a.gpu_memory_utilization && (*a.gpu_memory_utilization <= 0 || *a.gpu_memory_utilization > 1))
      c.fail("gpu_memory_utilization",
             fmt::format("gpu_memory_utilization is {}, must be above 0 and at most 1", *a.gpu_memory_utilization));
    c.one_of("cache_dtype", a.kv_cache_dtype, cache_dtypes);
    c.one_of("mamba_cache_mode", a.mamba_cache_mode, mamba_modes);
  } else if (phase == Phase::parallel) {
    if (ranged) {
      c.least("pipeline_parallel_size", a.pipeline_parallel_size, 1);
      c.least("tensor_parallel_size", a.tensor_parallel_size, 1);
      c.least("prefill_context_parallel_size", a.prefill_context_parallel_size, 1);
      c.least("data_parallel_size", a.data_parallel_size, 1);
      c.least("data_parallel_size_local", s.r.data_parallel_size_local, 0);
      c.least("data_parallel_rank", s.r.data_parallel_rank, 0);
    }
    c.one_of("data_parallel_backend", a.data_parallel_backend, dp_backends);
    c.one_of("expert_placement_strategy", a.expert_placement_strategy, placements);
    c.one_of("all2all_backend", a.all2all_backend, all2all);
    if (ranged) {
      c.least("ubatch_size", a.ubatch_size, 0);
      c.least("node_rank", a.node_rank, 0);
      c.least("nnodes", a.nnodes, 1);
      c.least("decode_context_parallel_size", a.decode_context_parallel_size, 1);
    }
    c.one_of("dcp_comm_backend", a.dcp_comm_backend, dcp_backends);
  } else if (phase == Phase::speculative) {
    if (s.has_spec) {
      c.least("num_speculative_tokens", s.spec_tokens, 1);
      c.one_of("method", s.spec_method, speculative_methods);
    }
  } else if (phase == Phase::scheduler) {
    c.least("max_num_batched_tokens", s.r.max_num_batched_tokens, 1);
    c.least("max_num_scheduled_tokens", a.max_num_scheduled_tokens, 1);
    c.least("max_num_seqs", s.r.max_num_seqs, 1);
  }
}

}  // namespace shardwise
