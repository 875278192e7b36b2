#pragma once
// Serving on a simulated clock: requests arrive, are routed, scheduled as vLLM schedules them, and each step lasts as
// long as StepTime says. The same config, workload, step time and seed give the same bytes.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "sim/scheduler_config.h"
#include "sim/statistics.h"
#include "sim/step_time.h"
#include "workload/workload.h"

namespace shardwise {

/// Between replicas (independent servers): what the load balancer in front does.
enum class ReplicaRouting {
  round_robin,
  least_loaded,  ///< fewest requests in flight, ties in turn
  prefix_aware,  ///< the replica that served the longest matching prefix, unless it is well above the mean load
};
/// Between the data-parallel ranks of one server: vLLM's internal load balancer (v1/engine/core_client.py).
enum class DpBalancing {
  in_flight,    ///< 0.27 and later: max(own in flight, waiting + running), queues penalised by KV use
  queue_length  ///< up to 0.26: 4 x waiting + running
};

/// Prefill on engines of their own; their KV is sent to the engines that decode.
struct DisaggregationConfig {
  SchedulerConfig prefill_scheduler;
  int prefill_engines = 1;
  const StepTime* prefill_step_time = nullptr;  ///< nullptr = the decode engines' step time
  Bytes kv_bytes_per_token;                     ///< of the whole model, sent once per prompt token
  BytesPerSecond bandwidth;                     ///< out of one prefill engine; its transfers follow one another
  Seconds latency;                              ///< of one transfer, on top
};

struct SimulationConfig {
  SchedulerConfig scheduler;   ///< of each engine core
  int data_parallel_size = 1;  ///< engine cores behind one server
  bool lockstep = false;       ///< MoE: the ranks of a server step together, the slowest sets the time
  int replicas = 1;            ///< servers
  ReplicaRouting routing = ReplicaRouting::round_robin;
  DpBalancing dp_balancing = DpBalancing::in_flight;
  int api_server_count = 1;        ///< clients of the internal load balancer, each with its own view
  Seconds dp_stats_interval{0.1};  ///< how often the load balancer's counts are refreshed
  std::optional<DisaggregationConfig> disaggregation;  ///< `replicas` x `data_parallel_size` engines then only decode

  // Host costs on top of StepTime.
  Seconds api_request_time{};  ///< from the client's request to the engine: HTTP, tokenising
  Seconds api_output_time{};   ///< from the engine's output to the client
  // An API server does these one after the other: its queue delays bursts.
  Seconds api_serial_time{};               ///< per request
  Seconds api_serial_prompt_token_time{};  ///< per prompt token: tokeniser, input processing
  Seconds api_serial_output_time{};        ///< per streamed chunk
  Seconds api_first_token_time{};          ///< added to a first token
  Seconds api_streaming_time{};  ///< added to a first token per answer that is being streamed on the same engine
  Seconds engine_step_time{};    ///< CPU time of schedule + update; hidden behind the GPU with async scheduling
  Seconds engine_row_time{};     ///< per scheduled request, on top

  /// Where given: request i takes the i-th lengths (again from the first after the last) instead of the workload's
  /// distributions. For several runs of one load whose lengths should not differ by chance.
  std::vector<RequestLengths> lengths;
  std::optional<std::int64_t> num_requests;  ///< nullopt = the trace's, else 10 x concurrency, at least 1,000
  double acceptance_rate = 0.7;              ///< chance that a draft token is accepted, given those before it were

  /// Decodes with nothing to decide are counted, not listed: the same result in a tenth of the time.
  bool coast = true;

  Seconds start_spread{};  ///< a closed loop's users start evenly over it; 0 = all at once, as vllm bench serve has it

  // What is measured and kept
  std::int64_t warmup_requests = 0;  ///< the first ones issued count for load only; vllm bench serve has none
  /// So do the last ones issued; the run ends with the last that counts.
  std::int64_t cooldown_requests = 0;
  bool measure_gaps = true;       ///< ITL; without it requests that count for load only coast as well
  int timeline_points = 240;      ///< at most, per deployment
  std::int64_t record_steps = 0;  ///< keep the first so many steps and requests, for a Perfetto trace
};

/// One latency metric, seconds.
struct LatencySummary {
  std::int64_t count = 0;
  double mean = 0, median = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
  std::optional<double> mean_half_width;  ///< of a 90 % interval, by batch means; nullopt: too few values
  std::vector<double> cdf;                ///< quantiles at 0, 0.01, ... 1
  double quantile(SloStat stat) const;
};

struct SimulatedEngine {
  std::int64_t requests = 0, output_tokens = 0, steps = 0, preemptions = 0, prompt_tokens = 0, prefix_hit_tokens = 0;
  std::int64_t dummy_steps = 0;  ///< lockstep: nothing to do, but the other ranks needed it
  bool prefill_only = false;     ///< disaggregation
  double busy = 0;               ///< share of the time a step was running
  double mean_running = 0, mean_waiting = 0, mean_kv_use = 0, max_kv_use = 0;  ///< time-weighted
};

struct TimelinePoint {
  double seconds = 0;
  double running = 0, waiting = 0, kv_use = 0;  ///< whole deployment; kv_use is the mean of its engines
  double output_tokens_per_second = 0;          ///< since the point before
};

struct RecordedStep {
  int engine;
  Nanoseconds start, end;
  int requests, tokens, decodes;
  int running, waiting;
  double kv_use;
};
struct RecordedRequest {
  std::int64_t id;
  int engine;
  Nanoseconds start, scheduled, first_token, end;
  int prompt, output;
};

struct SloOutcome {
  Slo slo;
  double value = 0;       ///< seconds
  double lo = 0, hi = 0;  ///< sampling error, 90 %: order statistics of a percentile, batch means of a mean
  bool met = false;
};
std::string value_text(const SloOutcome& outcome);  ///< "10.4 ms (10.2 to 10.7)"

/// Metrics as `vllm bench serve` defines them: times at the client, TPOT without the first token, ITL between chunks,
/// duration from the first request to the last token.
struct SimulationResult {
  std::int64_t completed = 0;
  std::int64_t failed = 0;  ///< refused (prompt too long) or impossible to schedule
  double duration = 0;      ///< seconds; of the measured part if there is a warm-up
  std::int64_t input_tokens = 0, output_tokens = 0;
  LatencySummary ttft, tpot, itl, e2e, queue;  ///< queue: from the engine's door to the first scheduled step
  double request_throughput = 0, output_throughput = 0, total_token_throughput = 0;
  std::optional<double> output_throughput_half_width;  ///< 90 %, by batch means; nullopt: too short a run
  double request_goodput = 0;    ///< requests/s that meet every SLO limit of the workload, each on its own
  double goodput_share = 0;      ///< of the completed ones
  std::vector<SloOutcome> slos;  ///< in the order of the workload
  bool slos_met() const;
  std::int64_t preemptions = 0, steps = 0;
  double prefix_hit_rate = 0;            ///< of prompt tokens looked up
  double mean_concurrency = 0;           ///< requests between client start and end, time-weighted
  double engine_skew = 0;                ///< busiest engine's output tokens over the mean, minus 1
  std::vector<SimulatedEngine> engines;  ///< prefill engines first, if apart
  std::vector<TimelinePoint> timeline;
  std::vector<RecordedStep> steps_recorded;
  std::vector<RecordedRequest> requests_recorded;
  std::string warmup;  ///< how the beginning was treated, in words
};

/// Throws InputError if config or workload cannot be simulated (sizes below 1, a load without rate or concurrency).
void check_simulation(const SimulationConfig& config, const Workload& workload);

/// Throws as check_simulation.
SimulationResult simulate(const SimulationConfig& config, const Workload& workload, const StepTime& step_time,
                          std::uint64_t seed);

/// The recorded steps and requests as a Chrome trace (JSON), which Perfetto opens.
std::string perfetto_trace(const SimulationResult& result);

}  // namespace shardwise
