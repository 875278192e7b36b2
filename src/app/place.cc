#include "app/place.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <numeric>

#include "base/input_error.h"
#include "base/text.h"
#include "config/csv.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "config/quantity.h"
#include "parallel/experts.h"

namespace shardwise {
namespace {

using Index = std::size_t;
Index at(int i) { return static_cast<Index>(i); }

constexpr std::int64_t kLargestCount = std::int64_t{1} << 48;  // sums over layers and experts stay exact
constexpr const char* kCountHint = "token counts are whole numbers from 0 on";

std::int64_t count_of(const Json& v, const std::string& file, const std::string& path) {
  if (!v.is_number()) throw InputError(file, 0, path, "not a number", kCountHint);
  const double value = v.get<double>();
  if (!(value >= 0 && value <= static_cast<double>(kLargestCount)) ||
      value != static_cast<double>(static_cast<std::int64_t>(value)))
    throw InputError(file, 0, path, "not a token count: " + v.dump(), kCountHint);
  return static_cast<std::int64_t>(value);
}

std::optional<int> positive(const Json& j, const char* name, const std::string& file) {
  const Json* value = field_at(j, name);
  if (!value) return std::nullopt;
  if (!value->is_number_integer() || value->get<std::int64_t>() < 1 || value->get<std::int64_t>() > 1000000)
    throw InputError(file, 0, name, "not a positive whole number: " + value->dump());
  return value->get<int>();
}

ExpertLoadFile from_json(std::string_view text, const std::string& file) {
  const Json j = parse_json(text, file);
  ExpertLoadFile out;
  if (!j.is_array() && !j.contains("load"))
    throw InputError(file, 0, "load", "missing",
                     "token counts, one list of experts a layer: {\"load\": [[12, 7, ...], ...]}");
  const Json& rows = j.is_array() ? j : j.at("load");
  if (!rows.is_array() || rows.empty() || !rows.front().is_array() || rows.front().empty())
    throw InputError(file, 0, "load", "not a list of layers, each a list of experts",
                     "{\"load\": [[12, 7, ...], ...]}");
  out.loads.layers = static_cast<int>(rows.size());
  out.loads.experts = static_cast<int>(rows.front().size());
  for (Index l = 0; l < rows.size(); ++l) {
    const auto path = fmt::format("load[{}]", l);
    if (!rows[l].is_array()) throw InputError(file, 0, path, "not a list of token counts");
    if (rows[l].size() != rows.front().size())
      throw InputError(file, 0, path, fmt::format("{} experts, load[0] has {}", rows[l].size(), rows.front().size()),
                       "every layer lists all logical experts");
    for (Index e = 0; e < rows[l].size(); ++e)
      out.loads.counts.push_back(count_of(rows[l][e], file, fmt::format("{}[{}]", path, e)));
  }
  if (j.is_array()) return out;
  out.num_groups = positive(j, "num_groups", file);
  if (const auto n = positive(j, "num_logical_experts", file); n && *n != out.loads.experts)
    throw InputError(file, 0, "num_logical_experts",
                     fmt::format("{}, but the rows of load have {}", *n, out.loads.experts),
                     "count logical experts, not their replicas");
  return out;
}

/// nullopt: a header, whose first cell is a word.
std::optional<std::vector<std::int64_t>> counts_of(const CsvRow& row, bool may_be_header, const std::string& file) {
  std::vector<std::int64_t> counts;
  for (const auto& raw : row.cells) {
    const auto cell = trim(raw);
    std::int64_t value = -1;
    if (!parse_number(cell, value) || value < 0 || value > kLargestCount) {
      const bool word = !cell.empty() && !std::isdigit(static_cast<unsigned char>(cell.front())) && cell.front() != '-';
      if (may_be_header && counts.empty() && word) return std::nullopt;
      throw InputError(file, row.line, fmt::format("column {}", counts.size() + 1),
                       "not a token count: '" + std::string(cell) + "'", kCountHint);
    }
    counts.push_back(value);
  }
  return counts;
}

ExpertLoadFile from_csv(std::string_view text, const std::string& file) {
  ExpertLoadFile out;
  auto& loads = out.loads;
  for (const auto& row : csv_rows(text, file)) {
    const auto counts = counts_of(row, loads.layers == 0, file);
    if (!counts) continue;
    if (loads.layers == 0) loads.experts = static_cast<int>(counts->size());
    if (static_cast<int>(counts->size()) != loads.experts)
      throw InputError(file, row.line, "",
                       fmt::format("{} experts, the first layer has {}", counts->size(), loads.experts),
                       "every row lists all logical experts of one layer");
    ++loads.layers;
    loads.counts.insert(loads.counts.end(), counts->begin(), counts->end());
  }
  if (loads.layers == 0)
    throw InputError(file, 0, "", "no loads", "one row of token counts a layer, or JSON with \"load\"");
  return out;
}

/// Fills what follows from map and slots_of_rank.
void measure(const ExpertLoads& loads, PlacedPolicy& p) {
  const Index ranks = p.slots_of_rank.size(), physical = p.map.size() / at(loads.layers);
  p.rank_load.assign(ranks, 0);
  p.worst_layer.assign(ranks, 0);
  p.balance = {0, 1};
  std::vector<double> load(ranks);
  for (int l = 0; l < loads.layers; ++l) {
    const auto counts = loads.layer(l);
    const int* row = p.map.data() + at(l) * physical;
    std::vector<int> copies(at(loads.experts), 0);
    for (Index i = 0; i < physical; ++i) ++copies[at(row[i])];
    double total = 0, most = 0;
    for (Index r = 0, slot = 0; r < ranks; ++r) {
      load[r] = 0;
      for (int k = 0; k < p.slots_of_rank[r]; ++k, ++slot)
        load[r] += static_cast<double>(counts[at(row[slot])]) / copies[at(row[slot])];
      total += load[r];
      most = std::max(most, load[r]);
      p.rank_load[r] += load[r];
    }
    const double mean = total / static_cast<double>(ranks), value = most > 0 ? mean / most : 1;
    for (Index r = 0; r < ranks; ++r) p.worst_layer[r] = std::max(p.worst_layer[r], mean > 0 ? load[r] / mean : 1);
    p.critical += most;
    p.balance.mean += value / loads.layers;
    p.balance.least = std::min(p.balance.least, value);
  }
}

/// linear or round_robin, as vLLM carries it out.
PlacedPolicy kept(const PlaceRequest& q, PlacePolicy policy) {
  PlacedPolicy out;
  out.asked = out.effective = policy;
  ParallelConfig p;
  p.tensor_parallel_size = q.tensor_parallel_size;
  p.data_parallel_size = q.ranks / q.tensor_parallel_size;
  p.enable_expert_parallel = true;
  p.enable_eplb = q.redundant_experts > 0;
  p.num_redundant_experts = q.redundant_experts;
  p.all2all_backend = q.all2all_backend;
  p.expert_placement_strategy =
      policy == PlacePolicy::round_robin ? ExpertPlacement::round_robin : ExpertPlacement::linear;
  const auto made = expert_map(p, q.loads.experts, q.num_expert_group, q.vllm_version);
  if (const auto* error = std::get_if<ExpertMapError>(&made)) {
    out.refusal = error->error + ": " + error->message;
    return out;
  }
  const auto& m = std::get<ExpertMap>(made);
  out.effective = m.effective == ExpertPlacement::round_robin ? PlacePolicy::round_robin : PlacePolicy::linear;
  if (policy == PlacePolicy::round_robin && out.effective == PlacePolicy::linear) {
    if (q.ranks == 1)
      out.why = "there is one rank";
    else if (!q.num_expert_group || *q.num_expert_group <= 1)
      out.why = "the experts are not grouped";
    else if (q.redundant_experts > 0)
      out.why = "there are redundant experts";
    else
      out.why = m.all2all_backend + " does not route by table";
  }
  std::vector<int> row;
  for (const auto& rank : m.ranks) {
    out.slots_of_rank.push_back(rank.experts.count);
    for (int k = 0; k < rank.experts.count; ++k) {
      const int physical = rank.experts.first + k * rank.experts.step;
      row.push_back(physical < q.loads.experts ? physical : (physical - q.loads.experts) % q.loads.experts);
    }
  }
  for (int l = 0; l < q.loads.layers; ++l) out.map.insert(out.map.end(), row.begin(), row.end());
  measure(q.loads, out);
  return out;
}

PlacedPolicy balanced(const PlaceRequest& q, const EplbShape& shape, PlacePolicy policy) {
  PlacedPolicy out;
  out.asked = out.effective = policy;
  if (shape.replicas % q.ranks != 0)
    out.refusal = fmt::format(
        "EPLB needs as many experts on every rank: {} experts and {} redundant ones over {} ranks; {} redundant ones "
        "would do",
        q.loads.experts, q.redundant_experts, q.ranks, q.redundant_experts + (q.ranks - shape.replicas % q.ranks));
  else if (const auto assertion = eplb_refusal(q.loads.experts, shape))
    out.refusal = "AssertionError: " + *assertion;
  if (out.refusal) return out;
  const auto start = eplb_initial(q.loads.layers, q.loads.experts, shape.replicas);
  out.map = policy == PlacePolicy::eplb ? eplb_vllm(q.loads, shape, start) : eplb_ours(q.loads, shape, start);
  out.slots_of_rank.assign(at(q.ranks), shape.replicas / q.ranks);
  measure(q.loads, out);
  return out;
}

}  // namespace

std::string to_string(PlacePolicy policy) {
  switch (policy) {
    case PlacePolicy::linear:
      return "linear";
    case PlacePolicy::round_robin:
      return "round_robin";
    case PlacePolicy::eplb:
      return "eplb";
    case PlacePolicy::ours:
      return "ours";
  }
  return "";
}

ExpertLoadFile read_expert_loads(std::string_view text, const std::string& file) {
  const auto start = trim(text);
  return !start.empty() && (start.front() == '{' || start.front() == '[') ? from_json(text, file)
                                                                          : from_csv(text, file);
}

PlaceAnswer place_experts(const PlaceRequest& request) {
  PlaceAnswer a;
  a.request = request;
  auto& q = a.request;
  if (q.tensor_parallel_size < 1 || q.ranks < 1 || q.ranks % q.tensor_parallel_size != 0)
    throw InputError("--tensor-parallel-size", 0, "",
                     fmt::format("{} does not divide {} ranks", q.tensor_parallel_size, q.ranks),
                     "expert parallel spans tensor x data parallel");
  if (q.num_expert_group && q.loads.experts % *q.num_expert_group != 0)
    throw InputError("--num-expert-group", 0, "",
                     fmt::format("{} groups do not divide {} experts", *q.num_expert_group, q.loads.experts),
                     "leave it out for experts without groups");
  a.num_physical = q.loads.experts + q.redundant_experts;
  const EplbShape shape{a.num_physical, q.num_expert_group.value_or(1), q.ranks % q.nodes == 0 ? q.nodes : 1, q.ranks};
  a.before = kept(q, PlacePolicy::linear);
  if (q.policies.empty())
    q.policies = {PlacePolicy::linear, PlacePolicy::round_robin, PlacePolicy::eplb, PlacePolicy::ours};
  for (const auto policy : q.policies)
    a.policies.push_back(policy == PlacePolicy::linear || policy == PlacePolicy::round_robin
                             ? kept(q, policy)
                             : balanced(q, shape, policy));
  for (Index i = 0; i < a.policies.size(); ++i)
    if (!a.policies[i].refusal && (!a.best || a.policies[i].critical < a.policies[*a.best].critical * (1 - 1e-9)))
      a.best = i;
  if (a.num_physical % q.ranks == 0 && !eplb_refusal(q.loads.experts, shape))
    a.bound = balancedness_bound(q.loads, shape);
  if (a.best && !a.before.refusal && a.before.critical > 0)
    a.gain = 1 - a.policies[*a.best].critical / a.before.critical;
  a.worth_it = a.gain >= q.least_gain;
  return a;
}

}  // namespace shardwise
