// Rules that fire while vLLM builds the model class, in the order in which it is built.
#include <algorithm>
#include <numeric>

#include "parallel/expert_kernels.h"
#include "parallel/experts.h"
#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

using namespace rows;

constexpr std::string_view kDivide = "distributed/utils.py:ensure_divisibility",
                           kMamba = "model_executor/layers/mamba/mamba_mixer2.py:__init__",
                           kMoe = "model_executor/layers/fused_moe/layer.py:FusedMoEFactory";

const ConstructionFacts& facts(L l) { return l.m.construction; }

bool fp8_blocks(L l) {
  return facts(l).fp8_block_n > 0 && (l.quantization == "fp8" || l.quantization == "deepseek_v4_fp8");
}

/// Ranks that share the width of every expert.
std::int64_t moe_tp(L l) { return l.expert_ranks() > 1 ? 1 : l.tp * l.pcp * l.dp; }

/// The first input of a row-parallel layer that cannot be split, and why.
struct BadInput {
  enum Why { none, uneven, block, group } why = none;
  int width = 0;
};
BadInput bad_input(L l, int width) {
  const auto& c = facts(l);
  if (width % l.tp != 0) return {BadInput::uneven, width};
  if (fp8_blocks(l) && l.tp > 1 && width / l.tp % c.fp8_block_k != 0) return {BadInput::block, width};
  if (c.group_size > 0 && width / l.tp % c.group_size != 0) return {BadInput::group, width};
  return {};
}
BadInput bad_input(L l) {
  for (const int width : facts(l).row_inputs)
    if (const auto bad = bad_input(l, width); bad.why != BadInput::none) return bad;
  // Sequence-parallel MoE layers hold their shared experts whole.
  const bool whole = l.ep && l.tp > 1 && l.dp > 1 && sequence_parallel_backend(l.all2all, l.v);
  return facts(l).shared_input && !whole ? bad_input(l, facts(l).shared_input) : BadInput{};
}

/// The first output of a single column-parallel layer that is not whole fp8 blocks on every rank.
int bad_output(L l) {
  if (!fp8_blocks(l) || l.tp <= 1) return 0;
  for (const int width : facts(l).column_outputs)
    if (width / l.tp % facts(l).fp8_block_n != 0) return width;
  return 0;
}

/// Sparse MLA runs on Hopper and Blackwell, and from 0.24 on RTX Blackwell (v1/attention/backends/mla); on ROCm on
/// MI300 and later.
bool sparse_mla_backend(L l) {
  const int capability = l.node->capability;
  if (l.node->rocm()) return capability == 94 || capability == 95;
  const int major = capability / 10;
  return major == 9 || major == 10 || (major == 12 && l.v >= VllmVersion{0, 24, 0});
}

Violation no_attention_backend(L l) {
  if (!l.node || (!l.node->cuda() && !l.node->rocm())) return ok;
  const int capability = l.node->capability;
  const bool sparse = l.m.is_mla && l.m.has_index_topk && !l.m.model_type.starts_with("deepseek_v4");
  if (sparse && !sparse_mla_backend(l))
    return wrong("No valid attention backend: sparse MLA has none on compute capability {}.{}", capability / 10,
                 capability % 10);
  // Triton's kernels take the fp8 type from Ada on.
  const bool triton_alone =
      l.m.is_mla ? l.v >= VllmVersion{0, 28, 0} : l.m.is_mm_prefix_lm && l.v >= VllmVersion{0, 24, 0};
  const bool fp8 = l.cache_dtype == "fp8" || l.cache_dtype == "fp8_e4m3";
  return l.node->cuda() && triton_alone && fp8 && capability < 89
             ? wrong("kv_cache_dtype {} on compute capability {}.{}", l.cache_dtype, capability / 10, capability % 10)
             : ok;
}

Violation no_moe_backend(L l) {
  if (!l.node || !l.node->cuda() || !l.m.experts) return ok;
  // Where tokens are gathered, or need not be, Triton or Marlin takes what checkpoints hold.
  const bool gathered = !l.ep || l.all2all == "allgather_reducescatter";
  if (gathered && !l.m.experts->online) return ok;
  const bool sequence_parallel = l.ep && l.tp > 1 && l.dp > 1 && sequence_parallel_backend(l.all2all, l.v);
  const auto query = expert_query(l.m, l.parallel(), sequence_parallel, l.quantization, l.node->capability);
  return choose_expert_kernel(query)
             ? ok
             : wrong(
                   "{}: no MoE backend takes these experts with all2all_backend {} on compute "
                   "capability {}.{}",
                   expert_kernel_oracle(query), l.all2all, l.node->capability / 10, l.node->capability % 10);
}

Violation kv_heads_below_tp(L l) {
  for (const int kv : facts(l).kv_head_counts)
    if (facts(l).kv_heads_must_cover_tp && l.tp > kv)
      return wrong("{} KV heads with tensor_parallel_size {}", kv, l.tp);
  return ok;
}

Violation kv_heads_not_divisible(L l) {
  for (const int kv : facts(l).kv_head_counts)
    if (kv >= l.tp ? kv % l.tp != 0 : l.tp % kv != 0)
      return wrong("{} KV heads with tensor_parallel_size {}", kv, l.tp);
  return ok;
}

constexpr auto kNotWholeBlocks = "width {} / tensor_parallel_size {} = {} is not a multiple of the block {}";
Violation fp8_block_vs_partition(L l) {
  const auto& c = facts(l);
  const auto input = bad_input(l);
  if (input.why == BadInput::block) return wrong(kNotWholeBlocks, input.width, l.tp, input.width / l.tp, c.fp8_block_k);
  const int output = input.why == BadInput::none ? bad_output(l) : 0;
  return output ? wrong(kNotWholeBlocks, output, l.tp, output / l.tp, c.fp8_block_n) : ok;
}

Violation fp8_block_vs_moe_partition(L l) {
  const auto& c = facts(l);
  const auto part = c.moe_intermediate / moe_tp(l);
  if (!l.m.is_moe || !fp8_blocks(l) || !part || (part % c.fp8_block_n == 0 && (l.tp == 1 || part % c.fp8_block_k == 0)))
    return ok;
  const auto finer = std::gcd(std::gcd<std::int64_t>(c.fp8_block_n, c.fp8_block_k), std::gcd(part, c.hidden_size));
  return finer < 32 ? wrong("expert width {} / {} ranks = {} fits neither the block {} nor a part of it",
                            c.moe_intermediate, moe_tp(l), part, c.fp8_block_n)
                    : ok;
}

Violation round_robin_more_ranks_than_experts(L l) {
  return l.m.is_moe && l.placement == ExpertPlacement::round_robin && l.expert_ranks() - 1 > l.m.num_experts &&
                 effective_placement(l.parallel(), l.m.num_expert_group, l.v) == ExpertPlacement::round_robin
             ? wrong("{} experts over {} expert ranks", l.m.num_experts, l.expert_ranks())
             : ok;
}

Violation no_moe_layer_on_stage(L l) {
  const auto& is_moe = facts(l).layer_is_moe;
  if (!l.m.is_moe || is_moe.empty()) return ok;
  const int pp = static_cast<int>(l.pp), layers = l.m.num_hidden_layers;
  int start = 0;
  for (int k = 0; k < pp; ++k) {
    const int size = l.pp_layer_partition.empty() ? layers / pp + (k >= pp - 1 - layers % pp && k < pp - 1 ? 1 : 0)
                                                  : l.pp_layer_partition[static_cast<std::size_t>(k)];
    bool found = false;
    for (int i = start; i < std::min(start + size, layers); ++i) found = found || is_moe[static_cast<std::size_t>(i)];
    start += size;
    if (!found && (!l.stage || *l.stage == k)) return wrong("stage {} of {} has no MoE layer ({} layers)", k, pp, size);
  }
  return ok;
}

constexpr Rule kConstructionRules[] = {
    {"no_attention_backend", construction, "v1/attention/selector.py:_cached_get_attn_backend",
     "Every kind of attention needs a backend that takes it on this GPU.",
     "another GPU, a version that has one, or --kv-cache-dtype auto", no_attention_backend},
    {"no_moe_backend", from(construction, {0, 30, 0}), "model_executor/layers/fused_moe/oracle",
     "Every kind of expert needs a backend that takes it on this GPU and with this all2all backend.",
     "another --all2all-backend", no_moe_backend},
    {"vocab_not_divisible_by_tp", construction, kDivide, "The vocabulary, padded to a multiple of 64, divides by TP.",
     "a TP that divides it",
     [](L l) {
       const int vocab = facts(l).padded_vocab;
       return vocab % l.tp != 0 ? wrong("padded vocabulary {} is not divisible by tensor_parallel_size {}", vocab, l.tp)
                                : ok;
     }},
    {"kv_heads_below_tp", construction, "model_executor/layers/attention/attention.py:__init__",
     "This class does not replicate KV heads: TP is at most their number.", "a TP not above the KV heads",
     kv_heads_below_tp},
    {"kv_heads_not_divisible_by_tp", construction, kDivide,
     "KV heads divide by TP, or, if there are fewer, TP divides by them (they are replicated).",
     "a TP that fits the KV heads", kv_heads_not_divisible},
    {"pcp_without_attention_backend", construction, "platforms/cuda.py:get_attn_backend_cls",
     "Prefill context parallelism needs an attention that has it: MLA.", "--prefill-context-parallel-size 1",
     [](L l) { return l.pcp > 1 && !facts(l).pcp_supported ? wrong("prefill_context_parallel_size {}", l.pcp) : ok; }},
    {"linear_heads_not_divisible_by_tp", construction, kDivide, "Key and value heads of linear attention divide by TP.",
     "a TP that divides them",
     [](L l) {
       const int keys = facts(l).linear_key_heads, values = facts(l).linear_value_heads;
       return values && (keys % l.tp != 0 || values % l.tp != 0)
                  ? wrong("{} key heads, {} value heads with tensor_parallel_size {}", keys, values, l.tp)
                  : ok;
     }},
    {"mamba_heads_not_divisible_by_tp", construction, kMamba, "Mamba heads divide by TP.", "a TP that divides them",
     [](L l) {
       const int heads = facts(l).mamba_heads;
       return heads % l.tp != 0 ? wrong("{} Mamba heads with tensor_parallel_size {}", heads, l.tp) : ok;
     }},
    {"mamba_groups_not_divisible_by_tp", construction, kMamba, "Mamba groups divide by TP unless there is one.",
     "a TP that divides them",
     [](L l) {
       const int groups = facts(l).mamba_groups;
       return groups > 1 && groups % l.tp != 0 ? wrong("{} Mamba groups with tensor_parallel_size {}", groups, l.tp)
                                               : ok;
     }},
    {"mamba_width_not_divisible_by_tp", construction, kDivide, "The inner width of Mamba divides by TP.",
     "a TP that divides it",
     [](L l) {
       const int width = facts(l).mamba_intermediate;
       return width % l.tp != 0 ? wrong("Mamba width {} with tensor_parallel_size {}", width, l.tp) : ok;
     }},
    {"vision_heads_not_divisible_by_tp", construction, kDivide, "Attention heads of the vision tower divide by TP.",
     "a TP that divides them, --mm-encoder-tp-mode data, or --language-model-only",
     [](L l) {
       const int heads = facts(l).vision_heads;
       return heads % l.tp != 0 ? wrong("{} vision heads with tensor_parallel_size {}", heads, l.tp) : ok;
     }},
    {"ffn_width_not_divisible_by_tp", construction, kDivide,
     "Inputs of row-parallel layers (attention output, FFN down) divide by TP.", "a TP that divides them",
     [](L l) {
       const auto bad = bad_input(l);
       return bad.why == BadInput::uneven
                  ? wrong("width {} is not divisible by tensor_parallel_size {}", bad.width, l.tp)
                  : ok;
     }},
    {"fp8_block_vs_partition", construction,
     "model_executor/layers/quantization/utils/fp8_utils.py:validate_fp8_block_shape",
     "A rank's part of a layer in fp8 blocks is a multiple of the block.", "a smaller TP", fp8_block_vs_partition},
    {"group_size_vs_partition", construction, "distributed/utils.py:verify_group_size_divides_partition",
     "A rank's part of a quantised layer holds whole groups.", "a smaller TP",
     [](L l) {
       const auto bad = bad_input(l);
       return bad.why == BadInput::group
                  ? wrong("width {} / tensor_parallel_size {} = {} is not a multiple of the group {}", bad.width, l.tp,
                          bad.width / l.tp, facts(l).group_size)
                  : ok;
     }},
    {"moe_width_not_divisible_by_tp", construction, kMoe,
     "Without expert parallelism the width of an expert divides by TP x PCP x DP.",
     "--enable-expert-parallel, or fewer ranks",
     [](L l) {
       return l.m.is_moe && facts(l).moe_intermediate % moe_tp(l) != 0
                  ? wrong("expert width {} is not divisible by {} ranks", facts(l).moe_intermediate, moe_tp(l))
                  : ok;
     }},
    {"fp8_block_vs_moe_partition", construction,
     "model_executor/layers/quantization/utils/fp8_utils.py:validate_fp8_block_shape_moe",
     "A rank's part of an expert in fp8 blocks is a multiple of the block, or of at least 32 that divides both.",
     "--enable-expert-parallel, or a smaller TP", fp8_block_vs_moe_partition},
    {"mxfp8_vs_moe_partition", construction, "model_executor/layers/quantization/online/mxfp8.py",
     "A rank's part of an expert that is quantised to MXFP8 while it is read holds whole groups of 32.",
     "--enable-expert-parallel, or a smaller TP",
     [](L l) {
       const bool mxfp8 =
           l.m.experts && l.m.experts->online && l.m.experts->scheme.method == QuantScheme::Method::mxfp8;
       const auto part = facts(l).moe_intermediate / moe_tp(l);
       return mxfp8 && (part % 32 != 0 || l.m.experts->hidden_size % 32 != 0)
                  ? wrong("expert width {} on a rank is not a multiple of 32", part)
                  : ok;
     },
     "Online MXFP8 MoE requires hidden/intermediate sizes divisible by 32"},
    {"eplb_uneven_experts", construction, kMoe, "With EPLB, logical plus redundant experts divide by the expert ranks.",
     "num_redundant_experts that makes them even",
     [](L l) {
       return l.m.is_moe && l.eplb && facts(l).passes_eplb &&
                      (l.m.num_experts + l.redundant_experts) % l.expert_ranks() != 0
                  ? wrong("{} experts + {} redundant over {} expert ranks", l.m.num_experts, l.redundant_experts,
                          l.expert_ranks())
                  : ok;
     }},
    {"eplb_not_supported_by_quant", construction, "model_executor/layers/fused_moe/routed_experts.py:__init__",
     "Some expert quantisations have no EPLB.", "no EPLB for this checkpoint",
     [](L l) {
       return l.m.is_moe && l.eplb && !facts(l).eplb_supported ? wrong("quantization {}", l.quantization) : ok;
     }},
    {"round_robin_more_ranks_than_experts", construction,
     "model_executor/layers/fused_moe/expert_map_manager.py:determine_expert_map",
     "Round-robin placement needs an expert for every rank.", "--expert-placement-strategy linear",
     round_robin_more_ranks_than_experts},
    {"no_moe_layer_on_stage", construction, "model_executor/models: __init__ of MoE classes",
     "Some MoE classes need a MoE layer on every pipeline stage.", "a smaller --pipeline-parallel-size",
     no_moe_layer_on_stage},
};

}  // namespace

std::span<const Rule> construction_rules() { return kConstructionRules; }

}  // namespace shardwise
