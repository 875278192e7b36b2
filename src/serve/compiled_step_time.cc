#include "serve/compiled_step_time.h"

#include <algorithm>

#include "cost/compiled_step.h"

namespace shardwise {

namespace {

StepBatch batch_of(std::span<const ScheduledChunk> batch) {
  StepBatch b;
  for (const auto& c : batch) {
    const auto tokens = static_cast<double>(c.tokens), context = static_cast<double>(c.context);
    if (c.decode) {
      b.decode_seqs += static_cast<double>(c.requests);
      b.decode_context += context + tokens;
    } else {
      b.prefill_seqs += 1;
      b.prefill_tokens += tokens;
      b.prefill_context += tokens * (context + tokens / 2);
    }
  }
  return b;
}

}  // namespace

Seconds CompiledStepTime::step_time(std::span<const ScheduledChunk> batch) const {
  return step_->step_time(batch_of(batch));
}

Seconds CompiledStepTime::lockstep_time(std::span<const std::span<const ScheduledChunk>> ranks) const {
  const CompiledStepData& d = step_->data();
  const auto& experts = d.operators.mixed[static_cast<std::size_t>(TokenOp::experts)];
  double most = 0, total = 0;
  bool prompts = false;
  for (const auto& chunks : ranks) {
    double tokens = chunks.empty() ? 1 : 0;  // a dummy batch of one token
    for (const auto& c : chunks) tokens += static_cast<double>(c.tokens), prompts = prompts || !c.decode;
    most = std::max(most, tokens), total += tokens;
  }
  const bool padded = !prompts || most <= d.launches.largest_graph;
  const auto& table = prompts ? d.kernels.all.mixed : d.kernels.all.decode;
  const TokenAt fullest(most), mean(total / static_cast<double>(ranks.size()));
  double slowest = 0;
  for (const auto& chunks : ranks) {
    if (chunks.empty()) continue;
    const StepBatch batch = batch_of(chunks);
    const double tokens = batch.prefill_tokens + batch.decode_seqs * d.layout.tokens_per_sequence;
    const TokenAt own(tokens);
    const double alone = step_parts(d, batch).all;
    slowest = std::max(
        slowest, padded ? alone + std::max(0.0, fullest(table) - own(table)) : alone + mean(experts) - own(experts));
  }
  return Seconds(slowest);
}

Seconds CompiledStepTime::stage_time(std::span<const ScheduledChunk> batch, int) const {
  return Seconds(step_parts(step_->data(), batch_of(batch)).busiest);
}

}  // namespace shardwise
