#include "memory/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "memory/weights.h"

namespace shardwise {

namespace {

// ---- KV cache of one stage, by kind of layer -------------------------------------------------------------------------

/// Layers of a stage that hold KV alike: bytes of one block of one layer, and how many tokens of a request it keeps.
struct KvKind {
  std::int64_t page = 0;               // bytes of one block of one layer on one rank
  std::optional<std::int64_t> window;  // tokens kept; nullopt = all of them
  bool state = false;                  // a fixed state: one block per request
  int layers = 0;
};

struct KvKinds {
  std::array<KvKind, 8> kinds;
  int size = 0;
  void add(const KvKind& kind) {
    for (int i = 0; i < size; ++i)
      if (kinds[i].page == kind.page && kinds[i].window == kind.window && kinds[i].state == kind.state) {
        kinds[i].layers += 1;
        return;
      }
    if (size < static_cast<int>(kinds.size())) kinds[size++] = kind, kinds[size - 1].layers = 1;
  }
};

std::int64_t kv_element_bytes(const Model& model, const EngineConfig& engine) {
  if (engine.kv_cache_dtype.starts_with("fp8")) return 1;
  if (engine.kv_cache_dtype == "auto" && model.quantisation.kv_cache_dtype)
    return static_cast<std::int64_t>(std::ceil(bytes_per_element(*model.quantisation.kv_cache_dtype)));
  return model.dtype == DType::float32 ? 4 : 2;
}

std::int64_t state_bytes(const LinearAttention& a, int tp) {
  const std::int64_t heads = std::max(1, a.num_heads / tp);
  const std::int64_t inner = a.intermediate_size > 0 ? a.intermediate_size : std::int64_t{a.num_heads} * a.head_dim;
  const std::int64_t keys = std::int64_t{a.num_key_heads} * (a.key_head_dim > 0 ? a.key_head_dim : a.state_size);
  const std::int64_t conv = (inner + 2 * keys) / tp * std::max(0, a.conv_kernel - 1) * 2;
  const std::int64_t width = a.key_head_dim > 0 ? a.key_head_dim : std::max(1, a.state_size);
  return conv + heads * std::max(1, a.head_dim) * width * 4;
}

KvKinds kv_kinds(const Model& model, const EngineConfig& engine, int first, int last, int block) {
  const int tp = engine.parallel.tensor_parallel_size;
  const std::int64_t element = kv_element_bytes(model, engine);
  const std::int64_t batches = engine.async_scheduling ? 2 : 1;  // batches in flight: vLLM VllmConfig.max_in_flight_tokens
  KvKinds out;
  for (int i = first; i < last; ++i) {
    const auto& attention = model.layers[static_cast<std::size_t>(i)].attention;
    if (const auto* full = std::get_if<FullAttention>(&attention)) {
      const std::int64_t heads = std::max(1, full->num_kv_heads / tp);
      KvKind kind{heads * (full->head_dim + full->v_head_dim) * element * block, std::nullopt, false, 0};
      if (full->sliding_window) kind.window = *full->sliding_window - 1 + batches * engine.max_num_batched_tokens;
      if (full->attention_chunk_size) kind.window = *full->attention_chunk_size + batches * engine.max_num_batched_tokens;
      out.add(kind);
    } else if (const auto* mla = std::get_if<MlaAttention>(&attention)) {
      out.add({(mla->kv_lora_rank + mla->qk_rope_head_dim) * element * block, std::nullopt, false, 0});
      if (mla->indexer) out.add({(mla->indexer->head_dim + 4) * std::int64_t{block}, std::nullopt, false, 0});
    } else if (const auto* linear = std::get_if<LinearAttention>(&attention)) {
      out.add({state_bytes(*linear, tp), std::nullopt, true, 0});
    } else if (const auto* cross = std::get_if<CrossAttention>(&attention)) {
      const std::int64_t heads = std::max(1, cross->shape.num_kv_heads / tp);
      out.add({heads * (cross->shape.head_dim + cross->shape.v_head_dim) * element * block, std::nullopt, false, 0});
    }
  }
  return out;
}

// ---- what one stage needs beside weights and KV ------------------------------------------------------------------------

/// Peak of the profile run: the widest pair of activations of max_num_batched_tokens, or the sampler's logits.
Bytes activation_bytes(const Model& model, const EngineConfig& engine, bool last_stage) {
  const auto tokens = static_cast<double>(engine.max_num_batched_tokens);
  const int tp = engine.parallel.tensor_parallel_size;
  double width = 0;
  for (const auto& layer : model.layers) {
    if (const auto* dense = std::get_if<DenseFfn>(&layer.ffn))
      width = std::max(width, (dense->gated ? 3.0 : 2.0) * dense->intermediate_size / tp);
    if (const auto* moe = std::get_if<MoeFfn>(&layer.ffn))
      width = std::max(width, moe->num_experts_per_tok * (model.hidden_size + 2.0 * moe->moe_intermediate_size / tp));
  }
  const double body = tokens * 2.0 * (4.0 * model.hidden_size + width);
  const double logits =
      last_stage ? static_cast<double>(engine.max_num_seqs) * model.vocab_size * (2.0 + 3 * 4.0) : 0.0;
  return Bytes(static_cast<std::int64_t>(std::max(body, logits)));
}

/// CUDA context growth and communicators: H100 start-up logs, about 0.3 GiB alone and 2 GiB with NCCL.
Bytes non_torch_bytes(const EngineConfig& engine) {
  return engine.parallel.gpus() > 1 ? gib(2.0) : gib(0.3);
}

/// Estimate that vLLM takes off the KV budget from 0.20.0 on (VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS).
Bytes cuda_graph_bytes(const EngineConfig& engine) {
  if (engine.enforce_eager || engine.cudagraph_mode == CudagraphMode::none) return Bytes(0);
  return engine.vllm_version < VllmVersion{0, 20, 0} ? Bytes(0) : gib(0.8);
}

/// Private estimate while weights.cc is not there: parameters of the stage at their stored width over the ranks.
WeightBytes stage_weights(const Model& model, const EngineConfig& engine, int first, int last) {
  const double share = model.layers.empty() ? 1.0 : static_cast<double>(last - first) / static_cast<double>(model.layers.size());
  const double ranks = engine.parallel.enable_expert_parallel
                           ? engine.parallel.tensor_parallel_size * engine.parallel.data_parallel_size
                           : engine.parallel.tensor_parallel_size;
  const int bits = model.quantisation.quant_method.empty() ? 16
                   : model.is_moe()                       ? model.quantisation.routed_experts.bits
                                                          : model.quantisation.dense_mlp.bits;
  WeightBytes out;
  (model.is_moe() ? out.routed_experts : out.dense_mlp) =
      Bytes(static_cast<std::int64_t>(model.parameters() * share * (bits > 0 ? bits : 16) / 8.0 / ranks));
  return out;
}

}  // namespace

double MemoryPlan::blocks_per_request(double tokens) const {
  double blocks = 0;
  for (const auto& group : groups) {
    const double kept = group.max_tokens ? std::min(tokens, *group.max_tokens) : tokens;
    blocks += group.fixed_blocks + (group.tokens_per_block > 0 ? std::ceil(kept / group.tokens_per_block) : 0.0);
  }
  return std::max(blocks, 1.0);
}

MemoryPlan plan_memory(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  MemoryPlan plan;
  const auto& parallel = engine.parallel;
  plan.gpu_total = gpu.memory_total;
  plan.requested = Bytes(static_cast<std::int64_t>(static_cast<double>(gpu.memory_total.value) * engine.gpu_memory_utilization));
  plan.block_size = engine.block_size.value_or(model.is_mla() ? 64 : 16);
  const int kv_heads = model.num_key_value_heads();
  const int tp = parallel.tensor_parallel_size;
  if (kv_heads > 0) plan.kv_replication = std::max(1.0, static_cast<double>(tp) / kv_heads) / std::max(1, parallel.decode_context_parallel_size);
  plan.kv_replication = std::max(1.0, plan.kv_replication);

  const auto stages = pp_layers(model.num_hidden_layers(), parallel);
  std::int64_t blocks = -1;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    StageMemory stage;
    stage.pp_rank = static_cast<int>(s);
    stage.first_layer = stages[s].first;
    stage.last_layer = stages[s].second;
    stage.weights = stage_weights(model, engine, stages[s].first, stages[s].second);
    stage.activation = activation_bytes(model, engine, s + 1 == stages.size());
    stage.non_torch = non_torch_bytes(engine);
    stage.cuda_graph = cuda_graph_bytes(engine);
    stage.kv_cache = engine.kv_cache_memory_bytes ? Bytes(*engine.kv_cache_memory_bytes) : plan.requested - stage.used();

    // vLLM groups layers of one kind so that every group has as many layers as the rarest kind; all groups share one pool
    // of blocks (v1/core/kv_cache_utils.py).
    const auto kinds = kv_kinds(model, engine, stages[s].first, stages[s].second, plan.block_size);
    std::int64_t widest = 0;
    int fewest = 1 << 30;
    for (int i = 0; i < kinds.size; ++i) {
      widest = std::max(widest, kinds.kinds[i].page);
      fewest = std::min(fewest, kinds.kinds[i].layers);
    }
    const bool one_kind = kinds.size <= 1 || model.is_mla();
    std::int64_t per_block = 0;
    std::vector<MemoryPlan::Group> groups;
    for (int i = 0; i < kinds.size; ++i) {
      const auto& kind = kinds.kinds[i];
      if (one_kind) {
        per_block += kind.page * kind.layers;
        continue;
      }
      const auto count = ceil_div(kind.layers, fewest);
      const double scale = kind.state ? 1.0 : static_cast<double>(widest) / static_cast<double>(kind.page);
      for (std::int64_t g = 0; g < count; ++g) {
        MemoryPlan::Group group;
        group.tokens_per_block = kind.state ? 0.0 : plan.block_size * scale;
        if (kind.window) group.max_tokens = static_cast<double>(*kind.window), group.fixed_blocks = 1;
        if (kind.state) group.fixed_blocks = 2;
        groups.push_back(group);
      }
    }
    if (one_kind) {
      MemoryPlan::Group group{static_cast<double>(plan.block_size) * parallel.decode_context_parallel_size, std::nullopt, 0};
      if (kinds.size == 1 && kinds.kinds[0].window) group.max_tokens = static_cast<double>(*kinds.kinds[0].window);
      if (kinds.size == 1 && kinds.kinds[0].state) group = {0.0, std::nullopt, 1.0};
      if (kinds.size > 0) groups.push_back(group);
    } else {
      per_block = widest * fewest;
    }
    const std::int64_t here = per_block > 0 ? std::max<std::int64_t>(0, stage.kv_cache.value / per_block) : -1;
    if (per_block > 0 && (blocks < 0 || here < blocks)) {
      blocks = here;
      plan.binding_stage = static_cast<int>(s);
      plan.groups = groups;
    }
    plan.stages.push_back(stage);
  }
  plan.num_blocks = std::max<std::int64_t>(blocks, model.is_attention_free() ? 1 : 0);

  const auto& binding = plan.stages[static_cast<std::size_t>(plan.binding_stage)];
  const double max_len = static_cast<double>(engine.max_model_len > 0 ? engine.max_model_len : model.max_position_embeddings);
  plan.max_concurrency = plan.groups.empty() ? 0.0 : static_cast<double>(plan.num_blocks) / plan.blocks_per_request(max_len);
  plan.kv_tokens = static_cast<std::int64_t>(plan.max_concurrency * max_len);
  const double kv = to_gib(binding.kv_cache);
  plan.kv_gib = {kv, kv - std::max(0.5, 0.06 * kv), kv + std::max(0.5, 0.06 * kv)};
  const double needed_gib = plan.groups.empty() || plan.num_blocks <= 0
                                ? 0.0
                                : kv / static_cast<double>(plan.num_blocks) * (plan.blocks_per_request(max_len) + 1);
  const double sd = (plan.kv_gib.hi - plan.kv_gib.lo) / 3.29;
  plan.probability_fits = 0.5 * std::erfc(-(kv - needed_gib) / sd / std::sqrt(2.0));

  for (const auto& stage : plan.stages) {
    if (stage.weights.total() > plan.gpu_total) {
      plan.refusal = MemoryRefusal{MemoryRefusal::Kind::weights_do_not_fit,
                                   fmt::format("weights of stage {} are {:.2f} GiB per GPU, the GPU has {:.2f} GiB", stage.pp_rank,
                                               to_gib(stage.weights.total()), to_gib(plan.gpu_total)),
                                   stage.weights.total() - plan.gpu_total, std::nullopt};
      return plan;
    }
    if (stage.kv_cache.value <= 0 && !plan.refusal)
      plan.refusal = MemoryRefusal{MemoryRefusal::Kind::no_memory_for_kv,
                                   fmt::format("nothing is left for the KV cache on stage {}: {:.2f} GiB requested, {:.2f} GiB needed before it",
                                               stage.pp_rank, to_gib(plan.requested), to_gib(stage.used())),
                                   -stage.kv_cache, std::nullopt};
  }
  if (!plan.refusal && !plan.groups.empty() && plan.usable_blocks() < plan.blocks_per_request(max_len)) {
    double lo = 0, hi = max_len;  // longest request that the blocks hold
    while (hi - lo > 0.5) (plan.blocks_per_request((lo + hi) / 2) <= plan.usable_blocks() ? lo : hi) = (lo + hi) / 2;
    plan.refusal = MemoryRefusal{
        MemoryRefusal::Kind::max_model_len_does_not_fit,
        fmt::format("one request of max_model_len {} needs {:.2f} GiB of KV cache, {:.2f} GiB are left", static_cast<std::int64_t>(max_len), needed_gib, kv),
        gib(std::max(0.0, needed_gib - kv)), static_cast<std::int64_t>(lo)};
  }
  return plan;
}

}  // namespace shardwise
