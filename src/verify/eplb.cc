// `verify eplb`: vLLM's expert load balancer reproduced, and ours beside it.
#include "parallel/eplb.h"

#include <algorithm>
#include <cmath>

#include "base/sha256.h"
#include "config/json.h"
#include "verify/topics.h"

namespace shardwise {
namespace {

/// The recording's portable generator.
struct SplitMix {
  std::uint64_t state;
  std::uint64_t next() {
    auto z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
};

ExpertLoads loads_of(const Json& input) {
  ExpertLoads loads;
  loads.layers = input.at("layers").get<int>();
  loads.experts = input.at("num_logical_experts").get<int>();
  const auto n = static_cast<std::size_t>(loads.layers) * static_cast<std::size_t>(loads.experts);
  loads.counts.reserve(n);
  if (const auto it = input.find("load"); it != input.end()) {
    for (const auto& row : *it)
      for (const auto& v : row) loads.counts.push_back(v.get<std::int64_t>());
    return loads;
  }
  const auto kind = input.at("load_kind").get<std::string>();
  SplitMix g{input.at("load_seed").get<std::uint64_t>()};
  for (std::size_t i = 0; i < n; ++i) {
    const auto u = g.next();
    const auto skew = static_cast<std::int64_t>(u % 4000);
    const auto value = kind == "splitmix"       ? static_cast<std::int64_t>(u % 10000000)
                       : kind == "splitmix_hot" ? 80000 + static_cast<std::int64_t>(u % 40000)
                                                : skew * skew;
    loads.counts.push_back(std::min<std::int64_t>(value, (1 << 24) - 1));
  }
  if (kind == "splitmix_hot")
    for (int l = 0; l < loads.layers; ++l)
      loads.counts[static_cast<std::size_t>(l) * static_cast<std::size_t>(loads.experts) +
                   g.next() % static_cast<std::uint64_t>(loads.experts)] =
          std::min<std::int64_t>(20000ll * loads.experts, 16000000);
  return loads;
}

std::string digest(const std::vector<int>& values) {
  std::string bytes;
  bytes.reserve(values.size() * 4);
  for (const int v : values)
    for (int shift = 0; shift < 32; shift += 8)
      bytes += static_cast<char>(static_cast<std::uint32_t>(v) >> shift & 255);
  return sha256_hex(bytes);
}

/// Recorded to nine decimals.
double nine(double value) { return std::round(value * 1e9) / 1e9; }

Json predict_eplb(const Json& input) {
  const auto loads = loads_of(input);
  const EplbShape shape{input.at("num_replicas").get<int>(), input.at("num_groups").get<int>(),
                        input.at("num_nodes").get<int>(), input.at("num_ranks").get<int>()};
  if (const auto refusal = eplb_refusal(loads.experts, shape))
    return {{"ok", false}, {"error", "AssertionError: assert " + *refusal}};
  std::vector<int> old;
  if (const auto it = input.find("old_global_expert_indices"); it != input.end())
    for (const auto& row : *it)
      for (const auto& v : row) old.push_back(v.get<int>());
  const auto map = eplb_vllm(loads, shape, old);
  const auto ours = eplb_ours(loads, shape, old);
  const auto balance = balancedness(loads, map, shape.ranks);
  const auto initial = eplb_initial(loads.layers, loads.experts, shape.replicas);
  std::vector<int> copies(loads.counts.size(), 0);
  for (std::size_t i = 0; i < map.size(); ++i)
    ++copies[i / static_cast<std::size_t>(shape.replicas) * static_cast<std::size_t>(loads.experts) +
             static_cast<std::size_t>(map[i])];
  Json out{{"ok", true}, {"balancedness_mean", nine(balance.mean)}, {"balancedness_min", nine(balance.least)}};
  out["initial_balancedness_mean"] = nine(balancedness(loads, initial, shape.ranks).mean);
  out["replica_counts_sha256"] = digest(copies);
  out["phy2log_stable_sha256"] = digest(map);
  out["ours_balancedness_mean"] = nine(balancedness(loads, ours, shape.ranks).mean);
  out["balancedness_bound"] = nine(balancedness_bound(loads, shape));
  return out;
}

}  // namespace

VerifyTopic eplb_topic() {
  return {"eplb",
          "vLLM's expert load balancer (eplb.jsonl)",
          {"error", "tie_sensitive", "phy2log", "phy2log_sha256", "phy2log_stable", "python_ms"},
          [](const std::string&, const Json& input, VerifyModels&) { return predict_eplb(input); }};
}

}  // namespace shardwise
