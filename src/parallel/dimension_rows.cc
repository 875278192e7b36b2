// The table of dimensions. What is not vLLM's name for a thing is its meaning for the search: see Dimension.
#include <algorithm>
#include <numeric>

#include "base/text.h"
#include "parallel/dimensions.h"
#include "parallel/resolve.h"

namespace shardwise {
namespace dimension_rows {
namespace {

using P = ParallelConfig;
using Values = std::vector<DimensionValue>;

// Texts.

std::string first_factor(const Dimension& d, const Layout& l) {
  return std::string(d.label) + value_text(value_of(d, l));
}

std::string factor(const Dimension& d, const Layout& l) {
  return at_default(d, l) ? "" : " x " + std::string(d.label) + value_text(value_of(d, l));
}

std::string within(const Dimension& d, const Layout& l) {
  return at_default(d, l) ? "" : " (" + std::string(d.label) + value_text(value_of(d, l)) + ")";
}

std::string expert_ranks(const Dimension&, const Layout& l) {
  return l.parallel.enable_expert_parallel ? " + EP" + std::to_string(l.parallel.expert_parallel_size()) : "";
}

std::string expert_word(const Dimension& d, const Layout& l) {
  return at_default(d, l) || !l.parallel.enable_expert_parallel ? "" : " " + value_text(value_of(d, l));
}

std::string eplb(const Dimension& d, const Layout& l) {
  return at_default(d, l) || !l.parallel.enable_expert_parallel ? "" : " EPLB";
}

std::string redundant(const Dimension& d, const Layout& l) {
  return at_default(d, l) || !l.parallel.enable_expert_parallel ? "" : " +" + value_text(value_of(d, l));
}

std::string nothing(const Dimension&, const Layout&) { return ""; }

std::string layers(const Dimension&, const Layout& l) {
  const auto& counts = l.parallel.pp_layer_partition;
  if (counts.empty()) return "";
  if (counts.size() <= 4) return " (layers " + value_text(counts) + ")";
  return " (layers " + value_text(std::vector<int>{counts[0], counts[1]}) + "+...+" + std::to_string(counts.back()) +
         ")";
}

std::string deployments(const Dimension&, const Layout& l) {
  return l.replicas > 1 ? " x " + std::to_string(l.replicas) + " replicas" : "";
}

// Where a command needs a dimension though it is at its default, or does not though it is not.

bool always(const Layout&) { return true; }
bool experts_spread(const Layout& l) { return l.parallel.enable_expert_parallel; }
bool experts_exchanged(const Layout& l) {
  return l.parallel.enable_expert_parallel && l.parallel.data_parallel_size > 1;
}

// Values.

void up_to(int last, Values& out) {
  for (int i = 1; i <= last; ++i) out.emplace_back(i);
}

/// Not more ranks than heads, which must divide by them.
void tensor_sizes(const Space& s, const Layout&, const DimensionValue* pin, Values& out) {
  up_to(s.heads > 0 ? std::min(s.gpus, s.heads) : s.gpus, out);
  if (pin && std::get<int>(*pin) > static_cast<int>(out.size()) && std::get<int>(*pin) <= s.gpus) out.push_back(*pin);
}

void stages(const Space& s, const Layout& l, const DimensionValue*, Values& out) {
  const int ranks = l.parallel.tensor_parallel_size * l.parallel.prefill_context_parallel_size;
  for (int pp = 1; pp * ranks <= s.gpus && pp <= std::max(1, s.layers); ++pp)
    if (s.engines[static_cast<std::size_t>(pp * ranks)] > 0) out.emplace_back(pp);
}

void divisors_of_tp(const Space&, const Layout& l, const DimensionValue*, Values& out) {
  for (int dcp = 1; dcp <= l.parallel.tensor_parallel_size; ++dcp)
    if (l.parallel.tensor_parallel_size % dcp == 0) out.emplace_back(dcp);
}

void of_experts(const Space& s, const Layout&, const DimensionValue*, Values& out) {
  out.emplace_back(false);
  if (s.moe) out.emplace_back(true);
}

/// vLLM's default split (empty) and, where that gives every stage as many layers, one with a layer fewer on the last
/// stage, which also holds the head (VLLM_PP_LAYER_PARTITION). Where the layers do not divide, vLLM's own split already
/// spares the last stage (get_pp_indices: the remainder goes to the stages before it).
void partitions(const Space& s, const Layout& l, const DimensionValue* pin, Values& out) {
  const int stages = l.parallel.pipeline_parallel_size;
  out.emplace_back(std::vector<int>{});
  if (pin) {
    const auto& given = std::get<std::vector<int>>(*pin);
    const bool splits = std::accumulate(given.begin(), given.end(), 0) == s.layers;
    if (splits && given.size() == static_cast<std::size_t>(stages)) out.push_back(*pin);
    return;
  }
  if (stages < 2 || s.layers % stages != 0 || s.layers < 2 * stages) return;
  std::vector<int> lighter(static_cast<std::size_t>(stages), s.layers / stages);
  --lighter.back();
  ++lighter.front();
  out.emplace_back(std::move(lighter));
}

void placements(const Space&, const Layout& l, const DimensionValue* pin, Values& out) {
  out.emplace_back(to_string(ExpertPlacement::linear));
  if (l.parallel.enable_expert_parallel || pin) out.emplace_back(to_string(ExpertPlacement::round_robin));
}

int engines_of(const Space& s, const Layout& l) { return s.engines[static_cast<std::size_t>(l.parallel.world_size())]; }
bool spans_nodes(const Space& s, const Layout& l) {
  return s.spans_nodes[static_cast<std::size_t>(l.parallel.world_size())];
}

/// Dense engines that span nodes have no data parallel: their copies are replicas.
void data_ranks(const Space& s, const Layout& l, const DimensionValue*, Values& out) {
  up_to(!s.moe && spans_nodes(s, l) ? 1 : engines_of(s, l), out);
}

/// Copies of a dense model are data parallel ranks of one deployment; separate deployments only where that is not
/// possible, or asked for.
void replicas(const Space& s, const Layout& l, const DimensionValue* pin, Values& out) {
  const bool may = s.moe || spans_nodes(s, l) || s.allow_replicas || pin;
  up_to(may ? engines_of(s, l) / l.parallel.data_parallel_size : 1, out);
}

// Twins.

bool one_expert_rank(const Space&, const P& p) { return p.enable_expert_parallel && p.expert_parallel_size() == 1; }

/// A round_robin that vLLM silently turns into linear is the linear plan.
bool placed_as_linear(const Space& s, const P& p) {
  return effective_placement(p, s.num_expert_group, s.version) != p.expert_placement_strategy;
}

int expert_parallel_size(const Layout& l) { return l.parallel.expert_parallel_size(); }
int gpus(const Layout& l) { return l.gpus(); }

// clang-format off
constexpr Dimension kRows[] = {
    {.name = "tensor_parallel_size", .short_name = "tp", .label = "TP", .member = &P::tensor_parallel_size,
     .role = Role::shape, .rung = 0, .always = true, .multiplies = true, .text = first_factor, .needed = always, .values = tensor_sizes},
    {.name = "pipeline_parallel_size", .short_name = "pp", .label = "PP", .member = &P::pipeline_parallel_size,
     .role = Role::shape, .complexity = 32, .rung = 1, .always = true, .multiplies = true, .text = factor, .values = stages},
    {.name = "data_parallel_size", .short_name = "dp", .label = "DP", .member = &P::data_parallel_size,
     .role = Role::copies, .complexity = 1, .rung = 3, .always = true, .multiplies = true, .text = factor, .values = data_ranks},
    {.name = "prefill_context_parallel_size", .short_name = "pcp", .label = "PCP",
     .member = &P::prefill_context_parallel_size, .role = Role::given, .complexity = 128, .always = true,
     .multiplies = true, .text = factor},
    {.name = "decode_context_parallel_size", .short_name = "dcp", .label = "DCP",
     .member = &P::decode_context_parallel_size, .role = Role::shape, .complexity = 16, .rung = 6, .always = true,
     .text = within, .values = divisors_of_tp},
    {.name = "enable_expert_parallel", .short_name = "ep", .label = "expert parallel",
     .member = &P::enable_expert_parallel, .role = Role::shape, .complexity = 2, .rung = 4, .always = true,
     .text = expert_ranks, .values = of_experts, .twin = one_expert_rank},
    {.name = "expert_parallel_size", .member = expert_parallel_size, .role = Role::derived, .always = true,
     .text = nothing},
    {.name = "pp_layer_partition", .short_name = "layers", .label = "lighter last stage",
     .member = &P::pp_layer_partition, .role = Role::detail, .complexity = 64, .rung = 2, .text = layers,
     .of_deployment = false, .values = partitions, .variable = "VLLM_PP_LAYER_PARTITION"},
    {.name = "expert_placement_strategy", .short_name = "placement", .label = "placement",
     .member = &P::expert_placement_strategy, .role = Role::detail, .complexity = 8, .rung = 5, .always = true,
     .text = expert_word, .needed = experts_spread, .values = placements, .twin = placed_as_linear},
    {.name = "enable_eplb", .short_name = "eplb", .label = "EPLB", .member = &P::enable_eplb, .text = eplb},
    {.name = "num_redundant_experts", .short_name = "redundant", .label = "redundant experts",
     .member = &P::num_redundant_experts, .text = redundant},
    {.name = "all2all_backend", .short_name = "all2all", .label = "all2all backend", .member = &P::all2all_backend,
     .text = nothing, .needed = experts_exchanged},
    {.name = "replicas", .short_name = "replicas", .label = "replicas", .member = &Layout::replicas,
     .role = Role::copies, .complexity = 4, .rung = 7, .always = true, .multiplies = true, .text = deployments,
     .of_deployment = false, .values = replicas},
    {.name = "gpus", .member = gpus, .role = Role::total, .rung = 8, .always = true, .text = nothing},
};
// clang-format on

}  // namespace
}  // namespace dimension_rows

std::span<const Dimension> layout_fields() { return dimension_rows::kRows; }

}  // namespace shardwise
