// Whether the numbers of a command line are ones that anybody means.
#include <algorithm>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "parallel/engine_args.h"
#include "parallel/flag_text.h"

namespace shardwise {
namespace {

void expect_in(const FlagRange& range, double value, const std::string& flag, bool upper_only) {
  if (value <= range.most && (upper_only || value >= range.least)) return;
  throw InputError("vllm serve", 0, flag, number_text(value) + " is out of range",
                   "from " + number_text(range.least) + " to " + number_text(range.most));
}

/// A number inside an argument that is JSON.
struct InnerRange {
  std::optional<std::string> EngineArgs::*argument;
  const char* flag;
  const char* key;
  FlagRange range;
};

constexpr InnerRange kInner[] = {
    {&EngineArgs::eplb_config, "--eplb-config", "num_redundant_experts", {0, 1 << 20}},
    {&EngineArgs::speculative_config, "--speculative-config", "num_speculative_tokens", {0, 1024}},
    {&EngineArgs::compilation_config, "--compilation-config", "max_cudagraph_capture_size", {0, 1 << 20}}};

void expect_member(const EngineArgs& args, const FlagRow& row, bool upper_only) {
  std::visit(
      [&](auto member) {
        using M = decltype(member);
        if constexpr (std::is_same_v<M, std::optional<std::int64_t> EngineArgs::*> ||
                      std::is_same_v<M, std::optional<double> EngineArgs::*>) {
          if (args.*member) expect_in(row.range, static_cast<double>(*(args.*member)), dashed(row.name), upper_only);
        } else if constexpr (std::is_same_v<M, std::optional<std::vector<std::int64_t>> EngineArgs::*>) {
          if (args.*member)
            for (const auto value : *(args.*member))
              expect_in(row.range, static_cast<double>(value), dashed(row.name), upper_only);
        }
      },
      row.member);
}

/// More GPUs than a cluster can have; an int holds what is counted in them.
void expect_gpus(const EngineArgs& args) {
  double gpus = 1;
  for (const auto& size : {args.tensor_parallel_size, args.pipeline_parallel_size, args.prefill_context_parallel_size,
                           args.data_parallel_size})
    gpus *= static_cast<double>(std::max<std::int64_t>(1, size.value_or(1)));
  if (gpus > static_cast<double>(kMostGpus))
    throw InputError("vllm serve", 0, "", "the parallel sizes multiply to " + number_text(gpus) + " GPUs",
                     "at most " + std::to_string(kMostGpus));
}

}  // namespace

void expect_plausible(const EngineArgs& args, bool upper_only) {
  for (const FlagRow& row : flag_rows()) expect_member(args, row, upper_only);
  for (const InnerRange& inner : kInner) {
    const auto& text = args.*inner.argument;
    const Json object = text ? Json::parse(*text, nullptr, false) : Json();
    const auto value = object.is_object() ? number_at(object, inner.key) : std::nullopt;
    if (value) expect_in(inner.range, *value, std::string(inner.flag) + "." + inner.key, upper_only);
  }
  expect_gpus(args);
}

}  // namespace shardwise
