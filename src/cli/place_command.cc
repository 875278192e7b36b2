#include "app/place.h"
#include "base/input_error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "config/text_source.h"
#include "config/write_file.h"
#include "report/report.h"

namespace shardwise {
namespace {

struct PlaceOptions {
  std::string load, model, out, vllm, backend = "allgather_reducescatter";
  std::vector<std::string> policies;
  int ranks = 0, nodes = 1, tensor_parallel = 1, redundant = 0, groups = 0;
  double min_gain = 0.03;
  bool json = false;
};

std::optional<int> groups_of(const Model& model) {
  for (const auto& layer : model.layers)
    if (const auto* moe = std::get_if<MoeFfn>(&layer.ffn)) return moe->n_group;
  return std::nullopt;
}

int run_place(const PlaceOptions& o) {
  PlaceRequest q;
  const auto file = read_expert_loads(read_file(o.load), o.load);
  q.load_name = o.load;
  q.loads = file.loads;
  q.num_expert_group = file.num_groups;
  if (!o.model.empty()) {
    const auto model = model_of(o.model);
    if (!model->is_moe())
      throw InputError("--model", 0, "", model->name + " has no experts", "place is for mixtures of experts");
    if (model->num_experts() != q.loads.experts)
      throw InputError(o.load, 0, "",
                       std::to_string(q.loads.experts) + " experts a layer, " + model->name + " has " +
                           std::to_string(model->num_experts()),
                       "count logical experts, without replicas and shared experts");
    if (!q.num_expert_group) q.num_expert_group = groups_of(*model);
  }
  if (o.groups > 0) q.num_expert_group = o.groups;
  q.ranks = o.ranks, q.nodes = o.nodes, q.tensor_parallel_size = o.tensor_parallel, q.redundant_experts = o.redundant;
  q.all2all_backend = o.backend;
  q.least_gain = o.min_gain;
  if (!o.vllm.empty()) q.vllm_version = parse_vllm_version(o.vllm);
  for (const auto& name : o.policies)
    for (const auto policy : {PlacePolicy::linear, PlacePolicy::round_robin, PlacePolicy::eplb, PlacePolicy::ours})
      if (name == to_string(policy)) q.policies.push_back(policy);
  const auto answer = place_experts(q);
  Style style;
  if (!o.json) {
    QuestionOptions terminal;
    style = terminal.style();
  }
  if (!o.out.empty() && answer.best) write_file(o.out, place_map_json(answer, answer.policies[*answer.best]));
  print(o.json ? place_json(answer) : place_text(answer, style), style);
  return answer.best ? kExitFound : kExitNo;
}

}  // namespace

Handler add_place(Command command, const std::vector<std::string>&) {
  auto o = std::make_shared<PlaceOptions>();
  command.option("load", o->load, "token counts per layer and expert: JSON or CSV (docs/place.md)").required();
  command.option("--ranks", o->ranks, "expert-parallel size: tensor x data parallel")
      .required()
      .between(1, kMostCopies);
  command.option("--nodes", o->nodes, "nodes that the ranks are on").between(1, kMostCopies);
  command.option("--tensor-parallel-size", o->tensor_parallel, "how much of --ranks is tensor parallel")
      .between(1, kMostCopies);
  command.option("--redundant-experts", o->redundant, "replicas beyond one an expert (EPLB)").between(0, kMostCopies);
  command.option("--policy", o->policies, "linear, round_robin, eplb (vLLM's) or ours; default: all, compared")
      .comma_separated()
      .one_of({"linear", "round_robin", "eplb", "ours"});
  command.option("--num-expert-group", o->groups, "groups of grouped top-k; default: the file's or the model's")
      .between(1, kMostCopies);
  command.option("--all2all-backend", o->backend, "as in vLLM; decides whether round_robin holds");
  command.option("--model", o->model, "checks the file against a model and takes its expert groups");
  command.option("--min-gain", o->min_gain, "share of the most loaded rank's work that rebalancing must take off")
      .between(0.0, 1.0)
      .shown_default("0.03");
  command.option("--vllm", o->vllm, "vLLM version").shown_default(to_string(kDefaultVllmVersion));
  command.option("--out", o->out, "write the best map here (JSON)");
  command.flag("--json", o->json, "machine-readable answer");
  command.footer(
      "shardwise place loads.json --ranks 32 --nodes 4 --redundant-experts 32\n"
      "Exit code 0: a placement stands; 1: vLLM refuses all that were asked for; 2: the question cannot be read.");
  return [o] { return run_place(*o); };
}

}  // namespace shardwise
