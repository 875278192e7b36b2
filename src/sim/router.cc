#include "sim/router.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace shardwise {

ReplicaRouter::ReplicaRouter(ReplicaRouting routing, int replicas)
    : routing_(routing),
      in_flight_(static_cast<std::size_t>(replicas)),
      homes_(routing == ReplicaRouting::prefix_aware ? 1 << 16 : 0) {}

int ReplicaRouter::least_loaded() {
  const int n = static_cast<int>(in_flight_.size());
  int best = turn_ % n;
  for (int i = 1; i < n; ++i) {
    const int candidate = (turn_ + i) % n;
    if (in_flight_[static_cast<std::size_t>(candidate)] < in_flight_[static_cast<std::size_t>(best)]) best = candidate;
  }
  return best;
}

int ReplicaRouter::choose(std::uint64_t affinity) {
  const int n = static_cast<int>(in_flight_.size());
  int replica = turn_ % n;
  if (routing_ != ReplicaRouting::round_robin) replica = least_loaded();
  if (routing_ == ReplicaRouting::prefix_aware && affinity != 0) {
    Home& home = homes_[(affinity * 0x9E3779B97F4A7C15ull >> 40) % homes_.size()];
    const double mean = std::accumulate(in_flight_.begin(), in_flight_.end(), 0.0) / n;
    const bool known = home.affinity == affinity;
    if (known && in_flight_[static_cast<std::size_t>(home.replica)] <= 1.25 * mean + 4) replica = home.replica;
    home = {affinity, replica};
  }
  turn_ = (turn_ + 1) % n;
  ++in_flight_[static_cast<std::size_t>(replica)];
  return replica;
}

DpBalancer::DpBalancer(DpBalancing rule, int ranks, int clients)
    : rule_(rule), views_(static_cast<std::size_t>(clients)) {
  for (int c = 0; c < clients; ++c) {
    View& view = views_[static_cast<std::size_t>(c)];
    view.counts.resize(static_cast<std::size_t>(ranks));
    view.in_flight.resize(static_cast<std::size_t>(ranks));
    view.start = ranks * c / clients;
  }
}

DpBalancer::Choice DpBalancer::choose() {
  const int clients = static_cast<int>(views_.size());
  const int client = turn_++ % clients;
  View& view = views_[static_cast<std::size_t>(client)];
  const int ranks = static_cast<int>(view.counts.size());
  double lowest = std::numeric_limits<double>::infinity();
  int best = 0;
  for (int i = 0; i < ranks; ++i) {
    const int rank = (view.start + i) % ranks;
    const Counts& c = view.counts[static_cast<std::size_t>(rank)];
    double score;
    if (rule_ == DpBalancing::in_flight) {
      score = std::max(clients * view.in_flight[static_cast<std::size_t>(rank)], c.waiting + c.running);
      if (c.waiting > 0) score += c.waiting * 6.0 * std::max(0.0, c.kv_use - 0.5);
    } else {
      score = 4.0 * c.waiting + c.running;
    }
    if (score < lowest) lowest = score, best = rank;
  }
  view.counts[static_cast<std::size_t>(best)].waiting += clients;
  ++view.in_flight[static_cast<std::size_t>(best)];
  if (rule_ == DpBalancing::in_flight) view.start = (view.start + 1) % ranks;
  return {best, client};
}

void DpBalancer::refresh(const std::vector<Counts>& counts) {
  for (View& view : views_) view.counts = counts;
}

}  // namespace shardwise
