#include "serve/simulation_config.h"

#include <algorithm>
#include <cmath>

#include "cost/compiled_step.h"

namespace shardwise {

namespace {

/// vLLM's SpeculativeConfig.use_eagle() and uses_draft_model(): what the scheduler keeps slots for.
SchedulerConfig::Speculation speculation_of(const std::string& method) {
  using Speculation = SchedulerConfig::Speculation;
  if (method.empty()) return Speculation::none;
  if (method == "draft_model") return Speculation::draft_model;
  for (const char* eagle : {"eagle", "eagle3", "mtp", "dflash"})
    if (method == eagle) return Speculation::eagle;
  return Speculation::ngram;  // no slots, no dropped hits: also suffix, medusa, mlp_speculator
}

SchedulerConfig::KvGroup kv_group(const MemoryPlan::Group& g, int max_model_len) {
  using Keeps = MemoryPlan::Group::Keeps;
  using Kind = SchedulerConfig::KvGroup::Kind;
  SchedulerConfig::KvGroup group;
  group.block_size = g.block_size;
  switch (g.keeps) {
    case Keeps::all:
      break;
    case Keeps::sliding_window:
      group.kind = Kind::sliding_window;
      group.sliding_window = g.window;
      break;
    case Keeps::attention_chunk:
      group.kind = Kind::chunked_local;
      group.attention_chunk_size = g.window;
      break;
    case Keeps::state:
      group.kind = Kind::mamba;
      group.mamba_align = g.mamba_align;
      if (!g.mamba_align) group.block_size = max_model_len;  // one state a request
      break;
  }
  return group;
}

SchedulerConfig scheduler_config(const Deployment& d, const EngineArgs& args, const Workload& w) {
  SchedulerConfig s;
  s.max_model_len = static_cast<int>(d.engine.max_model_len);
  s.kv_groups.clear();
  for (const auto& g : d.memory.groups) s.kv_groups.push_back(kv_group(g, s.max_model_len));
  if (s.kv_groups.empty()) s.kv_groups.push_back({});
  s.num_blocks = static_cast<int>(std::min<std::int64_t>(d.memory.num_blocks, 2'000'000'000));
  s.max_num_seqs = static_cast<int>(d.engine.max_num_seqs);
  s.max_num_batched_tokens = static_cast<int>(d.engine.max_num_batched_tokens);
  if (args.max_num_scheduled_tokens) s.max_num_scheduled_tokens = static_cast<int>(*args.max_num_scheduled_tokens);
  if (args.max_num_active_seqs) s.max_num_active_seqs = static_cast<int>(*args.max_num_active_seqs);
  s.long_prefill_token_threshold = static_cast<int>(args.long_prefill_token_threshold.value_or(0));
  if (args.scheduling_policy == "priority") s.policy = SchedulerConfig::Policy::priority;
  s.enable_chunked_prefill = d.engine.enable_chunked_prefill;
  // Random prompts share nothing; hashing them would only cost time. States are cached in mode align only.
  const bool cacheable = std::all_of(s.kv_groups.begin(), s.kv_groups.end(), [](const auto& g) {
    return g.kind != SchedulerConfig::KvGroup::Kind::mamba || g.mamba_align;
  });
  s.enable_prefix_caching =
      d.engine.enable_prefix_caching && cacheable && (w.prefix_share > 0 || w.trace || w.turns > 1);
  s.async_scheduling = d.engine.async_scheduling;
  s.pipeline_parallel_size = d.engine.parallel.pipeline_parallel_size;
  s.decode_context_parallel_size = d.engine.parallel.decode_context_parallel_size;
  s.use_v2_model_runner = true;
  s.num_speculative_tokens = d.engine.num_speculative_tokens;
  s.version = d.engine.vllm_version;
  if (s.num_speculative_tokens > 0) s.speculation = speculation_of(d.engine.speculative_method);
  return s;
}

}  // namespace

SimulationConfig simulation_config(const Deployment& deployment, const EngineArgs& args, const Workload& workload) {
  SimulationConfig c;
  const int dp = deployment.engine.parallel.data_parallel_size;
  c.scheduler = scheduler_config(deployment, args, workload);
  c.data_parallel_size = dp;
  c.lockstep = deployment.model.is_moe() && dp > 1;
  c.replicas = deployment.replicas;
  c.dp_balancing =
      deployment.engine.vllm_version < VllmVersion{0, 27, 0} ? DpBalancing::queue_length : DpBalancing::in_flight;
  // vllm serve starts one API server a data parallel rank.
  c.api_server_count = std::max(1, static_cast<int>(args.api_server_count.value_or(dp)));
  // The same host costs as in the closed-loop replay that is fitted to measurements (serve/replay.cc).
  const auto& host = deployment.step.data().host;
  c.api_request_time = c.api_output_time = Seconds(host.http / 2);
  c.api_serial_prompt_token_time = Seconds(host.front_end);
  c.api_first_token_time = Seconds(host.first_token), c.api_streaming_time = Seconds(host.stream);
  return c;
}

constexpr double kLeastVaried = 10;  // tokens: a tenth of less is no token

Workload simulated_workload(Workload w, double concurrency) {
  if (!w.concurrency && !w.request_rate && !w.trace && w.arrivals != Arrivals::burst)
    w.concurrency = std::max(1, static_cast<int>(std::lround(concurrency)));
  // Equal answers keep all requests of a closed loop in lock step, as benchmarks of fixed length show
  // (bench/data/serving.csv). Those of users vary; uniform[n,n] stays as it is.
  const bool loop = w.concurrency && !w.request_rate && !w.as_benchmark;
  if (loop && w.osl.kind == LengthDistribution::Kind::constant && w.osl.a >= kLeastVaried)
    w.osl = {LengthDistribution::Kind::uniform, std::round(0.9 * w.osl.a), std::round(1.1 * w.osl.a), {}};
  return w;
}

}  // namespace shardwise
