#pragma once
// Which replica, and which data-parallel rank of it, gets a request.
#include <cstdint>
#include <vector>

#include "sim/simulate.h"

namespace shardwise {

/// In front of independent servers.
class ReplicaRouter {
 public:
  ReplicaRouter(ReplicaRouting routing, int replicas);
  /// `affinity`: names the prompt's shared part, 0 = none.
  int choose(std::uint64_t affinity);
  void finished(int replica) { --in_flight_[static_cast<std::size_t>(replica)]; }

 private:
  int least_loaded();
  ReplicaRouting routing_;
  std::vector<int> in_flight_;
  int turn_ = 0;
  struct Home {
    std::uint64_t affinity = 0;
    int replica = 0;
  };
  std::vector<Home> homes_;  ///< where a prefix was last served; bounded, newer ones overwrite
};

/// vLLM's internal load balancer: DPLBAsyncMPClient.get_core_engine_for_request, one view per API server.
class DpBalancer {
 public:
  struct Counts {
    int waiting = 0, running = 0;
    double kv_use = 0;
  };
  DpBalancer(DpBalancing rule, int ranks, int clients);
  struct Choice {
    int rank = 0, client = 0;
  };
  Choice choose();
  void finished(Choice choice) {
    --views_[static_cast<std::size_t>(choice.client)].in_flight[static_cast<std::size_t>(choice.rank)];
  }
  /// The coordinator's new counts, for every client.
  void refresh(const std::vector<Counts>& counts);

 private:
  struct View {
    std::vector<Counts> counts;
    std::vector<int> in_flight;
    int start = 0;
  };
  DpBalancing rule_;
  std::vector<View> views_;
  int turn_ = 0;
};

}  // namespace shardwise
