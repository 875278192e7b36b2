#pragma once
// What `simulate` asks and answers.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/answer.h"
#include "sim/max_rate.h"
#include "sim/simulate.h"

namespace shardwise {

/// Instances that only prefill; the command proper then only decodes.
struct PrefillInstances {
  EngineArgs args;
  int replicas = 1;
};

struct SimulateRequest {
  CheckRequest command;
  int replicas = 1;  ///< equal servers
  ReplicaRouting routing = ReplicaRouting::round_robin;
  std::optional<DpBalancing> dp_balancing;  ///< between the DP ranks of a server; nullopt = the version's rule
  std::optional<PrefillInstances> prefill;
  std::optional<std::int64_t> requests;  ///< nullopt = as simulate() chooses
  std::int64_t warmup_requests = 0;
  double acceptance_rate = 0.7;
  std::uint64_t seed = 0;
  std::int64_t record_steps = 0;  ///< kept for a Perfetto trace
  bool find_max_rate = false;     ///< the highest rate that keeps the SLOs, instead of the workload's own load
};

/// How the KV of a prompt gets from a prefill instance to one that decodes.
struct KvTransfer {
  std::string link;          ///< "NVLink4", "InfiniBand NDR 400"
  Bytes bytes_per_token;     ///< of the whole model
  BytesPerSecond bandwidth;  ///< out of one prefill instance
  Seconds latency;
};

struct SimulateAnswer {
  SimulateRequest request;
  CheckAnswer check;                       ///< of the command
  std::optional<CheckAnswer> prefill;      ///< of the one that prefills
  std::optional<SimulationResult> result;  ///< of max_rate, where that was asked for; nullopt: a command does not start
  std::optional<MaxRate> max_rate;
  std::optional<KvTransfer> transfer;
  Workload workload;               ///< as simulated
  std::vector<std::string> notes;  ///< what the numbers stand on
};

}  // namespace shardwise
