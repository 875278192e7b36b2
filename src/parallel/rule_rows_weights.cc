// Rules of weights in host memory and of LoRA adapters.
#include <algorithm>

#include "base/saturate.h"
#include "parallel/expert_kernels.h"
#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

using namespace rows;

constexpr const char *kArguments = "engine/arg_utils.py:create_engine_config", *kLora = "config/lora.py",
                     *kOffload = "config/offload.py:validate_offload_config", *kExperts = "lora/layers/fused_moe.py",
                     *kLoad = "v1/worker/lora_model_runner_mixin.py:load_lora_model";

bool with_lora(S s) { return s.a.enable_lora.value_or(false); }

/// vLLM's check applies where the prefetching offloader is asked for, or its groups are given.
bool prefetches(S s) {
  return s.a.offload_backend.value_or("auto") == "prefetch" || s.a.offload_group_size.value_or(0) > 0;
}

/// Weights that are quantised while they are read are of no device until then (online/fp8.py, online/moe_base.py).
bool built_without_memory(S s) {
  if (!s.m.quantization.empty() || !s.quantization_method) return false;
  const auto& method = s.quantization_method->name;
  const bool experts_alone = method == "experts_int8" || method == "int8_per_channel_weight_only";
  return s.quantization_method->without_config == WithoutConfig::online && method != "bitsandbytes" &&
         (!experts_alone || s.m.is_moe);
}

bool spreads_experts(S s) { return s.m.is_moe && s.r.enable_expert_parallel && s.r.ep_size > 1; }

/// The rows of the kernels' oracle that take adapters.
Violation no_expert_kernel(S s) {
  if (!with_lora(s) || !s.m.experts || !s.n.cuda()) return ok;
  ParallelConfig p;
  p.tensor_parallel_size = static_cast<int>(s.r.tensor_parallel_size);
  p.data_parallel_size = static_cast<int>(s.r.data_parallel_size);
  p.enable_expert_parallel = s.r.enable_expert_parallel;
  p.all2all_backend = s.r.all2all_backend;
  auto query = expert_query(s.m, p, s.r.sequence_parallel_moe, s.r.quantization.value_or(""), s.n.capability);
  query.lora = true;
  return choose_expert_kernel(query) ? ok
                                     : wrong("no expert kernel of {} takes LoRA adapters on this GPU",
                                             s.r.quantization.value_or("unquantised layers"));
}

constexpr Rule kWeightRules[] = {
    {"lora_modality_of_text_model", scheduler, kArguments, "default_mm_loras is for multimodal models.",
     "no --default-mm-loras",
     [](S s) { return s.a.default_mm_loras && !s.m.supports_multimodal ? wrong("the model takes text alone") : ok; },
     "Default modality-specific LoRA(s) were provided for a non multimodal model"},
    {"lora_host_slots", scheduler, kLora, "max_cpu_loras is at least max_loras.",
     "a larger --max-cpu-loras or a smaller --max-loras",
     [](S s) {
       const auto kept = s.a.max_cpu_loras.value_or(0), active = s.a.max_loras.value_or(1);
       return with_lora(s) && kept > 0 && kept < active
                  ? wrong("max_cpu_loras ({}) must be >= max_loras ({})", kept, active)
                  : ok;
     },
     "max_cpu_loras ("},
    {"lora_speculation_tokens", scheduler, kArguments,
     "With LoRA a step holds every request's token and its speculative ones.",
     "a larger --max-num-batched-tokens, or fewer speculative tokens",
     [](S s) {
       const auto tokens = saturating_product(s.r.max_num_seqs, s.spec_tokens.value_or(0) + 1);
       return with_lora(s) && s.has_spec && s.r.max_num_batched_tokens < tokens
                  ? wrong("max_num_batched_tokens {} is below {} tokens of all requests", s.r.max_num_batched_tokens,
                          tokens)
                  : ok;
     },
     "Consider increasing max_num_batched_tokens"},
    {"offload_group", from(scheduler, {0, 17, 0}), kOffload, "offload_num_in_group is at most offload_group_size.",
     "a larger --offload-group-size",
     [](S s) {
       const auto in_group = s.a.offload_num_in_group.value_or(1), size = s.a.offload_group_size.value_or(0);
       return prefetches(s) && in_group > size
                  ? wrong("offload_num_in_group ({}) must be <= offload_group_size ({})", in_group, size)
                  : ok;
     },
     "offload_num_in_group ("},
    {"offload_prefetch_step", from(scheduler, {0, 17, 0}), kOffload,
     "offload_prefetch_step is at least 1 where layers are prefetched.", "--offload-prefetch-step 1 or more",
     [](S s) {
       const auto step = s.a.offload_prefetch_step.value_or(1);
       return prefetches(s) && step < 1 ? wrong("offload_prefetch_step is {}", step) : ok;
     },
     "offload_prefetch_step ("},
    {"offload_online_quantization", worker, "model_executor/offloader/uva.py, prefetch.py",
     "Weights that are quantised while they are read cannot be moved to host memory: they hold nothing yet.",
     "a quantised checkpoint, or no offloading",
     [](S s) {
       const auto& offload = s.r.offload;
       return offload.backend != OffloadConfig::Backend::none && offload.params.empty() && built_without_memory(s)
                  ? wrong("--quantization {} with weights in host memory", s.quantization)
                  : ok;
     },
     "Cannot copy out of meta tensor; no data!"},
    {"lora_unsupported", worker, kLoad, "The model's class takes LoRA adapters.", "no --enable-lora",
     [](S s) {
       return with_lora(s) && !s.m.supports_lora ? wrong("{} does not support LoRA yet", s.m.architecture) : ok;
     },
     "does not support LoRA yet"},
    {"lora_context_parallel", from(worker, {0, 26, 0}), "v1/worker/gpu/pcp_manager.py",
     "Prefill context parallelism takes no LoRA adapters.", "--prefill-context-parallel-size 1",
     [](S s) {
       return with_lora(s) && s.r.prefill_context_parallel_size > 1
                  ? wrong("prefill_context_parallel_size {} with LoRA", s.r.prefill_context_parallel_size)
                  : ok;
     },
     "MRV2 PCP does not support LoRA yet"},
    {"lora_rank_split", worker, "lora/layers/base_linear.py:create_lora_weights",
     "With fully_sharded_loras TP divides max_lora_rank.", "a larger --max-lora-rank, or no --fully-sharded-loras",
     [](S s) {
       const auto rank = s.a.max_lora_rank.value_or(16);
       return with_lora(s) && s.a.fully_sharded_loras.value_or(false) && rank % s.r.tensor_parallel_size != 0
                  ? wrong("max_lora_rank {} is not divisible by TP {}", rank, s.r.tensor_parallel_size)
                  : ok;
     },
     "is not divisible by"},
    {"lora_expert_parallel", before(worker, {0, 21, 0}), kExperts,
     "Adapters of experts want whole experts on every rank before 0.21.", "no --enable-expert-parallel",
     [](S s) { return with_lora(s) && spreads_experts(s) ? wrong("EP {} with LoRA", s.r.ep_size) : ok; },
     "EP support for Fused MoE LoRA is not implemented yet"},
    {"lora_expert_all2all", from(worker, {0, 21, 0}), kExperts,
     "Adapters of experts that are spread over ranks want allgather_reducescatter, and tokens that are not split over "
     "TP.",
     "--all2all-backend allgather_reducescatter, and TP 1 or DP 1",
     [](S s) -> Violation {
       if (!with_lora(s) || !spreads_experts(s)) return ok;
       if (s.r.all2all_backend != "allgather_reducescatter") return wrong("all2all_backend is {}", s.r.all2all_backend);
       return s.r.sequence_parallel_moe ? wrong("experts' tokens are split over TP") : ok;
     },
     "Fused MoE LoRA with EP currently only supports"},
    {"lora_expert_sharding", from(worker, {0, 21, 0}), kExperts,
     "Experts that are spread over ranks take no fully_sharded_loras.", "one of the two",
     [](S s) {
       return with_lora(s) && spreads_experts(s) && s.a.fully_sharded_loras.value_or(false)
                  ? wrong("enable_expert_parallel with fully_sharded_loras")
                  : ok;
     },
     "Fused MoE LoRA does not support enable_expert_parallel=True"},
    {"lora_expert_kernel", from(worker, {0, 20, 0}), kExperts, "A kernel of the experts' type takes adapters.",
     "another checkpoint, or no --enable-lora", no_expert_kernel, "does not support LoRA"},
};

/// Classes that a version runs with Model Runner V2 by itself (config/vllm.py _is_default_v2_model_runner_model).
struct DefaultV2 {
  VllmVersion since, until;
  std::string_view classes;
  bool dense = false;        ///< and every model without experts or recurrent states
  bool unquantised = false;  ///< dense and unquantised ones of them alone
};
constexpr DefaultV2 kDefaultV2[] = {
    {{0, 22, 0}, {0, 23, 0}, "Qwen3ForCausalLM", false, true},
    {{0, 23, 0}, {0, 24, 0}, "LlamaForCausalLM MistralForCausalLM Qwen3ForCausalLM", false, true},
    {{0, 24, 0},
     {0, 25, 0},
     "Qwen3ForCausalLM DeepseekV2ForCausalLM Qwen2MoeForCausalLM GraniteMoeForCausalLM LlamaForCausalLM "
     "MistralForCausalLM"},
    {{0, 25, 0},
     {0, 28, 0},
     "DeepseekV2ForCausalLM GraniteMoeForCausalLM InklingForCausalLM InklingForConditionalGeneration "
     "KimiK3ForConditionalGeneration LongcatFlashNgramForCausalLM Qwen2MoeForCausalLM",
     true}};

bool runs_v2(const DefaultV2& row, S s) {
  if (row.unquantised && (s.m.is_moe || !s.quantization.empty())) return false;
  const bool named = (" " + std::string(row.classes) + " ").find(" " + s.m.architecture + " ") != std::string::npos;
  return named || (row.dense && !s.m.is_moe && !s.m.is_hybrid && !s.m.is_attention_free);
}

}  // namespace

bool runner_ignores_offload(S s) {
  if (s.v >= VllmVersion{0, 28, 0}) return false;
  const auto asked = s.env.find("VLLM_USE_V2_MODEL_RUNNER");
  if (asked != s.env.end() && !asked->second.empty()) return asked->second != "0";
  const bool unsupported = s.spec_method.starts_with("ngram") || micro_batches(s.a) > 1 ||
                           s.r.prefill_context_parallel_size > 1 || s.a.runner.value_or("auto") == "pooling";
  return !unsupported && std::ranges::any_of(kDefaultV2, [&](const DefaultV2& row) {
    return row.since <= s.v && s.v < row.until && runs_v2(row, s);
  });
}

std::span<const Rule> weight_rules() { return kWeightRules; }

}  // namespace shardwise
