#include "parallel/eplb.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>

namespace shardwise {
namespace {

using Index = std::size_t;
Index at(int i) { return static_cast<Index>(i); }

/// The shape that the policy works with: the hierarchical one if groups divide by nodes, else one group on one node.
EplbShape effective(const EplbShape& s) { return s.groups % s.nodes == 0 ? s : EplbShape{s.replicas, 1, 1, s.ranks}; }

/// numpy's pairwise float32 sum of contiguous values: the order of additions decides the last bits.
float pairwise_sum(const float* v, int n) {
  if (n < 8) {
    float sum = 0;
    for (int i = 0; i < n; ++i) sum += v[i];
    return sum;
  }
  if (n <= 128) {
    float r[8];
    std::copy(v, v + 8, r);
    int i = 8;
    for (; i < n - n % 8; i += 8)
      for (int k = 0; k < 8; ++k) r[k] += v[i + k];
    float sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; ++i) sum += v[i];
    return sum;
  }
  int half = n / 2;
  half -= half % 8;
  return pairwise_sum(v, half) + pairwise_sum(v + half, n - half);
}

/// Items to packs of equal count: descending weight (stable), each to the lightest pack with room. With one item a pack
/// the packing is the identity.
template <class T>
void balanced_packing(const std::vector<T>& weight, int packs, std::vector<int>& pack_of, std::vector<int>& place_in) {
  const int n = static_cast<int>(weight.size()), per = n / packs;
  pack_of.resize(weight.size());
  place_in.assign(weight.size(), 0);
  if (per == 1) {
    std::iota(pack_of.begin(), pack_of.end(), 0);
    return;
  }
  thread_local std::vector<int> order;
  order.resize(weight.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return weight[at(a)] > weight[at(b)]; });
  thread_local std::vector<double> load;
  thread_local std::vector<int> items;
  load.assign(at(packs), 0);
  items.assign(at(packs), 0);
  for (const int item : order) {
    const auto pack = static_cast<int>(std::min_element(load.begin(), load.end()) - load.begin());
    pack_of[at(item)] = pack;
    place_in[at(item)] = items[at(pack)];
    load[at(pack)] += static_cast<double>(weight[at(item)]);
    if (++items[at(pack)] == per) load[at(pack)] = std::numeric_limits<double>::infinity();
  }
}

/// Exchanges groups between the heaviest node and others as long as the heavier of the two gets lighter.
void exchange_groups(const std::vector<float>& weight, int nodes, std::vector<int>& node_of,
                     std::vector<int>& place_in) {
  std::vector<double> load(at(nodes), 0);
  for (Index g = 0; g < weight.size(); ++g) load[at(node_of[g])] += static_cast<double>(weight[g]);
  for (int round = 0; round < 64; ++round) {
    const int heavy = static_cast<int>(std::max_element(load.begin(), load.end()) - load.begin());
    const double top = load[at(heavy)];
    double best = top * (1 - 1e-12);
    Index from = weight.size(), to = weight.size();
    for (Index a = 0; a < weight.size(); ++a) {
      if (node_of[a] != heavy) continue;
      for (Index b = 0; b < weight.size(); ++b) {
        if (node_of[b] == heavy) continue;
        const double delta = static_cast<double>(weight[a]) - static_cast<double>(weight[b]);
        const double heavier = std::max(top - delta, load[at(node_of[b])] + delta);
        if (heavier < best) best = heavier, from = a, to = b;
      }
    }
    if (from == weight.size()) return;
    const double delta = static_cast<double>(weight[from]) - static_cast<double>(weight[to]);
    load[at(node_of[from])] -= delta;
    load[at(node_of[to])] += delta;
    std::swap(node_of[from], node_of[to]);
    std::swap(place_in[from], place_in[to]);
  }
}

/// One layer of rebalance_experts_hierarchical.
void balance_layer(std::span<const std::int64_t> counts, const EplbShape& s, int* out, bool even_nodes = false) {
  const int experts = static_cast<int>(counts.size()), group_size = experts / s.groups,
            groups_per_node = s.groups / s.nodes;
  const int per_node = experts / s.nodes, phy_node = s.replicas / s.nodes, gpus_node = s.ranks / s.nodes,
            per_gpu = s.replicas / s.ranks;
  thread_local std::vector<float> weight, group_weight;
  thread_local std::vector<int> pack, place, local_to_global;
  weight.assign(counts.begin(), counts.end());
  group_weight.resize(at(s.groups));
  for (int g = 0; g < s.groups; ++g) group_weight[at(g)] = pairwise_sum(weight.data() + g * group_size, group_size);
  balanced_packing(group_weight, s.nodes, pack, place);
  if (even_nodes) exchange_groups(group_weight, s.nodes, pack, place);
  local_to_global.resize(at(experts));
  for (int g = 0; g < s.groups; ++g)
    for (int k = 0; k < group_size; ++k)
      local_to_global[at((pack[at(g)] * groups_per_node + place[at(g)]) * group_size + k)] = g * group_size + k;

  thread_local std::vector<int> logical, copies;
  thread_local std::vector<double> share, phy_weight;
  for (int node = 0; node < s.nodes; ++node) {
    const int* to_global = local_to_global.data() + node * per_node;
    logical.resize(at(phy_node));
    copies.assign(at(per_node), 1);
    share.resize(at(per_node));
    for (int e = 0; e < per_node; ++e) logical[at(e)] = e, share[at(e)] = static_cast<double>(weight[at(to_global[e])]);
    for (int p = per_node; p < phy_node; ++p) {
      const auto hot = static_cast<int>(std::max_element(share.begin(), share.end()) - share.begin());
      logical[at(p)] = hot;
      share[at(hot)] = static_cast<double>(weight[at(to_global[hot])]) / ++copies[at(hot)];
    }
    phy_weight.resize(at(phy_node));
    for (int p = 0; p < phy_node; ++p) phy_weight[at(p)] = share[at(logical[at(p)])];
    balanced_packing(phy_weight, gpus_node, pack, place);
    for (int p = 0; p < phy_node; ++p)
      out[node * phy_node + pack[at(p)] * per_gpu + place[at(p)]] = to_global[logical[at(p)]];
  }
}

/// Experts that stay on a GPU keep the slot they had there.
void preserve_slots(int* map, const int* old, int replicas, int ranks) {
  const int slots = replicas / ranks;
  std::vector<int> fresh(at(slots));
  std::vector<char> used(at(slots)), kept(at(slots));
  for (int gpu = 0; gpu < ranks; ++gpu) {
    int* now = map + gpu * slots;
    const int* before = old + gpu * slots;
    fresh.assign(now, now + slots);
    used.assign(at(slots), 0);
    kept.assign(at(slots), 0);
    for (int slot = 0; slot < slots; ++slot)
      for (int k = 0; k < slots; ++k)
        if (!used[at(k)] && fresh[at(k)] == before[slot]) {
          now[slot] = fresh[at(k)];
          used[at(k)] = kept[at(slot)] = 1;
          break;
        }
    int next = 0;
    for (int slot = 0; slot < slots; ++slot) {
      if (kept[at(slot)]) continue;
      while (used[at(next)]) ++next;
      now[slot] = fresh[at(next)];
      used[at(next)] = 1;
    }
  }
}

/// Improves the GPUs of one node of one layer in place. `map` holds the node's slots (logical experts), `counts` the
/// whole layer's tokens.
class Refiner {
 public:
  void run(int* map, int gpus, int slots, std::span<const std::int64_t> counts) {
    map_ = map, gpus_ = gpus, slots_ = slots, counts_ = counts;
    const int n = gpus * slots;
    copies_.assign(counts.size(), 0);
    for (int p = 0; p < n; ++p) ++copies_[at(map[p])];
    weigh();
    const double goal = kEven * std::accumulate(load_.begin(), load_.end(), 0.0) / gpus;
    for (int round = 0; round < kRounds; ++round)
      if (load_[at(heaviest())] <= goal || (!exchange() && !move_replica())) break;
  }

 private:
  static constexpr double kEven = 1.0000000001;  // the heaviest GPU this close to the mean is even enough
  static constexpr int kRounds = 96;             // each makes the most loaded GPU lighter, or one fewer GPU that loaded

  double weight(int expert) const { return static_cast<double>(counts_[at(expert)]) / copies_[at(expert)]; }

  void weigh() {
    load_.assign(at(gpus_), 0);
    item_.resize(at(gpus_ * slots_));
    for (int p = 0; p < gpus_ * slots_; ++p) load_[at(p / slots_)] += item_[at(p)] = weight(map_[p]);
  }

  int heaviest() const { return static_cast<int>(std::max_element(load_.begin(), load_.end()) - load_.begin()); }

  /// The exchange of two replicas, one on the heaviest GPU, that leaves the heavier of the two lightest.
  bool exchange() {
    const int g = heaviest();
    const double top = load_[at(g)];
    double best = top * (1 - 1e-12);
    int from = -1, to = -1;
    for (int h = 0; h < gpus_; ++h) {
      const double room = top - load_[at(h)];
      if (h == g || room <= 0) continue;
      for (int a = g * slots_; a < (g + 1) * slots_; ++a)
        for (int b = h * slots_; b < (h + 1) * slots_; ++b) {
          const double delta = item_[at(a)] - item_[at(b)];
          if (delta <= 0 || delta >= room) continue;
          const double heavier = std::max(top - delta, load_[at(h)] + delta);
          if (heavier < best) best = heavier, from = a, to = b;
        }
    }
    if (from < 0) return false;
    const double delta = item_[at(from)] - item_[at(to)];
    std::swap(map_[from], map_[to]);
    std::swap(item_[at(from)], item_[at(to)]);
    load_[at(g)] -= delta;
    load_[at(to / slots_)] += delta;
    return true;
  }

  /// Turns one replica of a much-copied expert into another copy of an expert on the heaviest GPU, if the heaviest GPU
  /// of all gets lighter.
  bool move_replica() {
    const int g = heaviest();
    const double top = load_[at(g)];
    double best = top * (1 - 1e-12);
    int slot = -1, wanted = -1;
    for (int a = g * slots_; a < (g + 1) * slots_; ++a) {
      const int expert = map_[a];
      if (counts_[at(expert)] == 0) continue;
      const double thinner = static_cast<double>(counts_[at(expert)]) / (copies_[at(expert)] + 1);
      for (int p = 0; p < gpus_ * slots_; ++p) {
        const int donor = map_[p];
        if (donor == expert || copies_[at(donor)] < 2) continue;
        const double thicker = static_cast<double>(counts_[at(donor)]) / (copies_[at(donor)] - 1);
        if (thicker >= best) continue;
        const double heaviest_after = after(expert, thinner, donor, thicker, p, best);
        if (heaviest_after < best) best = heaviest_after, slot = p, wanted = expert;
      }
    }
    if (slot < 0) return false;
    --copies_[at(map_[slot])];
    ++copies_[at(wanted)];
    map_[slot] = wanted;
    weigh();
    return true;
  }

  double after(int expert, double thinner, int donor, double thicker, int slot, double limit) const {
    double most = 0;
    for (int h = 0; h < gpus_; ++h) {
      double load = load_[at(h)];
      for (int p = h * slots_; p < (h + 1) * slots_; ++p) {
        if (p == slot)
          load += thinner - item_[at(p)];
        else if (map_[p] == expert)
          load += thinner - item_[at(p)];
        else if (map_[p] == donor)
          load += thicker - item_[at(p)];
      }
      most = std::max(most, load);
      if (most >= limit) return most;
    }
    return most;
  }

  int* map_ = nullptr;
  int gpus_ = 0, slots_ = 0;
  std::span<const std::int64_t> counts_;
  std::vector<int> copies_;
  std::vector<double> load_, item_;
};

}  // namespace

std::string eplb_refusal(int experts, const EplbShape& given) {
  const auto s = effective(given);
  if (s.groups <= 0 || experts % s.groups != 0) return "num_logical_experts % num_groups == 0";
  if (s.ranks % s.nodes != 0) return "num_gpus % num_nodes == 0";
  if (s.ranks <= 0 || s.replicas % s.ranks != 0) return "num_physical_experts % num_gpus == 0";
  if (s.replicas < experts) return "num_redundant >= 0";
  return "";
}

PhysicalToLogical eplb_vllm(const ExpertLoads& loads, const EplbShape& given, std::span<const int> old) {
  const auto s = effective(given);
  PhysicalToLogical out(at(loads.layers) * at(s.replicas));
  for (int l = 0; l < loads.layers; ++l) {
    int* row = out.data() + at(l) * at(s.replicas);
    balance_layer(loads.layer(l), s, row);
    if (!old.empty()) preserve_slots(row, old.data() + at(l) * at(s.replicas), s.replicas, s.ranks);
  }
  return out;
}

PhysicalToLogical eplb_ours(const ExpertLoads& loads, const EplbShape& given, std::span<const int> old) {
  const auto s = effective(given);
  auto out = eplb_vllm(loads, given);
  const int slots = s.replicas / s.ranks, gpus_node = s.ranks / s.nodes;
  Refiner refiner;
  std::vector<int> other;
  for (int l = 0; l < loads.layers; ++l) {
    int* row = out.data() + at(l) * at(s.replicas);
    if (s.nodes > 1 && s.groups > s.nodes) {
      other.resize(at(s.replicas));
      balance_layer(loads.layer(l), s, other.data(), true);
      for (int node = 0; node < s.nodes; ++node)
        refiner.run(other.data() + node * gpus_node * slots, gpus_node, slots, loads.layer(l));
    } else {
      other.clear();
    }
    for (int node = 0; node < s.nodes; ++node)
      refiner.run(row + node * gpus_node * slots, gpus_node, slots, loads.layer(l));
    if (!other.empty()) {
      const ExpertLoads one{1, loads.experts, {loads.layer(l).begin(), loads.layer(l).end()}};
      const auto now = rank_loads(one, std::span(row, at(s.replicas)), s.ranks, 0);
      const auto then = rank_loads(one, other, s.ranks, 0);
      if (*std::max_element(then.begin(), then.end()) < *std::max_element(now.begin(), now.end()))
        std::copy(other.begin(), other.end(), row);
    }
    if (!old.empty()) preserve_slots(row, old.data() + at(l) * at(s.replicas), s.replicas, s.ranks);
  }
  return out;
}

PhysicalToLogical eplb_initial(int layers, int experts, int replicas) {
  PhysicalToLogical out;
  out.reserve(at(layers) * at(replicas));
  for (int l = 0; l < layers; ++l)
    for (int p = 0; p < replicas; ++p) out.push_back(p < experts ? p : (p - experts) % experts);
  return out;
}

std::vector<double> rank_loads(const ExpertLoads& loads, std::span<const int> map, int ranks, int layer) {
  const int replicas = static_cast<int>(map.size()) / loads.layers, per = replicas / ranks;
  const auto row = map.subspan(at(layer) * at(replicas), at(replicas));
  const auto counts = loads.layer(layer);
  std::vector<int> copies(at(loads.experts), 0);
  for (const int e : row) ++copies[at(e)];
  std::vector<double> out(at(ranks), 0);
  for (int p = 0; p < replicas; ++p)
    out[at(p / per)] += static_cast<double>(counts[at(row[at(p)])]) / std::max(copies[at(row[at(p)])], 1);
  return out;
}

Balancedness balancedness(const ExpertLoads& loads, std::span<const int> map, int ranks) {
  Balancedness out{0, 1};
  for (int l = 0; l < loads.layers; ++l) {
    const auto load = rank_loads(loads, map, ranks, l);
    const double most = *std::max_element(load.begin(), load.end());
    const double value = most > 0 ? std::accumulate(load.begin(), load.end(), 0.0) / ranks / most : 1.0;
    out.mean += value;
    out.least = std::min(out.least, value);
  }
  out.mean /= loads.layers;
  return out;
}

double balancedness_bound(const ExpertLoads& loads, const EplbShape& shape) {
  const int spare = shape.replicas - loads.experts;
  double sum = 0;
  for (int l = 0; l < loads.layers; ++l) {
    const auto counts = loads.layer(l);
    const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
    // Whatever the spares do, k + 1 experts stay whole among the k + 1 largest when there are k spares, and the largest
    // expert's share is at least its load over 1 + spares.
    double floor = total / shape.ranks;
    std::vector<std::int64_t> sorted(counts.begin(), counts.end());
    std::sort(sorted.rbegin(), sorted.rend());
    if (!sorted.empty()) floor = std::max(floor, static_cast<double>(sorted.front()) / (1 + spare));
    if (spare < loads.experts) floor = std::max(floor, static_cast<double>(sorted[at(spare)]));
    sum += floor > 0 ? total / shape.ranks / floor : 1.0;
  }
  return sum / loads.layers;
}

}  // namespace shardwise
