#include "memory/weights.h"

#include <algorithm>
#include <memory>

#include "memory/lora.h"
#include "memory/weight_program.h"

namespace shardwise {

namespace {

bool changes(const LayerProgram& program) {
  return std::any_of(program.modules.begin(), program.modules.end(), [](const WeightModule& m) {
    return m.until_loaded || m.absorbed_from || m.scheme.method == QuantScheme::Method::nvfp4 ||
           m.scheme.method == QuantScheme::Method::mxfp4;
  });
}

std::int64_t resident(const RankWeights& w) { return w.param_bytes() + w.buffer_bytes() + w.bare_tensors; }

}  // namespace

WeightProgram weight_program(const Model& model) {
  WeightProgram out = compile_weights(model);
  out.changes_after_loading = std::any_of(out.kinds.begin(), out.kinds.end(), changes) || changes(out.last);
  if (model.num_mtp_layers > 0) out.draft = std::make_shared<const WeightProgram>(compile_weights(model, true));
  return out;
}

WeightLayout weight_layout(const Model& model, const EngineConfig& engine, int rank, const GpuGeneration& generation) {
  const ParallelConfig& p = engine.parallel;
  const int tp = p.tensor_parallel_size, pcp = p.prefill_context_parallel_size, pp = p.pipeline_parallel_size;
  const int tp_rank = rank % tp, pcp_rank = rank / tp % pcp, pp_rank = rank / (tp * pcp) % pp,
            dp_rank = rank / (tp * pcp * pp);
  const auto stages = pp_layers(model.num_hidden_layers(), p);
  const auto [first, last] = stages[static_cast<std::size_t>(pp_rank)];
  WeightLayout l;
  l.tp = tp;
  l.first_layer = first;
  l.last_layer = last;
  l.first_stage = pp_rank == 0;
  l.last_stage = pp_rank == pp - 1;
  const int moe_ranks = tp * pcp * p.data_parallel_size;
  l.expert_parallel = p.enable_expert_parallel && moe_ranks > 1;
  l.moe_tp = l.expert_parallel ? 1 : moe_ranks;
  l.ep_size = l.expert_parallel ? moe_ranks : 1;
  l.ep_rank = l.expert_parallel ? (dp_rank * pcp + pcp_rank) * tp + tp_rank : 0;
  l.sequence_parallel_moe = p.enable_expert_parallel && tp > 1 && p.data_parallel_size > 1;
  l.redundant_experts = p.enable_eplb ? p.num_redundant_experts : 0;
  l.enable_eplb = p.enable_eplb;
  l.prefill_context_parallel = pcp;
  l.generation = &generation;
  l.triton_mxfp4_moe = generation.triton_mxfp4_moe;
  l.max_num_batched_tokens = engine.max_num_batched_tokens;
  l.max_model_len = engine.max_model_len;
  l.language_model_only = engine.language_model_only;
  l.mtp = engine.num_speculative_tokens > 0 && engine.draft_is_mtp();
  return l;
}

OffloadedWeights rank_offloaded(const WeightProgram& program, const Model& model, const EngineConfig& engine, int rank,
                                const GpuGeneration& generation) {
  return offloaded_weights(program, weight_layout(model, engine, rank, generation), engine.offload,
                           engine.vllm_version);
}

WeightBytes rank_weights(const WeightProgram& program, const Model& model, const EngineConfig& engine, int rank,
                         const GpuGeneration& generation) {
  WeightLayout layout = weight_layout(model, engine, rank, generation);
  const RankWeights w = run_weights(program, layout);
  const auto of = [&](WeightClass c) { return Bytes(w.bytes[static_cast<std::size_t>(c)]); };
  WeightBytes out;
  out.embedding = of(WeightClass::embedding);
  out.lm_head = of(WeightClass::lm_head);
  out.attention = of(WeightClass::attention);
  out.dense_mlp = of(WeightClass::dense_mlp);
  out.routed_experts = of(WeightClass::routed_experts);
  out.shared_experts = of(WeightClass::shared_experts);
  out.router = of(WeightClass::router);
  out.norm_other = of(WeightClass::norm_other);
  out.vision = of(WeightClass::vision);
  out.mtp = of(WeightClass::mtp);
  out.buffers = Bytes(w.buffer_bytes() + w.bare_tensors);
  if (engine.num_speculative_tokens > 0 && engine.draft_is_mtp() && program.draft && layout.last_stage) {
    // The MTP draft takes over the target's embedding and head when loading ends.
    const RankWeights d = run_weights(*program.draft, layout);
    const auto part = [&](WeightClass c) { return d.bytes[static_cast<std::size_t>(c)]; };
    std::int64_t head = part(WeightClass::lm_head);
    if (!head && part(WeightClass::mtp))
      head = 2 * round_up(model.vocab_size, 64) / layout.tp * static_cast<std::int64_t>(model.hidden_size) *
             std::max(1, model.num_mtp_layers);
    out.mtp += Bytes(d.param_bytes() - part(WeightClass::embedding) - head);
  }
  if (program.changes_after_loading) {
    layout.after_loading = true;
    // Up to 0.25 the Hopper kernel's MXFP4 experts were padded to 256 x 128, as for older GPUs (start-up logs:
    // gpt-oss-120b 66.14 GiB on one GPU, 17.22 on four).
    layout.triton_mxfp4_moe = layout.triton_mxfp4_moe && engine.vllm_version >= VllmVersion{0, 26, 0};
    out.after_loading = Bytes(resident(run_weights(program, layout)) - resident(w));
  }
  if (engine.lora) out.lora = lora_bytes(program, layout, *engine.lora, engine.vllm_version);
  if (engine.offload.backend != OffloadConfig::Backend::none) {
    const auto offloaded = rank_offloaded(program, model, engine, rank, generation);
    out.offloaded = offloaded.total(), out.offload_buffers = offloaded.buffers;
  }
  return out;
}

}  // namespace shardwise
