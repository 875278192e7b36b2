#include "app/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "app/explain.h"
#include "app/memory_answer.h"
#include "app/simulate_plan.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "hardware/generations.h"
#include "memory/what_if.h"
#include "model/load.h"
#include "model/requantise.h"
#include "parallel/checked_versions.h"
#include "parallel/not_modelled.h"
#include "parallel/resolve.h"

namespace shardwise {
namespace {

constexpr std::size_t kFinalists = 10;

Pins pins_of(const PlanRequest& request) {
  expect_plausible(request.pinned);
  Pins pins = request.pins;
  for (const auto* d : dimensions())
    if (auto given = argument(request.pinned, *d)) pins.try_emplace(d->name, std::move(*given));
  const Json eplb = Json::parse(request.pinned.eplb_config.value_or("{}"), nullptr, false);
  if (eplb.is_object() && eplb.contains("num_redundant_experts"))
    pins.try_emplace("num_redundant_experts", int_at(eplb, "num_redundant_experts").value_or(0));
  return pins;
}

/// The pinned arguments that hold for every layout and node: what every layout is resolved from.
EngineArgs engine_only(const EngineArgs& args) { return without(without(args, FlagPart::layout), FlagPart::node); }

/// Engine arguments that describe one layout for vLLM's own checks.
EngineArgs layout_args(const PlanRequest& request, const Layout& layout) {
  EngineArgs args = without(request.pinned, FlagPart::node);
  lay_over(args, layout);
  return args;
}

/// What was given and is in no command as it was given; empty if all is.
std::string laid_over_text(const PlanRequest& request, const std::vector<LaunchCommand>& commands) {
  EngineArgs given = request.pinned;
  if (given.model == request.model_spec) given.model.reset();
  std::vector<std::string> texts;
  for (const auto& flag : laid_over(given, commands, request.vllm_version)) texts.push_back(join(to_argv(flag), " "));
  return join(texts, ", ");
}

/// The layout as far as it is pinned.
Layout pinned_layout(const Pins& pins) {
  Layout layout;
  for (const auto& [name, pin] : pins) {
    const auto& d = *find_dimension(name);
    if (std::holds_alternative<int>(pin) && !read_value(d, value_text(pin)))
      throw InputError(flag_of(d), 0, "", value_text(pin) + " is no size", "write 1 or more");
    set_value(d, layout, pin);
  }
  const auto& p = layout.parallel;
  double gpus = layout.replicas;
  for (const int size :
       {p.tensor_parallel_size, p.pipeline_parallel_size, p.prefill_context_parallel_size, p.data_parallel_size})
    gpus *= size;
  if (gpus > static_cast<double>(kMostGpus))
    throw InputError("plan", 0, "", "the pinned sizes multiply to " + number_text(gpus) + " GPUs",
                     "at most " + std::to_string(kMostGpus));
  return layout;
}

void check_pins(const PlanRequest& request, const std::vector<NodeGroup>& groups) {
  int budget = 0;
  for (const auto& g : groups) budget = std::max(budget, g.total());
  if (request.max_gpus && *request.max_gpus < 1)
    throw InputError("--max-gpus", 0, "", "a plan needs at least 1 GPU", "write 1 or more");
  if (budget == 0) throw InputError("--gpus", 0, "", "no GPU is free", "take fewer with --gpus-taken");
  const Layout pinned = pinned_layout(pins_of(request));
  if (pinned.gpus() > budget)
    throw InputError(
        "plan", 0, "",
        fmt::format("the pinned sizes take {} GPUs ({}), {} are on offer", pinned.gpus(), gpu_factors(pinned), budget),
        "pin fewer or name more GPUs");
  if (request.workload.concurrency && request.workload.request_rate)
    throw InputError("plan", 0, "", "--concurrency and --rate contradict each other", "a load is one or the other");
  if (pinned.parallel.enable_expert_parallel && !request.model->is_moe())
    throw InputError("--enable-expert-parallel", 0, "",
                     request.model->name + " has no experts: vLLM refuses expert parallel for dense models",
                     "leave it out");
}

/// "tp, pp, dp or replicas": what can be asked about.
std::string dimension_names() {
  std::vector<std::string> names;
  for (const auto* d : dimensions()) names.emplace_back(d->short_name);
  const std::string last = names.back();
  names.pop_back();
  return join(names, ", ") + " or " + last;
}

/// "tp=8,pp=1" over what is pinned already.
void pin(Pins& pins, const std::string& question) {
  for (const auto& part : split(question, ',')) {
    const auto at = part.find('=');
    const std::string name = to_lower(trim(std::string_view(part).substr(0, at))),
                      text = at == std::string::npos ? "" : std::string(trim(std::string_view(part).substr(at + 1)));
    const Dimension* d = find_dimension(name);
    if (!d) throw InputError("--why-not", 0, "", "unknown part '" + name + "'", dimension_names() + ", e.g. tp=8,pp=1");
    auto value = read_value(*d, text);
    if (!value)
      throw InputError("--why-not", 0, name, "'" + text + "' is no " + (words_of(*d).empty() ? "size" : name),
                       words_of(*d).empty() ? "e.g. --why-not tp=8,pp=1" : join(words_of(*d), " or "));
    pins.insert_or_assign(d->name, std::move(*value));
  }
  (void)pinned_layout(pins);
}

/// The repository's own code is run where nothing else reads its configuration, or its tokenizer.
void trust_own_code(PlanAnswer& answer) {
  auto& request = answer.request;
  if (request.pinned.trust_remote_code) return;
  if (!model_facts(*request.model, request.pinned, request.vllm_version).code_of_its_own) return;
  request.pinned.trust_remote_code = true;
  answer.assumptions.push_back({"trust_remote_code", "true",
                                "config.json names code of the repository (auto_map), and Transformers " +
                                    to_string(transformers_of(request.vllm_version)) + " does not know its type"});
}

}  // namespace

std::shared_ptr<const Model> launched_model(const std::shared_ptr<const Model>& model, const EngineArgs& args,
                                            VllmVersion version) {
  auto out = model;
  if (args.hf_overrides && !args.hf_overrides->empty())
    out = std::make_shared<const Model>(with_overrides(*out, *args.hf_overrides));
  if (args.quantization)
    if (auto quantised = quantised_online(*out, to_lower(*args.quantization), version))
      out = std::make_shared<const Model>(std::move(*quantised));
  return out;
}

namespace {

/// vLLM's rules of LoRA for one layout.
std::optional<Refusal> adapters_refuse(EngineArgs args, const ModelFacts& facts, const ParallelConfig& p,
                                       NodeFacts node, VllmVersion version) {
  args.tensor_parallel_size = p.tensor_parallel_size, args.pipeline_parallel_size = p.pipeline_parallel_size;
  args.data_parallel_size = p.data_parallel_size, args.enable_expert_parallel = p.enable_expert_parallel;
  args.prefill_context_parallel_size = p.prefill_context_parallel_size;
  args.all2all_backend = p.all2all_backend;
  node.gpus = std::max(node.gpus, p.gpus());
  const auto resolution = resolve(args, facts, node, {}, version);
  const auto* refusal = std::get_if<Refusal>(&resolution);
  return refusal && refusal->rule->id.starts_with("lora_") ? std::optional(*refusal) : std::nullopt;
}

/// vLLM starts only where its share of the whole memory is free: what others hold leaves a smaller one.
void lower_utilization(const PlanRequest& request, const NodeGroup& group, EngineConfig& engine) {
  const auto& gpu = group.cluster.first_gpu();
  if (gpu.memory_taken.value == 0 || request.pinned.gpu_memory_utilization || engine.kv_cache_memory_bytes) return;
  EngineConfig several = engine;  // with communicators
  several.parallel.tensor_parallel_size = std::min(2, group.total());
  engine.gpu_memory_utilization =
      std::min(engine.gpu_memory_utilization, recommended_gpu_memory_utilization(*request.model, several, gpu));
}

}  // namespace

std::size_t simulated_finalists(const PlanRequest& request, const SearchResult& screened) {
  const auto first = screened.plans.begin(),
             last = first + static_cast<std::ptrdiff_t>(std::min(screened.plans.size(), kFinalists));
  return request.simulate_finalists.value_or(std::all_of(first, last, worth_simulating) ? kFinalists : 0);
}

namespace {

/// The engine of every group, as vLLM resolves it before there is a layout. Throws InputError where vLLM refuses
/// whatever the layout.
void resolve_engines(const PlanRequest& request, const ModelFacts& facts, SearchRequest& s) {
  const auto version = request.vllm_version;
  if (const auto refused = check_model(facts, version, request.pinned.trust_remote_code.value_or(false)))
    throw InputError(request.model_spec, 0, "", refused->message,
                     "vLLM " + to_string(version) + " cannot read this model");
  for (const auto& group : s.groups) {
    const NodeFacts node = node_facts(group.cluster.first_gpu(), group.cluster.nodes.front().gpus);
    const auto resolution = resolve(engine_only(request.pinned), facts, node, {}, version);
    if (const auto* refusal = std::get_if<Refusal>(&resolution))
      throw InputError(
          "vllm serve", 0, "",
          "vLLM " + to_string(version) + " refuses this (" + std::string(refusal->rule->id) + "): " + refusal->message,
          std::string(refusal->rule->instead));
    s.base.push_back(engine_config(std::get<Resolved>(resolution)));
    lower_utilization(request, group, s.base.back());
  }
}

LayoutRules layout_rules(const PlanRequest& request, std::shared_ptr<const ModelFacts> facts,
                         const std::vector<NodeGroup>& groups) {
  std::map<int, NodeFacts> nodes;  // by the first node of a group
  for (const auto& group : groups)
    nodes.emplace(group.node_index.front(), node_facts(group.cluster.first_gpu(), group.cluster.nodes.front().gpus));
  return [facts = std::move(facts), version = request.vllm_version, nodes = std::move(nodes),
          pinned = engine_only(request.pinned)](const NodeGroup& group, const ParallelConfig& p) {
    const auto& node = nodes.at(group.node_index.front());
    auto refusal = check_layout(*facts, p, version, &node);
    // Adapters ask for more of a layout than the model does.
    return refusal || !pinned.enable_lora ? refusal : adapters_refuse(pinned, *facts, p, node, version);
  };
}

/// The tokens that must fit: of the longest request, or the user's minimum.
std::int64_t needed_model_len(const PlanRequest& request, const EngineConfig& base) {
  const auto longest = request.workload.isl.max() + request.workload.osl.max();
  const auto least = request.min_model_len.value_or(0), needed = std::max(longest, least);
  if (needed > base.max_model_len)
    throw InputError(least > longest ? "--min-model-len" : "--isl/--osl", 0, "",
                     fmt::format("{} tokens a request are needed, {} takes at most {}", with_commas(needed),
                                 request.model->name, with_commas(base.max_model_len)),
                     "ask for shorter requests, or raise --max-model-len where the model allows it");
  return needed;
}

/// What nobody gave.
void assume(const PlanRequest& request, const SearchRequest& s, std::vector<Assumption>& assumptions) {
  const auto& base = s.base.front();
  const auto& node = s.groups.front().cluster.nodes.front();
  const auto taken = s.groups.front().cluster.first_gpu().memory_taken;
  const auto& pinned = request.pinned;
  const auto add = [&](const char* name, std::string value, std::string why) {
    assumptions.push_back({name, std::move(value), std::move(why)});
  };
  const auto otherwise = [](bool given, const char* why) { return given ? "given" : why; };
  add("vllm", to_string(request.vllm_version), "rules, defaults and memory of this version");
  add("gpu_memory_utilization", number_text(base.gpu_memory_utilization),
      pinned.gpu_memory_utilization ? "given"
      : taken.value > 0             ? fmt::format("what is free beside {:.1f} GiB of others", to_gib(taken))
                                    : "vLLM's default");
  add("max_num_batched_tokens", std::to_string(base.max_num_batched_tokens),
      otherwise(pinned.max_num_batched_tokens.has_value(), "vLLM's default on this GPU"));
  add("max_num_seqs", std::to_string(base.max_num_seqs),
      otherwise(pinned.max_num_seqs.has_value(), "vLLM's default on this GPU"));
  add("max_model_len", std::to_string(base.max_model_len),
      otherwise(s.pinned_model_len, "the model's own; lowered where it does not fit"));
  add("kv_cache_dtype", base.kv_cache_dtype,
      otherwise(pinned.kv_cache_dtype.has_value(), "vLLM's default: as the checkpoint says"));
  for (const auto& d : request.cluster.defaults) assumptions.push_back({d.name, d.value, d.reason});
  if (request.goal == Goal::cost && !node.price_per_gpu_hour)
    add("price", "1 per GPU-hour", "no price given: cost is in GPU-hours");
}

}  // namespace

SearchRequest search_request(const PlanRequest& request, std::vector<Assumption>* assumptions) {
  SearchRequest s;
  s.model = request.model.get();
  s.groups = node_groups(request.cluster, request.gpus_taken);
  std::erase_if(s.groups, [](const NodeGroup& g) { return g.total() == 0; });
  check_pins(request, s.groups);
  s.workload = request.workload;
  s.goal = request.goal;
  s.pins = pins_of(request);
  s.max_gpus = request.max_gpus;
  s.max_layouts = static_cast<std::size_t>(request.budget * kMaxLayouts);
  s.fewest_gpus = request.fewest_gpus;
  s.allow_replicas = request.allow_replicas;
  s.threads = request.threads;
  if (request.calibration)
    s.constants =
        std::make_shared<const CostConstants>(constants_of(request.calibration.get(), request.model->shape_name()));
  auto facts = std::make_shared<const ModelFacts>(model_facts(*request.model, request.pinned, request.vllm_version));
  resolve_engines(request, *facts, s);
  s.num_expert_group = facts->num_expert_group;
  s.rules = layout_rules(request, std::move(facts), s.groups);
  s.pinned_max_num_seqs = request.pinned.max_num_seqs.has_value();
  s.pinned_model_len = request.pinned.max_model_len.has_value() && *request.pinned.max_model_len > 0;
  s.needed_model_len = needed_model_len(request, s.base.front());
  if (assumptions) assume(request, s, *assumptions);
  return s;
}

namespace {

/// vLLM's own checks, all of them, on the plans that people will look at: what it refuses is rejected.
void reject_refused(const PlanRequest& request, const SearchRequest& s, SearchResult& found) {
  constexpr std::size_t kChecked = 5;
  const auto facts = model_facts(*request.model, request.pinned, request.vllm_version);
  auto& plans = found.plans;
  for (std::size_t i = 0; i < plans.size() && i < kChecked;) {
    const auto& layout = plans[i].layout;
    const auto& group = s.groups[static_cast<std::size_t>(layout.group)];
    auto args = layout_args(request, layout);
    args.max_model_len = plans[i].engine.max_model_len;
    // Over several nodes each has a command of its own; one node that holds all GPUs stands for them here.
    const auto node = node_facts(group.cluster.first_gpu(), std::max(group.total(), layout.gpus()));
    const auto resolution = resolve(args, facts, node, {}, request.vllm_version);
    if (const auto* refusal = std::get_if<Refusal>(&resolution)) {
      found.rejected.push_back({refusal->rule, 1, to_string(layout) + ": " + refusal->message});
      plans.erase(plans.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
}

/// What to know of how the model was read and the cluster taken.
void note_question(PlanAnswer& answer, const SearchRequest& s) {
  const Model& model = *answer.request.model;
  if (model.generic)
    answer.warnings.push_back(
        fmt::format("architecture '{}' is not known: planned from its fields ({}){}",
                    model.architectures.empty() ? "?" : model.architectures.front(), join(model.fields_used, ", "),
                    model.fields_ignored.empty() ? "" : "; ignored: " + join(model.fields_ignored, ", ")));
  if (s.groups.size() > 1)
    answer.warnings.push_back("mixed nodes: a plan uses one GPU kind; the other nodes stay free");
}

void note_winner(PlanAnswer& answer, const SearchRequest& s) {
  const auto& winner = answer.search.plans.front();
  if (auto note = host_memory_note(winner.memory)) answer.warnings.push_back(std::move(*note));
  if (winner.engine.parallel.expert_placement_strategy != winner.engine.effective_placement)
    answer.warnings.push_back("round_robin is asked for, but vLLM falls back to linear here (its log has a warning)");
  if (winner.memory.probability_fits < 0.95)
    answer.warnings.push_back(fmt::format("starts with a probability of {:.0f} %: the memory margin is thin",
                                          100 * winner.memory.probability_fits));
  if (winner.engine.max_num_seqs < s.base[static_cast<std::size_t>(winner.layout.group)].max_num_seqs)
    for (auto& assumed : answer.assumptions)
      if (assumed.name == "max_num_seqs")
        assumed = {"max_num_seqs", std::to_string(winner.engine.max_num_seqs),
                   "the recurrent states for which the cache has room for certain"};
  if (const auto flags = laid_over_text(answer.request, answer.launch); !flags.empty())
    answer.warnings.push_back("not as given, the plan decides: " + flags);
}

}  // namespace

std::vector<std::string> notes_of(const EngineArgs& args, const Cluster& cluster, VllmVersion version) {
  std::vector<std::string> notes;
  const auto not_modelled = not_modelled_note(args);
  for (const auto& note : {unchecked_version_note(version), platform_note(cluster.first_gpu()),
                           not_modelled.empty() ? std::nullopt : std::optional(not_modelled),
                           unknown_arguments_note(args, version), ray_note(args)})
    if (note) notes.push_back(*note);
  return notes;
}

PlanAnswer make_plan(const PlanRequest& given) {
  PlanAnswer answer;
  answer.request = given;
  answer.request.model = launched_model(given.model, given.pinned, given.vllm_version);
  const PlanRequest& request = answer.request;
  answer.warnings = notes_of(given.pinned, given.cluster, given.vllm_version);
  trust_own_code(answer);
  const auto s = search_request(request, &answer.assumptions);
  answer.search = search(s);
  // The closed form screens, the simulator decides.
  const std::size_t finalists = simulated_finalists(request, answer.search);
  answer.simulated = finalists > 0;
  if (answer.simulated) decide_by_simulation(request, s, answer.search, finalists);
  reject_refused(request, s, answer.search);
  note_question(answer, s);
  if (!answer.found()) {
    explain_nothing(answer, s);
    return answer;
  }
  answer.launch = launch_plan(request, answer.search.plans.front());
  note_winner(answer, s);
  if (request.explain) answer.explanation = explain(answer, s);
  return answer;
}

void expect_why_not(const std::string& question) {
  Pins ignored;
  pin(ignored, question);
}

WhyNot why_not(const PlanAnswer& answer, const std::string& question) {
  WhyNot result;
  result.question = question;
  PlanRequest request = answer.request;
  request.explain = false;
  pin(request.pins, question);
  SearchRequest s = search_request(request, nullptr);
  auto found = search(s);
  result.rejected = found.rejected;
  if (!found.plans.empty())
    result.best = found.plans.front();
  else if (!found.near_misses.empty())
    result.best = found.near_misses.front();
  if (answer.found() && result.best) {
    if (answer.simulated) result.best = simulated(request, s, *result.best, false);
    const auto& w = answer.search.plans.front();
    result.score_ratio = w.score > 0 ? result.best->score / w.score : 0;
    result.words = compare_plans(answer, w, *result.best);
  } else if (!result.best) {
    for (const auto& r : found.rejected)
      result.words.push_back(fmt::format("{} ({} layouts): {}", r.rule->id, r.count, r.example));
    if (found.layouts == 0) result.words.push_back("no layout with these sizes fits the GPUs on offer");
  }
  return result;
}

}  // namespace shardwise
