// A legal command over a bundled model, then one thing made wrong: the rule that this breaks is named, with the numbers
// that fail. Which number fails is worked out here from the command, not from the rule.
#include <rapidcheck.h>

#include <functional>

#include "model/bundled_model.h"
#include "model/load.h"
#include "parallel/resolve.h"

using namespace shardwise;

namespace {

struct Command {
  ModelFacts model;
  EngineArgs args;
  NodeFacts node;
};

/// Facts of every bundled model that vLLM reads, once.
const std::vector<ModelFacts>& models() {
  static const std::vector<ModelFacts> all = [] {
    std::vector<ModelFacts> facts;
    for (const auto& bundled : bundled_models()) {
      auto f = model_facts(bundled_model(bundled.name));
      if (!check_model(f) && f.registered && f.num_attention_heads > 0) facts.push_back(std::move(f));
    }
    return facts;
  }();
  return all;
}

int one_of(std::vector<int> values) { return *rc::gen::elementOf(values); }

Command any_command() {
  Command c{*rc::gen::elementOf(models()), {}, {}};
  c.node.gpus = one_of({4, 8});
  std::vector<int> sizes;
  for (int tp = 1; tp <= c.node.gpus; ++tp)
    if (c.model.num_attention_heads % tp == 0) sizes.push_back(tp);
  c.args.tensor_parallel_size = one_of(sizes);
  if (c.model.supports_pp && *c.args.tensor_parallel_size * 2 <= c.node.gpus && one_of({0, 1}))
    c.args.pipeline_parallel_size = 2;
  const auto world = *c.args.tensor_parallel_size * c.args.pipeline_parallel_size.value_or(1);
  if (world * 2 <= c.node.gpus && one_of({0, 1})) c.args.data_parallel_size = 2;
  if (c.model.is_moe && one_of({0, 1})) c.args.enable_expert_parallel = true;
  if (one_of({0, 1})) c.args.max_num_seqs = one_of({16, 256});
  return c;
}

std::optional<Refusal> refusal(const Command& c) {
  const auto answer = resolve(c.args, c.model, c.node);
  const auto* refused = std::get_if<Refusal>(&answer);
  return refused ? std::optional(*refused) : std::nullopt;
}

std::string text(std::int64_t n) { return std::to_string(n); }

/// What a mutation breaks: the rule and the numbers its message must hold. nullopt = it breaks nothing here.
struct Broken {
  std::string rule;
  std::vector<std::string> numbers;
};

using Mutation = std::function<std::optional<Broken>(Command&)>;

const std::vector<Mutation>& mutations() {
  static const std::vector<Mutation> all = {
      [](Command& c) -> std::optional<Broken> {
        const int tp = one_of({3, 5, 7, 11});
        if (tp > c.node.gpus || c.model.num_attention_heads % tp == 0) return std::nullopt;
        c.args.tensor_parallel_size = tp, c.args.pipeline_parallel_size = 1, c.args.data_parallel_size.reset();
        return Broken{"attn_heads_not_divisible_by_tp", {text(c.model.num_attention_heads), text(tp)}};
      },
      [](Command& c) -> std::optional<Broken> {
        const int pp = one_of({9, 16, 25});
        c.args.pipeline_parallel_size = pp;
        const auto world = *c.args.tensor_parallel_size * pp;
        return Broken{"world_size_exceeds_local_gpus", {text(world), text(c.node.gpus)}};
      },
      [](Command& c) -> std::optional<Broken> {
        const auto world = *c.args.tensor_parallel_size * c.args.pipeline_parallel_size.value_or(1);
        const auto dp = c.node.gpus / world + 1;
        c.args.data_parallel_size = dp;
        return Broken{"worker_gpu_out_of_range", {text(c.node.gpus)}};
      },
      [](Command& c) -> std::optional<Broken> {
        if (c.model.is_moe) return std::nullopt;
        c.args.enable_expert_parallel = true;
        return Broken{"ep_on_dense_model", {text(0)}};
      },
      [](Command& c) -> std::optional<Broken> {
        if (!c.model.is_moe || c.args.enable_expert_parallel) return std::nullopt;
        c.args.enable_eplb = true;
        return Broken{"eplb_needs_ep", {}};
      },
      [](Command& c) -> std::optional<Broken> {
        const int redundant = one_of({2, 32});
        c.args.eplb_config = "{\"num_redundant_experts\": " + text(redundant) + "}";
        return Broken{"redundant_experts_without_eplb", {text(redundant)}};
      },
      [](Command& c) -> std::optional<Broken> {
        const auto dp = c.args.data_parallel_size.value_or(1);
        c.args.data_parallel_size_local = dp + one_of({1, 3});
        return Broken{"dp_local_exceeds_dp", {text(dp), text(*c.args.data_parallel_size_local)}};
      },
      [](Command& c) -> std::optional<Broken> {
        if (!c.model.is_moe || !c.args.data_parallel_size) return std::nullopt;
        c.args.data_parallel_rank = *c.args.data_parallel_size + one_of({0, 2});
        return Broken{"dp_rank_out_of_range", {text(*c.args.data_parallel_rank), text(*c.args.data_parallel_size)}};
      },
      [](Command& c) -> std::optional<Broken> {
        const auto world = *c.args.tensor_parallel_size * c.args.pipeline_parallel_size.value_or(1) *
                           c.args.data_parallel_size.value_or(1);
        const int nnodes = one_of({3, 5, 7, 16});
        if (world % nnodes == 0) return std::nullopt;
        c.args.nnodes = nnodes;
        return Broken{"nnodes_does_not_divide_world", {text(nnodes), text(world)}};
      },
      [](Command& c) -> std::optional<Broken> {
        if (!c.model.derived_max_model_len) return std::nullopt;
        const auto longest =
            static_cast<std::int64_t>(std::max(*c.model.derived_max_model_len, c.model.model_max_length.value_or(0)));
        c.args.max_model_len = longest + one_of({1, 5000});
        return Broken{"max_len_exceeds_model", {text(*c.args.max_model_len)}};
      },
      [](Command& c) -> std::optional<Broken> {
        const int tokens = one_of({8, 15});
        c.args.max_num_seqs = 64, c.args.max_num_batched_tokens = tokens;
        return Broken{"batched_tokens_below_seqs", {text(64), text(tokens)}};
      },
      [](Command& c) -> std::optional<Broken> {
        c.args.distributed_executor_backend = "ray";
        return Broken{"ray_not_installed", {}};
      },
      [](Command& c) -> std::optional<Broken> {
        if (c.model.is_moe || c.args.data_parallel_size.value_or(1) < 2) return std::nullopt;
        c.args.data_parallel_rank = 1;
        return Broken{"external_lb_dense_model", {text(*c.args.data_parallel_size)}};
      },
      [](Command& c) -> std::optional<Broken> {
        c.args.gpu_memory_utilization = 1.5;
        return Broken{"field_range:gpu_memory_utilization", {"1.5"}};
      },
      [](Command& c) -> std::optional<Broken> {
        c.args.headless = true, c.args.api_server_count = one_of({2, 4});
        return Broken{"headless_with_api_servers", {text(*c.args.api_server_count)}};
      },
  };
  return all;
}

}  // namespace

int main() {
  bool good = true;
  good &= rc::check("a broken command names its rule and its numbers", [] {
    Command c = any_command();
    if (const auto legal = refusal(c)) RC_DISCARD("refused as it stands: " + std::string(legal->rule->id));
    const auto broken = (*rc::gen::elementOf(mutations()))(c);
    if (!broken) RC_DISCARD("nothing to break");
    const auto refused = refusal(c);
    RC_TAG(broken->rule);
    RC_LOG() << c.model.name << ": expected " << broken->rule << "\n";
    RC_ASSERT(refused.has_value());
    RC_LOG() << refused->rule->id << ": " << refused->message << "\n";
    RC_ASSERT(refused->rule->id == broken->rule);
    for (const auto& number : broken->numbers) RC_ASSERT(refused->message.find(number) != std::string::npos);
    RC_ASSERT(!refused->rule->instead.empty());
  });
  return good ? 0 : 1;
}
