#include <algorithm>
#include <cmath>

#include "cost/compiled_step.h"

namespace shardwise {

TokenAt::TokenAt(double tokens) {
  constexpr auto& k = kTokenKnots;
  if (tokens <= k[0]) return;
  std::size_t lo = 0, hi = k.size() - 1;
  while (hi - lo > 1) {
    const auto mid = (lo + hi) / 2;
    (k[mid] <= tokens ? lo : hi) = mid;
  }
  i = lo;
  f = (tokens - k[lo]) / (k[lo + 1] - k[lo]);
}

namespace {

double padded(const CompiledStepData& d, double sequences) {
  const auto b = static_cast<std::size_t>(std::ceil(sequences));
  return b < d.launches.padded.size() ? d.launches.padded[b] : sequences;
}

StepParts scaled(const StepParts& parts, double factor) { return {parts.all * factor, parts.busiest * factor}; }

/// What the CPU launches in a decode step of `tokens`; null = one graph.
const StepParts* launches_of_decode(const LaunchTimes& launches, double tokens) {
  if (tokens > launches.largest_graph) return &launches.uncaptured;
  return launches.full_graphs ? nullptr : &launches.pieces;
}

/// Adds what adapters and weights in host memory take to the kernels of a step of `tokens`.
void add_weight_options(StepParts& kernels, const CompiledStepData& d, const TokenAt& at, double tokens, bool decode) {
  if (!d.weight_options) return;
  kernels.all += at(d.adapters.all), kernels.busiest += at(d.adapters.busiest);
  const auto& host = d.host_weights;
  kernels.all += at(host.read), kernels.busiest += at(host.read_busiest);
  if (!host.copied) return;
  const bool graph = tokens <= d.launches.largest_graph;
  const auto more = graph && !(decode && d.launches.full_graphs) ? host.copies : host.waits_at(kernels.all, graph);
  kernels.all += more.all, kernels.busiest += more.busiest;
}

}  // namespace

double HostWeights::time_at(std::size_t i) { return 1e-4 * std::pow(10.0, static_cast<double>(i) / 10); }

StepParts HostWeights::waits_at(double kernels, bool graph) const {
  const auto& rows = graph ? graph_waits : waits;
  const double x = std::clamp(10 * std::log10(std::max(kernels, 1e-9) / 1e-4), 0.0, double(kTimes - 1));
  const auto i = std::min(static_cast<std::size_t>(x), kTimes - 2);
  const double f = (kernels - time_at(i)) / (time_at(i + 1) - time_at(i));
  const auto between = [&](double a, double b) { return std::max(0.0, a + f * (b - a)); };
  return {between(rows[i].all, rows[i + 1].all), between(rows[i].busiest, rows[i + 1].busiest)};
}

StepParts step_parts(const CompiledStepData& d, const StepBatch& b) {
  const double per = d.layout.tokens_per_sequence;
  const double context = b.decode_seqs > 0 ? b.decode_context / b.decode_seqs : 0;
  StepParts out;
  double attention_all = 0, attention_busiest = 0;
  if (b.decode_seqs > 0)
    for (const auto& op : d.kernels.attention) {
      const double t = (b.prefill_tokens > 0 ? op.decode_time_beside_prompts(b.decode_seqs * per, context)
                                             : op.decode_time(b.decode_seqs * per, context))
                           .seconds *
                       d.kernels.decode_attention_scale;
      attention_all += op.layers * t, attention_busiest += op.layers_busiest * t;
    }
  if (b.prefill_tokens <= 0) {
    const TokenAt at(padded(d, b.decode_seqs * per));
    out.all = at(d.kernels.all.decode) + attention_all;
    out.busiest = at(d.kernels.busiest.decode) + attention_busiest;
    if (const auto* cpu = launches_of_decode(d.launches, b.decode_seqs * per))
      out.all = std::max(out.all, cpu->all), out.busiest = std::max(out.busiest, cpu->busiest);
    add_weight_options(out, d, at, b.decode_seqs * per, true);
    const double head = at(d.kernels.lm_head) + d.host.step + d.host.per_sequence * b.decode_seqs;
    out.all += head;
    out.busiest += d.layout.pp > 1 ? std::max(0.0, d.host.step) : head;
    if (d.layout.pp > 1) {
      out.all += d.transfers.all.base + d.transfers.all.per_token * b.decode_seqs * per;
      out.busiest += d.transfers.slowest.base + d.transfers.slowest.per_token * b.decode_seqs * per;
    }
    return scaled(out, d.step_scale);
  }
  const double tokens = b.prefill_tokens + b.decode_seqs * per;
  const double chunks = std::max(1.0, b.prefill_seqs);
  const TokenAt at(tokens), head_at(b.decode_seqs * per + chunks);
  for (const auto& op : d.kernels.attention) {
    const double t = op.prefill_time(chunks, b.prefill_tokens / chunks, b.prefill_context / chunks).seconds *
                     d.kernels.prefill_attention_scale;
    attention_all += op.layers * t, attention_busiest += op.layers_busiest * t;
  }
  const auto& cpu = tokens > d.launches.largest_graph ? d.launches.uncaptured : d.launches.pieces;
  const auto& scan = d.launches.scan;
  out.all = std::max({at(d.kernels.all.mixed) + attention_all, cpu.all, d.launches.pieces.all + scan.all});
  out.busiest = std::max(
      {at(d.kernels.busiest.mixed) + attention_busiest, cpu.busiest, d.launches.pieces.busiest + scan.busiest});
  add_weight_options(out, d, at, tokens, false);
  const double head = head_at(d.kernels.lm_head) + d.host.step + d.host.mixed + d.host.per_sequence * b.decode_seqs;
  out.all += head;
  out.busiest += d.layout.pp > 1 ? d.host.step + d.host.mixed : head;
  if (d.layout.pp > 1) {
    out.all += d.transfers.all.base + d.transfers.all.per_token * tokens;
    out.busiest += d.transfers.slowest.base + d.transfers.slowest.per_token * tokens;
  }
  return scaled(out, d.step_scale);
}

Seconds CompiledStep::step_time(const StepBatch& batch) const { return Seconds(step_parts(*data_, batch).all); }

std::vector<OperatorTime> CompiledStep::breakdown(const StepBatch& b) const {
  const auto& d = *data_;
  std::vector<OperatorTime> out;
  const double per = d.layout.tokens_per_sequence;
  const bool mixed = b.prefill_tokens > 0;
  const double tokens = mixed ? b.prefill_tokens + b.decode_seqs * per : padded(d, b.decode_seqs * per);
  const TokenAt at(tokens);
  static constexpr std::array<const char*, kTokenOps> names = {"attention_proj",    "dense_ffn",  "moe_experts",
                                                               "moe_router_shared", "all_reduce", "expert_comm",
                                                               "elementwise",       "lm_head"};
  const auto add = [&](std::string name, double time, double compute, double memory, double communication,
                       double host) {
    if (time <= 0) return;
    OperatorTime o;
    o.name = std::move(name);
    for (double* part : {&time, &compute, &memory, &communication, &host}) *part *= d.step_scale;
    o.time = Seconds(time), o.compute = Seconds(compute), o.memory = Seconds(memory);
    o.communication = Seconds(communication), o.host = Seconds(host);
    o.bound = communication > 0 ? "communication" : host > 0 ? "host" : compute > memory ? "compute" : "memory";
    out.push_back(std::move(o));
  };
  for (std::size_t i = 0; i < kTokenOps; ++i) {
    const auto op = static_cast<TokenOp>(i);
    const TokenAt here =
        op == TokenOp::lm_head ? TokenAt(b.decode_seqs * per + (mixed ? std::max(1.0, b.prefill_seqs) : 0)) : at;
    const double t = here(mixed ? d.operators.mixed[i] : d.operators.decode[i]);
    const bool comm = op == TokenOp::all_reduce || op == TokenOp::expert_comm;
    add(names[i], t, here(d.operators.compute[i]), here(d.operators.memory[i]), comm ? t : 0, 0);
  }
  OpTime decode, prefill;
  for (const auto& op : d.kernels.attention) {
    if (b.decode_seqs > 0) {
      const double n = b.decode_seqs * per, context = b.decode_context / b.decode_seqs;
      decode += (mixed ? op.decode_time_beside_prompts(n, context) : op.decode_time(n, context)) * op.layers;
    }
    const double chunks = std::max(1.0, b.prefill_seqs);
    if (mixed) prefill += op.prefill_time(chunks, b.prefill_tokens / chunks, b.prefill_context / chunks) * op.layers;
  }
  add("attention_decode", decode.seconds * d.kernels.decode_attention_scale, decode.compute, decode.memory, 0, 0);
  add("attention_prefill", prefill.seconds * d.kernels.prefill_attention_scale, prefill.compute, prefill.memory, 0, 0);
  if (d.layout.pp > 1) {
    const double t = d.transfers.all.base + d.transfers.all.per_token * tokens;
    add("stage_transfers", t, 0, 0, t, 0);
  }
  double known = d.operators.gaps * d.step_scale;
  for (const auto& o : out) known += o.time.value;
  StepParts kernels{known / d.step_scale, known / d.step_scale};
  add_weight_options(kernels, d, at, tokens, !mixed);
  const double adapters = at(d.adapters.all), host_memory = kernels.all - known / d.step_scale - adapters;
  add("lora", adapters, 0, adapters, 0, 0);
  add("host_memory", host_memory, 0, 0, host_memory, 0);
  known += (host_memory + adapters) * d.step_scale;
  add("kernel_gaps", d.operators.gaps, 0, 0, 0, d.operators.gaps);
  const double host = std::max(0.0, step_time(b).value - known) / d.step_scale;
  add("host", host, 0, 0, 0, host);
  return out;
}

}  // namespace shardwise
