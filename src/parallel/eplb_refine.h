#pragma once
// Local search that makes the most loaded GPU of an expert placement lighter.
#include <cstdint>
#include <span>
#include <vector>

#include "parallel/eplb.h"

namespace shardwise {

/// Keeps its buffers from layer to layer.
class EplbRefiner {
 public:
  /// Work is bounded so that large placements keep to a few milliseconds: few layers are searched harder than many.
  explicit EplbRefiner(int layers);

  /// Improves one layer's `map` (shape.replicas slots) in place, inside each node: exchanges of replicas between GPUs,
  /// and replicas moved from one expert to another, as long as the most loaded GPU gets lighter. Returns that GPU's
  /// load. `shape` is an effective one.
  double refine_layer(int* map, const EplbShape& shape, std::span<const std::int64_t> counts);

 private:
  double refine_node(double goal);
  void weigh();
  bool exchange();
  bool move_replica();
  bool escape(double goal);
  void list_slots();
  void reorder(int gpu);
  double share(int expert) const {
    return static_cast<double>(counts_[static_cast<std::size_t>(expert)]) / copies_[static_cast<std::size_t>(expert)];
  }

  int* map_ = nullptr;  ///< the node's slots
  int gpus_ = 0, slots_ = 0;
  int attempts_per_layer_ = 0, attempts_left_ = 0;  ///< of escape()
  std::span<const std::int64_t> counts_;
  std::vector<int> copies_;                  ///< by expert
  std::vector<double> load_, item_;          ///< by GPU, by slot
  std::vector<int> order_;                   ///< GPUs by ascending load
  std::vector<int> first_slot_, next_slot_;  ///< slots of each expert as linked lists
  std::vector<int> donors_;                  ///< experts with more than one replica
  std::vector<double> delta_;                ///< by GPU, of the move in question
  std::vector<std::pair<double, int>> node_order_;
  std::vector<int> best_map_, base_map_, base_copies_, best_copies_;  ///< of escape()
};

}  // namespace shardwise
