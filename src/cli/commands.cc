#include "cli/command.h"

namespace shardwise {

using Vllm = const std::vector<std::string>&;
Handler add_plan(Command, Vllm), add_compare(Command, Vllm), add_check(Command, Vllm), add_memory(Command, Vllm),
    add_estimate(Command, Vllm), add_simulate(Command, Vllm), add_place(Command, Vllm), add_calibrate(Command, Vllm),
    add_verify(Command, Vllm), add_rules(Command, Vllm), add_models(Command, Vllm), add_gpus(Command, Vllm);

// clang-format off
constexpr CommandRow kCommands[] = {
    {"plan", "ranked plans, the winner explained, its launch commands", add_plan},
    {"compare", "the best plan on each of several offers of GPUs, side by side, with what it costs", add_compare},
    {"check", "a vLLM command: is it accepted, what does it become, does it fit, what would be better", add_check},
    {"memory", "what every rank of a vLLM command holds, KV blocks and tokens, the longest max_model_len", add_memory},
    {"estimate", "one command's step times by operator, TTFT, TPOT, throughput, and what they depend on", add_estimate},
    {"simulate", "vLLM's scheduler step by step on a workload or trace: percentiles, timeline, preemptions", add_simulate},
    {"place", "experts to ranks from a file of expert loads: balance before and after, and whether it is worth it", add_place},
    {"calibrate", "your own benchmark results and start-up logs: a file that makes every prediction your machine's", add_calibrate},
    {"verify", "compares predictions with recorded cases; exit code 0 only if all agree", add_verify},
    {"rules", "vLLM's rules: what it refuses, in which versions, where in its source, what to write instead", add_rules},
    {"models", "bundled models", add_models},
    {"gpus", "the GPU catalogue, each number with its source", add_gpus},
};
// clang-format on

std::span<const CommandRow> commands() { return kCommands; }

}  // namespace shardwise
