#pragma once
// Every legal layout -> rules -> memory -> estimate -> rank. Holds no formula of its own: what vLLM accepts is
// src/parallel, bytes are src/memory, seconds are src/cost.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cost/constants.h"
#include "cost/cost.h"
#include "hardware/hardware.h"
#include "memory/memory_plan.h"
#include "model/model.h"
#include "parallel/dimensions.h"
#include "parallel/layout.h"
#include "parallel/rules.h"
#include "search/node_groups.h"
#include "serve/estimate.h"
#include "sim/simulate.h"
#include "workload/workload.h"

namespace shardwise {

/// Says whether vLLM takes a layout on a group of nodes: a refusal, or nothing.
using LayoutRules = std::function<std::optional<Refusal>(const NodeGroup&, const ParallelConfig&)>;

/// About half a second of one core.
inline constexpr std::size_t kMaxLayouts = 300'000;

struct SearchRequest {
  const Model* model = nullptr;
  std::vector<NodeGroup> groups;
  std::vector<EngineConfig> base;  ///< per group: resolved engine defaults; `parallel` is replaced by each layout's
  LayoutRules rules;
  std::optional<int> num_expert_group;  ///< of the model's router: whether round_robin placement has an effect
  Workload workload;                    ///< concurrency and request_rate both empty = sweep of loads
  Goal goal = Goal::balanced;
  Pins pins;                              ///< what the user fixed
  std::int64_t needed_model_len = 0;      ///< tokens that must fit: longest request, or the user's minimum
  bool pinned_max_num_seqs = false;       ///< --max-num-seqs is given
  bool pinned_model_len = false;          ///< max_model_len of `base` is the user's and may not be lowered
  std::optional<int> max_gpus;            ///< use at most so many
  bool fewest_gpus = false;               ///< the smallest number of GPUs that serves the load within the SLOs wins
  bool allow_replicas = false;            ///< dense models too may be split into separate deployments
  std::size_t max_layouts = kMaxLayouts;  ///< where there are more, numbers of copies are thinned out
  double min_probability_fits = 0.5;      ///< plans that start with a lower probability count as not fitting
  std::shared_ptr<const CostConstants> constants;  ///< calibrated ones; null = the shipped ones
  unsigned threads = 0;
};

/// A layout with all that was computed about it, at the load that suits the goal best (or at the given load).
struct Plan {
  Layout layout;
  EngineConfig engine;
  MemoryPlan memory;
  std::shared_ptr<const CompiledStep> step;
  EnginePlacement placement;
  ServingEstimate estimate;
  double score = 0;  ///< higher is better; what it is depends on the goal
  bool slos_kept = true;
  bool simulated = false;                  ///< the estimate is of a simulated run
  std::vector<std::string> slos_missed;    ///< in words: "TTFT p99 812 ms > 500 ms"
  std::vector<SloOutcome> slos;            ///< of a simulated plan
  std::optional<double> request_goodput;   ///< requests/s that keep every SLO, of a simulated plan
  std::optional<double> max_request_rate;  ///< highest requests/s at which the SLOs are kept, of a simulated plan
};

/// One point of the throughput/speed plane.
struct ParetoPoint {
  Layout layout;
  double concurrency, tokens_per_s_per_gpu, tokens_per_s_per_user;
};

/// The best plan among all with one value of one dimension.
struct BestBy {
  std::string_view dimension;  ///< its name
  DimensionValue value;
  Layout layout;
  ServingEstimate estimate;
  double score = 0;
};

struct RejectionCount {
  const Rule* rule = nullptr;
  std::size_t count = 0;
  std::string example;
};

struct SearchResult {
  std::vector<Plan> plans;        ///< ranked, best first; only plans that fit and keep the SLOs (and serve the rate)
  std::size_t standing = 0;       ///< how many such plans there are; `plans` are the best of them
  std::vector<Plan> near_misses;  ///< fit, but miss an SLO or the rate; nearest first, at most 8
  std::vector<RejectionCount> rejected;  ///< by rule, most frequent first
  std::vector<ParetoPoint> pareto;       ///< over every fitting plan and load, by rising tokens/s per user
  std::vector<BestBy> best_by;           ///< per dimension by rising value; at most 12 values each, the best ones
  std::size_t layouts = 0;               ///< enumerated
  /// Above 0: there were more than `max_layouts`, and numbers of copies were tried in steps of this share, all of them
  /// only around the best plans.
  double copies_step = 0;
};

SearchResult search(const SearchRequest& request);

/// The goal's score of an estimate; higher is better. `budget_gpus`: GPUs on offer.
double goal_score(const SearchRequest& request, const Layout& layout, const ServingEstimate& estimate, int budget_gpus);

/// The score that can be expected: a plan that does not start is worth nothing.
double worth(const Plan& plan);

/// True if `a` is to be listed before `b`: worth more (within 0.2 % counts as equal), fewer GPUs, simpler, canonical
/// text.
bool better_plan(const Plan& a, const Plan& b, bool fewest_gpus);

/// Layouts evaluated one after the other as the search does it. It keeps what it has met, so it belongs to one thread;
/// the request must outlive it.
class LayoutEvaluator {
 public:
  explicit LayoutEvaluator(const SearchRequest& request);
  ~LayoutEvaluator();
  /// nullopt with `why` filled if it is refused or does not fit.
  std::optional<Plan> operator()(const Layout& layout, std::optional<Refusal>* why = nullptr);

 private:
  std::unique_ptr<class SearchWorker> worker_;
};

/// One layout alone.
std::optional<Plan> evaluate_layout(const SearchRequest& request, const Layout& layout, std::optional<Refusal>* why);

/// Enumerates the space; `visit` gets every layout that fits the GPUs, legal or not. Used by search and by its oracle.
void enumerate_layouts(const SearchRequest& request, const std::function<void(const Layout&)>& visit);

/// GPUs on offer.
int budget_gpus(const SearchRequest& request);

}  // namespace shardwise
