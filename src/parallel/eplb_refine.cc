#include "parallel/eplb_refine.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "parallel/eplb_index.h"

namespace shardwise {
namespace {

constexpr double kEven = 1 + 1e-6;  // the heaviest GPU this close to what cannot be beaten is even enough
constexpr double kGain = 1 - 1e-9;  // a step that gains less is none: rounding could be all of it
constexpr int kSmall = 96;          // slots of a node up to which steps that cost something at first are tried
constexpr int kFewLayers = 32, kAttempts = 2048;  // such steps, over all layers
constexpr std::size_t kDonors = 16;  // experts considered as givers of a replica, those that gain the least load first

}  // namespace

EplbRefiner::EplbRefiner(int layers)
    : attempts_per_layer_(layers <= kFewLayers ? kAttempts / std::max(layers, 1) : 0) {}

double EplbRefiner::refine_layer(int* map, const EplbShape& s, std::span<const std::int64_t> counts) {
  counts_ = counts;
  gpus_ = s.ranks / s.nodes, slots_ = s.replicas / s.ranks;
  const int n = gpus_ * slots_;
  attempts_left_ = attempts_per_layer_;
  copies_.assign(counts.size(), 0);
  for (int p = 0; p < s.replicas; ++p) ++copies_[at(map[p])];
  // No node gets below its mean, so the heaviest node's mean is enough for all others; it goes first.
  node_order_.clear();
  for (int node = 0; node < s.nodes; ++node) {
    double total = 0;
    for (int p = node * n; p < (node + 1) * n; ++p) total += share(map[p]);
    node_order_.emplace_back(-total / gpus_, node);
  }
  std::sort(node_order_.begin(), node_order_.end());
  double top = -node_order_.front().first;
  for (const auto& [mean, node] : node_order_) {
    map_ = map + node * n;
    top = std::max(top, refine_node(top));
  }
  return top;
}

double EplbRefiner::refine_node(double goal) {
  weigh();
  // Every step makes the most loaded GPU lighter, or one fewer GPU that loaded. Steps, and those among them that give a
  // replica to another expert, are bounded so that large placements keep to a few milliseconds.
  const int n = gpus_ * slots_, steps = std::clamp(32768 / n, 96, 1024), moves = std::clamp(3072 / n, 8, 128);
  int moved = 0;
  for (int step = 0; step < steps && load_[at(order_.back())] > goal * kEven; ++step)
    if (!exchange() && (++moved > moves || !move_replica())) break;
  if (n <= kSmall)
    for (int round = 0; round < 8 && attempts_left_ > 0 && load_[at(order_.back())] > goal * kEven; ++round)
      if (!escape(goal)) break;
  return load_[at(order_.back())];
}

void EplbRefiner::weigh() {
  load_.assign(at(gpus_), 0);
  item_.resize(at(gpus_ * slots_));
  for (int g = 0, p = 0; g < gpus_; ++g)
    for (int k = 0; k < slots_; ++k, ++p) load_[at(g)] += item_[at(p)] = share(map_[p]);
  order_.resize(at(gpus_));
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(),
            [this](int a, int b) { return load_[at(a)] != load_[at(b)] ? load_[at(a)] < load_[at(b)] : a > b; });
}

/// Moves one GPU to where its load belongs.
void EplbRefiner::reorder(int gpu) {
  auto i = static_cast<Index>(std::find(order_.begin(), order_.end(), gpu) - order_.begin());
  const double load = load_[at(gpu)];
  for (; i > 0 && load_[at(order_[i - 1])] > load; --i) order_[i] = order_[i - 1];
  for (; i + 1 < order_.size() && load_[at(order_[i + 1])] < load; ++i) order_[i] = order_[i + 1];
  order_[i] = gpu;
}

/// The exchange of two replicas, one on the heaviest GPU, that leaves the heavier of the two lightest.
bool EplbRefiner::exchange() {
  const int g = order_.back();
  const double top = load_[at(g)];
  const double* mine = item_.data() + g * slots_;
  double best = top * kGain;
  int from = -1, to = -1;
  for (const int h : order_) {
    const double low = load_[at(h)];
    if (h == g || 0.5 * (top + low) >= best) break;  // two GPUs cannot both get below their mean
    const double* theirs = item_.data() + h * slots_;
    for (int a = 0; a < slots_; ++a)
      for (int b = 0; b < slots_; ++b) {
        const double delta = mine[a] - theirs[b];
        const double heavier = std::max(top - delta, low + delta);
        if (heavier < best) best = heavier, from = g * slots_ + a, to = h * slots_ + b;
      }
  }
  if (from < 0) return false;
  const int h = to / slots_;
  const double delta = item_[at(from)] - item_[at(to)];
  std::swap(map_[from], map_[to]);
  std::swap(item_[at(from)], item_[at(to)]);
  load_[at(g)] -= delta;
  load_[at(h)] += delta;
  reorder(g);
  reorder(h);
  return true;
}

/// Tries steps that do not help by themselves, each followed by exchanges: a replica given to another expert, or an
/// exchange between any two GPUs. Takes the best outcome if the most loaded GPU gets lighter.
bool EplbRefiner::escape(double goal) {
  const int n = gpus_ * slots_;
  base_map_.assign(map_, map_ + n);
  base_copies_ = copies_;
  double best = load_[at(order_.back())] * kGain;
  const int heavy = order_.back();
  bool found = false;
  const auto attempt = [&] {
    --attempts_left_;
    weigh();
    for (int step = 0; step < 12 && load_[at(order_.back())] > goal * kEven; ++step)
      if (!exchange()) break;
    if (load_[at(order_.back())] < best) {
      best = load_[at(order_.back())];
      best_map_.assign(map_, map_ + n);
      best_copies_ = copies_;
      found = true;
    }
    std::copy(base_map_.begin(), base_map_.end(), map_);
    copies_ = base_copies_;
  };
  for (int p = 0; p < n && attempts_left_ > 0; ++p) {
    const int donor = base_map_[at(p)];
    if (copies_[at(donor)] < 2) continue;
    for (int a = 0; a < n && attempts_left_ > 0; ++a) {
      const int expert = base_map_[at(a)];
      if (expert == donor || counts_[at(expert)] == 0 ||
          std::find(base_map_.begin(), base_map_.begin() + a, expert) != base_map_.begin() + a)
        continue;
      if (n > 48 && a / slots_ != heavy) continue;
      map_[p] = expert;
      --copies_[at(donor)];
      ++copies_[at(expert)];
      attempt();
    }
  }
  for (int a = heavy * slots_; a < (heavy + 1) * slots_; ++a)
    for (int b = 0; b < n && attempts_left_ > 0; ++b) {
      if (b / slots_ == heavy || base_map_[at(a)] == base_map_[at(b)]) continue;
      std::swap(map_[a], map_[b]);
      attempt();
    }
  if (found) {
    std::copy(best_map_.begin(), best_map_.end(), map_);
    copies_ = best_copies_;
  }
  weigh();
  return found;
}

void EplbRefiner::list_slots() {
  first_slot_.assign(counts_.size(), -1);
  next_slot_.resize(at(gpus_ * slots_));
  donors_.clear();
  for (int p = gpus_ * slots_ - 1; p >= 0; --p) {
    const int e = map_[p];
    if (first_slot_[at(e)] >= 0 && next_slot_[at(first_slot_[at(e)])] < 0) donors_.push_back(e);
    next_slot_[at(p)] = first_slot_[at(e)];
    first_slot_[at(e)] = p;
  }
  const auto gains = [this](int e) { return share(e) / (copies_[at(e)] - 1); };
  const auto less = [&](int a, int b) { return gains(a) != gains(b) ? gains(a) < gains(b) : a < b; };
  if (donors_.size() > kDonors) {
    std::nth_element(donors_.begin(), donors_.begin() + kDonors, donors_.end(), less);
    donors_.resize(kDonors);
  }
  std::sort(donors_.begin(), donors_.end());
}

/// Turns one replica of a much-copied expert into another copy of an expert on the heaviest GPU, if the heaviest GPU of
/// all gets lighter.
bool EplbRefiner::move_replica() {
  list_slots();
  if (donors_.empty()) return false;
  delta_.assign(at(gpus_), 0);
  const int g = order_.back();
  double best = load_[at(g)] * kGain;
  int slot = -1, wanted = -1;
  for (int a = g * slots_; a < (g + 1) * slots_; ++a) {
    const int expert = map_[a];
    if (item_[at(a)] <= 0) continue;
    const double thinner = static_cast<double>(counts_[at(expert)]) / (copies_[at(expert)] + 1),
                 lost = item_[at(a)] - thinner;
    for (const int donor : donors_) {
      if (donor == expert) continue;
      const double now = share(donor), thicker = static_cast<double>(counts_[at(donor)]) / (copies_[at(donor)] - 1);
      if (thicker >= best) continue;
      for (int q = first_slot_[at(expert)]; q >= 0; q = next_slot_[at(q)]) delta_[at(q / slots_)] -= lost;
      for (int q = first_slot_[at(donor)]; q >= 0; q = next_slot_[at(q)]) delta_[at(q / slots_)] += thicker - now;
      for (int p = first_slot_[at(donor)]; p >= 0; p = next_slot_[at(p)]) {
        const int h = p / slots_;
        delta_[at(h)] += thinner - thicker;
        double most = 0;
        for (Index i = order_.size(); i-- > 0 && most < best;) {
          const int gpu = order_[i];
          most = std::max(most, load_[at(gpu)] + delta_[at(gpu)]);
          if (delta_[at(gpu)] == 0) break;  // the others are lighter, unless they gain
        }
        for (int q = first_slot_[at(donor)]; q >= 0 && most < best; q = next_slot_[at(q)])
          most = std::max(most, load_[at(q / slots_)] + delta_[at(q / slots_)]);
        if (most < best) best = most, slot = p, wanted = expert;
        delta_[at(h)] -= thinner - thicker;
      }
      for (int q = first_slot_[at(expert)]; q >= 0; q = next_slot_[at(q)]) delta_[at(q / slots_)] = 0;
      for (int q = first_slot_[at(donor)]; q >= 0; q = next_slot_[at(q)]) delta_[at(q / slots_)] = 0;
    }
  }
  if (slot < 0) return false;
  --copies_[at(map_[slot])];
  ++copies_[at(wanted)];
  map_[slot] = wanted;
  weigh();
  return true;
}

}  // namespace shardwise
