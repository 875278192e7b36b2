#include "app/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/explain.h"
#include "app/memory_answer.h"
#include "app/plan.h"
#include "app/resolved_rows.h"
#include "app/simulate_plan.h"
#include "base/input_error.h"
#include "base/text.h"
#include "memory/startup.h"
#include "memory/what_if.h"
#include "parallel/dimensions.h"
#include "parallel/rules.h"
#include "search/goal.h"

namespace shardwise {
namespace {

/// The search's question with everything of the command but the layout kept.
PlanRequest plan_request(const CheckRequest& request, bool free_layout) {
  PlanRequest p;
  p.model_spec = request.model_spec;
  p.model = request.model;
  p.cluster = request.cluster;
  p.workload = request.workload;
  p.goal = request.goal;
  p.vllm_version = request.vllm_version;
  p.calibration = request.calibration;
  p.threads = request.threads;
  p.explain = false;
  // What belongs to one node's command, or to the launcher, says nothing about the layout.
  p.pinned = without(without(request.args, FlagPart::node), FlagPart::server);
  // The command's share of the memory stays, whatever is free.
  if (!p.pinned.gpu_memory_utilization)
    p.pinned.gpu_memory_utilization = default_gpu_memory_utilization(request.vllm_version);
  if (free_layout) {
    p.pinned = without(p.pinned, FlagPart::layout);
    // The search chooses neither of these.
    p.pinned.prefill_context_parallel_size = request.args.prefill_context_parallel_size;
    p.pinned.all2all_backend = request.args.all2all_backend;
  }
  return p;
}

Layout layout_of(const EngineConfig& engine) {
  Layout layout;
  layout.parallel = engine.parallel;
  return layout;
}

class Changes {
 public:
  Changes(CheckAnswer& answer, double load) : answer_(answer), load_(load) {}

  /// Evaluates the command with `edit` applied at the same load, keeps it if it is better.
  void add(const std::string& what, const std::function<void(EngineArgs&)>& edit) {
    CheckRequest changed = answer_.request;
    edit(changed.args);
    auto p = plan_request(changed, false);
    p.workload.concurrency =
        answer_.request.workload.request_rate ? std::nullopt : std::optional<int>(static_cast<int>(load_));
    keep(what, p, layout_args_layout(changed));
  }

  /// The best layout of all, everything else kept.
  void best_layout() {
    auto p = plan_request(answer_.request, true);
    if (!p.pinned.max_model_len) p.pinned.max_model_len = answer_.resolved->max_model_len;
    p.workload.concurrency =
        answer_.request.workload.request_rate ? std::nullopt : std::optional<int>(static_cast<int>(load_));
    try {
      const auto s = search_request(p, nullptr);
      auto found = search(s);
      if (found.plans.empty()) return;
      auto best = std::move(found.plans.front());
      if (answer_.plan && best.layout == answer_.plan->layout) return;
      const auto name = to_string(best.layout);
      push("the best layout: " + name, as_simulated(p, s, std::move(best)));
    } catch (const InputError&) {
    }
  }

 private:
  std::optional<Layout> layout_args_layout(const CheckRequest& changed) const {
    const auto facts = model_facts(*changed.model, changed.args, changed.vllm_version);
    const auto node = node_facts(changed.cluster.first_gpu(), changed.cluster.total_gpus());
    const auto resolution = resolve(changed.args, facts, node, changed.env, changed.vllm_version);
    if (const auto* r = std::get_if<Resolved>(&resolution)) return layout_of(engine_config(*r));
    return std::nullopt;
  }

  Plan as_simulated(const PlanRequest& p, const SearchRequest& s, Plan plan) const {
    return answer_.request.simulate && worth_simulating(plan) ? simulated(p, s, std::move(plan), false) : plan;
  }

  /// The command's length stays what it is: a plan that only starts with a shorter one is no improvement of it.
  void keep(const std::string& what, PlanRequest p, const std::optional<Layout>& layout) {
    if (!layout) return;
    if (!p.pinned.max_model_len) p.pinned.max_model_len = answer_.resolved->max_model_len;
    try {
      const auto s = search_request(p, nullptr);
      if (layout->gpus() > budget_gpus(s)) return;
      if (auto plan = evaluate_layout(s, *layout, nullptr)) push(what, as_simulated(p, s, std::move(*plan)));
    } catch (const InputError&) {
    }
  }

  void push(const std::string& what, Plan plan) {
    Change change;
    change.what = what;
    change.fits = true;
    change.gain = answer_.plan && answer_.plan->score > 0 ? plan.score / answer_.plan->score - 1 : 0;
    change.note =
        fmt::format("{:.0f} tokens/s, {}, TTFT {:.0f} ms, {} GPUs", plan.estimate.output_tokens_per_second.mean,
                    tpot_words(plan.estimate), plan.estimate.ttft_ms.mean, plan.layout.gpus());
    if (!plan.slos_kept) change.note += "; misses " + join(plan.slos_missed, ", ");
    if (answer_.plan && change.gain < 0.005) return;
    change.plan = std::move(plan);
    answer_.changes.push_back(std::move(change));
  }

  CheckAnswer& answer_;
  double load_;
};

void find_changes(CheckAnswer& answer) {
  const auto& args = answer.request.args;
  const auto& r = *answer.resolved;
  Changes changes(answer, answer.load);
  changes.best_layout();
  const auto tp = r.tensor_parallel_size, dp = r.data_parallel_size;
  if (tp >= 2 && tp % 2 == 0)
    changes.add(fmt::format("-tp {} -dp {}", tp / 2, dp * 2), [&](EngineArgs& a) {
      a.tensor_parallel_size = tp / 2;
      a.data_parallel_size = dp * 2;
    });
  if (dp >= 2 && dp % 2 == 0)
    changes.add(fmt::format("-tp {} -dp {}", tp * 2, dp / 2), [&](EngineArgs& a) {
      a.tensor_parallel_size = tp * 2;
      a.data_parallel_size = dp / 2;
    });
  const int spare = answer.request.cluster.total_gpus() / static_cast<int>(std::max<std::int64_t>(1, r.world_size));
  if (spare > dp)
    changes.add(fmt::format("-dp {} (GPUs left idle now)", spare),
                [&](EngineArgs& a) { a.data_parallel_size = spare; });
  if (r.pipeline_parallel_size > 1) changes.add("-pp 1", [&](EngineArgs& a) { a.pipeline_parallel_size = 1; });
  if (r.is_moe) {
    const bool on = r.enable_expert_parallel;
    changes.add(on ? "without --enable-expert-parallel" : "--enable-expert-parallel",
                [&](EngineArgs& a) { a.enable_expert_parallel = !on; });
  }
  if (r.enforce_eager) changes.add("without --enforce-eager", [](EngineArgs& a) { a.enforce_eager.reset(); });
  if (!r.enable_chunked_prefill)
    changes.add("with chunked prefill", [](EngineArgs& a) { a.enable_chunked_prefill.reset(); });
  if (!r.cache_dtype.starts_with("fp8"))
    changes.add("--kv-cache-dtype fp8", [](EngineArgs& a) { a.kv_cache_dtype = "fp8"; });
  if (answer.memory && answer.memory->refusal && answer.memory->refusal->is("memory_free_at_start")) {
    const auto free =
        recommended_gpu_memory_utilization(*answer.request.model, engine_config(r), answer.request.cluster.first_gpu());
    changes.add("--gpu-memory-utilization " + number_text(free),
                [&](EngineArgs& a) { a.gpu_memory_utilization = free; });
  }
  if (r.gpu_memory_utilization < 0.95)
    changes.add("--gpu-memory-utilization 0.95", [](EngineArgs& a) { a.gpu_memory_utilization = 0.95; });
  for (const auto tokens : {r.max_num_batched_tokens * 2, r.max_num_batched_tokens / 2})
    if (tokens >= r.max_num_seqs && tokens >= 512)
      changes.add(fmt::format("--max-num-batched-tokens {}", tokens),
                  [&](EngineArgs& a) { a.max_num_batched_tokens = tokens; });
  if (answer.memory && answer.memory->refusal && answer.memory->refusal->estimated_max_model_len.value_or(0) > 0) {
    const auto longest = *answer.memory->refusal->estimated_max_model_len;
    changes.add(fmt::format("--max-model-len {}", longest), [&](EngineArgs& a) { a.max_model_len = longest; });
  }
  if (args.max_num_seqs) changes.add("default --max-num-seqs", [](EngineArgs& a) { a.max_num_seqs.reset(); });
  std::stable_sort(answer.changes.begin(), answer.changes.end(), [](const Change& a, const Change& b) {
    if (a.plan->slos_kept != b.plan->slos_kept) return a.plan->slos_kept;
    return a.gain > b.gain;
  });
  // Changes that come to the same layout and engine are one change.
  for (std::size_t i = 0; i < answer.changes.size(); ++i)
    for (std::size_t j = answer.changes.size(); --j > i;)
      if (answer.changes[i].plan->engine == answer.changes[j].plan->engine &&
          answer.changes[i].plan->layout == answer.changes[j].plan->layout)
        answer.changes.erase(answer.changes.begin() + static_cast<std::ptrdiff_t>(j));
  if (answer.changes.size() > 6) answer.changes.resize(6);
}

/// What is true of any answer to such a command.
void note_layout(CheckAnswer& answer, const EngineConfig& engine, const ModelFacts& facts) {
  if (const char* why = placement_fallback(engine.parallel, facts.num_expert_group, answer.request.vllm_version))
    answer.warnings.push_back(
        fmt::format("expert_placement_strategy round_robin: effective placement is linear, because {}", why));
  if (answer.resolved->is_moe && engine.parallel.data_parallel_size > 1 && !engine.parallel.enable_expert_parallel)
    answer.warnings.push_back(
        "experts are split over TP x DP ranks: every layer gathers tokens of all data parallel ranks; "
        "--enable-expert-parallel keeps experts whole");
}

/// What vLLM refuses once its arguments are resolved: the layout, and the stages of a pipeline.
std::optional<Refusal> refused_layout(const CheckAnswer& answer, const EngineConfig& engine, const ModelFacts& facts,
                                      const NodeFacts& node) {
  if (auto refused = check_layout(facts, engine.parallel, answer.request.vllm_version, &node)) return refused;
  const auto& wrong = answer.resolved->pp_layers_error;
  return wrong.empty() ? std::nullopt : std::optional(refuse("pp_layer_partition", wrong));
}

std::optional<Refusal> refused_size(const CheckRequest& request, const EngineConfig& engine) {
  if (engine.parallel.gpus() <= request.cluster.total_gpus()) return std::nullopt;
  return refuse("gpus", fmt::format("{} = {} GPUs, the cluster has {}", gpu_factors(layout_of(engine)),
                                    engine.parallel.gpus(), request.cluster.total_gpus()));
}

std::optional<Refusal> refused_blocks(const CheckAnswer& answer, const EngineConfig& engine) {
  const auto interleave = answer.resolved->cp_kv_cache_interleave_size;
  const auto block_size = answer.memory->block_size;
  if (engine.parallel.decode_context_parallel_size == 1 || block_size % interleave == 0) return std::nullopt;
  return refuse("interleave_vs_block", fmt::format("block_size {} is not a multiple of cp_kv_cache_interleave_size {}",
                                                   block_size, interleave));
}

/// The command as a plan, with its prediction, if it starts.
void predict(CheckAnswer& answer, const EngineConfig& engine, const PlanRequest& p, const SearchRequest& s) {
  const CheckRequest& request = answer.request;
  std::optional<Refusal> why;
  answer.plan = evaluate_layout(s, layout_of(engine), &why);
  if (!answer.plan) return answer.warnings.push_back(why->message);
  if (request.simulate && worth_simulating(*answer.plan)) answer.plan = simulated(p, s, *std::move(answer.plan), false);
  answer.load = answer.plan->estimate.concurrency;
  answer.decode_step = answer.plan->step->breakdown(decode_batch(*answer.plan, request.workload));
  std::stable_sort(answer.decode_step.begin(), answer.decode_step.end(),
                   [](const auto& a, const auto& b) { return a.time > b.time; });
  if (answer.memory->probability_fits < 0.95)
    answer.warnings.push_back(
        fmt::format("starts with a probability of {:.0f} %", 100 * answer.memory->probability_fits));
}

/// The search's question about this command alone; a warning where it is none.
std::optional<SearchRequest> question_of(CheckAnswer& answer, const PlanRequest& p, const EngineConfig& engine) {
  try {
    auto s = search_request(p, nullptr);
    s.base.assign(s.base.size(), engine);
    s.rules = [](const NodeGroup&, const ParallelConfig&) { return std::nullopt; };
    s.min_probability_fits = 0;
    return s;
  } catch (const InputError& e) {
    answer.warnings.push_back(e.what());
    return std::nullopt;
  }
}

}  // namespace

CheckAnswer check(const CheckRequest& given) {
  CheckAnswer answer;
  answer.request = given;
  answer.request.model = launched_model(given.model, given.args, given.vllm_version);
  const CheckRequest& request = answer.request;
  answer.warnings = notes_of(request.args, request.cluster, request.vllm_version);
  for (const auto& [name, values] : request.args.not_used) answer.not_used.push_back(name);
  const auto facts = model_facts(*request.model, request.args, request.vllm_version);
  const auto& gpu = request.cluster.first_gpu();
  // Of a cluster of several nodes one command sees the first one's GPUs.
  const NodeFacts node = node_facts(gpu, std::max(request.cluster.nodes.front().gpus, 1));
  const auto resolution = resolve(request.args, facts, node, request.env, request.vllm_version);
  if (const auto* refusal = std::get_if<Refusal>(&resolution)) {
    answer.refusal = *refusal;
    return answer;
  }
  answer.resolved = std::get<Resolved>(resolution);
  if (auto note = ignored_offload_note(*answer.resolved)) answer.warnings.push_back(std::move(*note));
  answer.rows = resolved_rows(request.args, *answer.resolved, facts, node);
  const auto engine = engine_config(*answer.resolved);
  if ((answer.refusal = refused_layout(answer, engine, facts, node))) return answer;
  note_layout(answer, engine, facts);
  if ((answer.refusal = refused_size(request, engine))) return answer;
  answer.memory = plan_memory(*request.model, engine, gpu);
  if (auto note = host_memory_note(*answer.memory)) answer.warnings.push_back(std::move(*note));
  if ((answer.refusal = refused_blocks(answer, engine))) return answer;
  auto p = plan_request(request, false);
  p.pinned.max_model_len = engine.max_model_len;
  const auto s = question_of(answer, p, engine);
  if (!s) return answer;
  if (!answer.memory->refusal) predict(answer, engine, p, *s);
  if (answer.load < 1) answer.load = request.workload.concurrency.value_or(32);
  if (request.find_changes) find_changes(answer);
  return answer;
}

}  // namespace shardwise
