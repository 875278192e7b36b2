// `verify ranks` and `verify experts`: process groups, workers and expert maps against recorded runs of vLLM.
#include "config/json.h"
#include "config/json_fields.h"
#include "parallel/experts.h"
#include "parallel/ranks.h"
#include "verify/recorded.h"
#include "verify/topics.h"

namespace shardwise {
namespace {

Json predict_groups(const Json& input) {
  const auto made = rank_groups(recorded_parallel(input), input.at("is_moe").get<bool>(), recorded_version(input));
  Json groups = Json::object();
  for (const auto& g : made.groups) groups[g.name] = g.groups;
  return {{"ok", true}, {"torch_world_size", made.torch_world_size}, {"groups", std::move(groups)}};
}

Json predict_nodes(const Json& input, VerifyModels& models) {
  const auto version = recorded_version(input);
  const auto facts = models.facts(input.at("model").get<std::string>(), version);
  const auto node = recorded_node(input.at("node"));
  Json nodes = Json::array();
  int index = 0;
  for (const auto& command : input.at("commands")) {
    const auto result = resolve(read_engine_args(command, "input.commands"), *facts, node, {}, version);
    Json out{{"node", index++}};
    if (const auto* refusal = std::get_if<Refusal>(&result)) {
      out["accept"] = false;
      out["rule"] = refusal->rule->id;
      out["stage"] = refusal->rule->stage();
      out["where"] = refusal->rule->where;
      nodes.push_back(std::move(out));
      continue;
    }
    const auto& r = std::get<Resolved>(result);
    const auto& launch = r.launch;
    out["accept"] = true;
    out["data_parallel_size_local"] = r.data_parallel_size_local;
    out["data_parallel_rank"] = r.data_parallel_rank;
    out["executor"] = launch.executor ? Json(*launch.executor) : Json(nullptr);
    out["engine_core"] = launch.engine_core ? Json(*launch.engine_core) : Json(nullptr);
    out["headless_workers_only"] = launch.headless_workers_only;
    out["api_server_count"] = launch.api_server_count ? Json(*launch.api_server_count) : Json(nullptr);
    out["dp_coordinator"] = launch.dp_coordinator;
    out["nnodes_within_dp"] = r.nnodes_within_dp;
    out["node_rank_within_dp"] = r.node_rank_within_dp;
    out["data_parallel_external_lb"] = r.data_parallel_external_lb;
    out["data_parallel_hybrid_lb"] = r.data_parallel_hybrid_lb;
    Json workers = Json::array();
    for (const auto& w : worker_ranks(r)) workers.push_back({w.dp_rank, w.device, w.global_rank, w.torch_world_size});
    out["workers"] = std::move(workers);
    nodes.push_back(std::move(out));
  }
  return {{"nodes", std::move(nodes)}};
}

Json predict_experts(const Json& input) {
  const auto& group = input.at("num_expert_group");
  const auto made =
      expert_map(recorded_parallel(input), input.at("num_experts").get<int>(),
                 group.is_null() ? std::nullopt : std::optional(group.get<int>()), recorded_version(input));
  if (const auto* error = std::get_if<ExpertMapError>(&made))
    return {{"ok", false}, {"error", error->error}, {"message", error->message}};
  const auto& m = std::get<ExpertMap>(made);
  Json out{{"ok", true}, {"use_ep", m.use_ep}, {"ep_size", m.ep_size}, {"moe_tp_size", m.moe_tp_size}};
  out["effective_strategy"] = m.effective == ExpertPlacement::round_robin ? "round_robin" : "linear";
  out["effective_all2all_backend"] = m.all2all_backend;
  out["use_all2all_kernels"] = m.use_all2all_kernels;
  out["sequence_parallel_moe"] = m.sequence_parallel;
  out["global_num_experts"] = m.num_physical;
  out["routing_tables"] = m.routing_tables;
  if (m.routing_tables) out["global_to_physical"] = m.global_to_physical;
  Json ranks = Json::array();
  int index = 0;
  for (const auto& r : m.ranks) {
    Json row{{"rank", index++},
             {"ep_rank", r.ep_rank},
             {"moe_tp_rank", r.moe_tp_rank},
             {"local_num_experts", r.experts.count}};
    row["experts"] = r.experts.count ? Json{r.experts.first, r.experts.step, r.experts.count} : Json::array();
    ranks.push_back(std::move(row));
  }
  out["ranks"] = std::move(ranks);
  return out;
}

}  // namespace

VerifyTopic ranks_topic() {
  return {"ranks",
          "process groups, nodes and GPUs of every rank (groups.jsonl, nodes.jsonl)",
          {},
          [](const std::string&, const Json& input, VerifyModels& models) {
            return input.contains("commands") ? predict_nodes(input, models) : predict_groups(input);
          }};
}

VerifyTopic experts_topic() {
  return {"experts",
          "which expert lives on which rank (experts.jsonl)",
          {},
          [](const std::string&, const Json& input, VerifyModels&) { return predict_experts(input); }};
}

}  // namespace shardwise
