#include "parallel/eplb.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>

#include "parallel/eplb_index.h"
#include "parallel/eplb_refine.h"

namespace shardwise {
namespace {

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

/// Position of the smallest of `n` values, the first one on ties, kept while values change: a tournament whose left
/// player wins ties, so that one change costs log2(n) comparisons without branches.
class FirstLeast {
 public:
  void resize(int n) {
    leaves_ = 1;
    while (leaves_ < n) leaves_ *= 2;
    value_.assign(at(leaves_), std::numeric_limits<double>::infinity());
    winner_.resize(at(2 * leaves_));
    for (int i = 0; i < leaves_; ++i) winner_[at(leaves_ + i)] = i;
  }
  double& value(int i) { return value_[at(i)]; }
  void build() {
    for (int node = leaves_ - 1; node > 0; --node) play(node);
  }
  int first() const { return winner_[1]; }
  void changed(int i) {
    for (int node = (leaves_ + i) / 2; node > 0; node /= 2) play(node);
  }

 private:
  void play(int node) {
    const int left = winner_[at(2 * node)], right = winner_[at(2 * node + 1)];
    winner_[at(node)] = value_[at(right)] < value_[at(left)] ? right : left;
  }
  int leaves_ = 1;
  std::vector<double> value_;
  std::vector<int> winner_{0, 0};
};

/// Buffers that all layers of one call share.
struct Scratch {
  std::vector<float> weight;
  std::vector<double> group_weight, phy_weight;
  std::vector<int> group_pack, group_place, pack, place, to_global, logical, copies, items;
  struct Item {
    double weight;
    int index;
  };
  std::vector<Item> order;
  FirstLeast lightest, hottest;
};

/// Items to packs of equal count: descending weight (stable), each to the lightest pack with room. With one item a pack
/// the packing is the identity.
void balanced_packing(const std::vector<double>& weight, int packs, std::vector<int>& pack_of,
                      std::vector<int>& place_in, Scratch& t) {
  const int n = static_cast<int>(weight.size()), per = n / packs;
  pack_of.resize(weight.size());
  place_in.assign(weight.size(), 0);
  if (per == 1) {
    std::iota(pack_of.begin(), pack_of.end(), 0);
    return;
  }
  t.order.resize(weight.size());
  for (int i = 0; i < n; ++i) t.order[at(i)] = {weight[at(i)], i};
  std::sort(t.order.begin(), t.order.end(), [](const Scratch::Item& a, const Scratch::Item& b) {
    return (a.weight > b.weight) | ((a.weight == b.weight) & (a.index < b.index));
  });
  t.lightest.resize(packs);
  for (int i = 0; i < packs; ++i) t.lightest.value(i) = 0;
  t.lightest.build();
  t.items.assign(at(packs), 0);
  for (const auto& item : t.order) {
    const int pack = t.lightest.first();
    pack_of[at(item.index)] = pack;
    place_in[at(item.index)] = t.items[at(pack)];
    t.lightest.value(pack) += item.weight;
    if (++t.items[at(pack)] == per) t.lightest.value(pack) = std::numeric_limits<double>::infinity();
    t.lightest.changed(pack);
  }
}

/// Exchanges groups between the heaviest node and others as long as the heavier of the two gets lighter. False if there
/// was nothing to gain.
bool exchange_groups(const std::vector<double>& weight, int nodes, std::vector<int>& node_of,
                     std::vector<int>& place_in) {
  std::vector<double> load(at(nodes), 0);
  for (Index g = 0; g < weight.size(); ++g) load[at(node_of[g])] += weight[g];
  for (int round = 0; round < 64; ++round) {
    const int heavy = static_cast<int>(std::max_element(load.begin(), load.end()) - load.begin());
    const double top = load[at(heavy)];
    double best = top * (1 - 1e-9);
    Index from = weight.size(), to = weight.size();
    for (Index a = 0; a < weight.size(); ++a) {
      if (node_of[a] != heavy) continue;
      for (Index b = 0; b < weight.size(); ++b) {
        if (node_of[b] == heavy) continue;
        const double delta = weight[a] - weight[b];
        const double heavier = std::max(top - delta, load[at(node_of[b])] + delta);
        if (heavier < best) best = heavier, from = a, to = b;
      }
    }
    if (from == weight.size()) return round > 0;
    const double delta = weight[from] - weight[to];
    load[at(node_of[from])] -= delta;
    load[at(node_of[to])] += delta;
    std::swap(node_of[from], node_of[to]);
    std::swap(place_in[from], place_in[to]);
  }
  return true;
}

/// Replicas of one node's experts and their GPUs; group_pack and group_place say which groups are whose.
void fill_nodes(const EplbShape& s, Scratch& t, int* out) {
  const int experts = static_cast<int>(t.weight.size()), group_size = experts / s.groups,
            groups_per_node = s.groups / s.nodes, per_node = experts / s.nodes, phy_node = s.replicas / s.nodes,
            gpus_node = s.ranks / s.nodes, per_gpu = s.replicas / s.ranks;
  t.to_global.resize(at(experts));
  for (int g = 0; g < s.groups; ++g) {
    const int first = (t.group_pack[at(g)] * groups_per_node + t.group_place[at(g)]) * group_size;
    std::iota(t.to_global.begin() + first, t.to_global.begin() + first + group_size, g * group_size);
  }
  t.logical.resize(at(phy_node));
  t.phy_weight.resize(at(phy_node));
  for (int node = 0; node < s.nodes; ++node) {
    const int* to_global = t.to_global.data() + node * per_node;
    t.copies.assign(at(per_node), 1);
    std::iota(t.logical.begin(), t.logical.begin() + per_node, 0);
    t.hottest.resize(per_node);
    for (int e = 0; e < per_node; ++e) t.hottest.value(e) = -static_cast<double>(t.weight[at(to_global[e])]);
    if (phy_node > per_node) t.hottest.build();
    for (int p = per_node; p < phy_node; ++p) {
      const int hot = t.logical[at(p)] = t.hottest.first();
      t.hottest.value(hot) = -static_cast<double>(t.weight[at(to_global[hot])]) / ++t.copies[at(hot)];
      t.hottest.changed(hot);
    }
    for (int p = 0; p < phy_node; ++p) t.phy_weight[at(p)] = -t.hottest.value(t.logical[at(p)]);
    balanced_packing(t.phy_weight, gpus_node, t.pack, t.place, t);
    for (int p = 0; p < phy_node; ++p)
      out[node * phy_node + t.pack[at(p)] * per_gpu + t.place[at(p)]] = to_global[t.logical[at(p)]];
  }
}

/// One layer of rebalance_experts_hierarchical. Leaves weights and groups in `t`.
void balance_layer(std::span<const std::int64_t> counts, const EplbShape& s, Scratch& t, int* out) {
  const int group_size = static_cast<int>(counts.size()) / s.groups;
  t.weight.assign(counts.begin(), counts.end());
  t.group_weight.resize(at(s.groups));
  for (int g = 0; g < s.groups; ++g)
    t.group_weight[at(g)] = static_cast<double>(pairwise_sum(t.weight.data() + g * group_size, group_size));
  balanced_packing(t.group_weight, s.nodes, t.group_pack, t.group_place, t);
  fill_nodes(s, t, out);
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

}  // namespace

EplbShape effective_shape(const EplbShape& s) {
  return s.groups % s.nodes == 0 ? s : EplbShape{s.replicas, 1, 1, s.ranks};
}

std::optional<std::string> eplb_refusal(int experts, const EplbShape& given) {
  const auto s = effective_shape(given);
  if (s.groups <= 0 || experts % s.groups != 0) return "num_logical_experts % num_groups == 0";
  if (s.ranks % s.nodes != 0) return "num_gpus % num_nodes == 0";
  if (s.ranks <= 0 || s.replicas % s.ranks != 0) return "num_physical_experts % num_gpus == 0";
  if (s.replicas < experts) return "num_redundant >= 0";
  return std::nullopt;
}

PhysicalToLogical eplb_vllm(const ExpertLoads& loads, const EplbShape& given, std::span<const int> old) {
  const auto s = effective_shape(given);
  PhysicalToLogical out(at(loads.layers) * at(s.replicas));
  Scratch scratch;
  for (int l = 0; l < loads.layers; ++l) {
    int* row = out.data() + at(l) * at(s.replicas);
    balance_layer(loads.layer(l), s, scratch, row);
    if (!old.empty()) preserve_slots(row, old.data() + at(l) * at(s.replicas), s.replicas, s.ranks);
  }
  return out;
}

PhysicalToLogical eplb_ours(const ExpertLoads& loads, const EplbShape& given, std::span<const int> old) {
  const auto s = effective_shape(given);
  PhysicalToLogical out(at(loads.layers) * at(s.replicas));
  std::vector<int> other(at(s.replicas));
  Scratch scratch;
  EplbRefiner refiner(loads.layers);
  for (int l = 0; l < loads.layers; ++l) {
    int* row = out.data() + at(l) * at(s.replicas);
    const auto counts = loads.layer(l);
    balance_layer(counts, s, scratch, row);
    const bool regroup = s.nodes > 1 && s.groups > s.nodes &&
                         exchange_groups(scratch.group_weight, s.nodes, scratch.group_pack, scratch.group_place);
    const double top = refiner.refine_layer(row, s, counts);
    if (regroup) {
      fill_nodes(s, scratch, other.data());
      if (refiner.refine_layer(other.data(), s, counts) < top * (1 - 1e-9)) std::copy(other.begin(), other.end(), row);
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

}  // namespace shardwise
