// Batch inference with the layout of the plan, without a server.
#include "base/text.h"
#include "launch/parts.h"
#include "parallel/dimensions.h"

namespace shardwise {
namespace {

std::string python_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out + "\"";
}

std::string python_list(const std::vector<std::string>& words, bool quoted) {
  std::vector<std::string> items;
  for (const auto& word : words) items.push_back(quoted ? python_string(word) : word);
  return "[" + join(items, ", ") + "]";
}

std::string python_value(const GivenFlag& flag) {
  const auto word = flag.words.empty() ? std::string() : flag.words.front();
  switch (flag.row->kind) {
    case FlagKind::boolean:
    case FlagKind::present:
      return word == "no" ? "False" : "True";
    case FlagKind::integer:
    case FlagKind::human_integer:
    case FlagKind::length:
      return std::to_string(human_integer(word, std::string(flag.row->name)));
    case FlagKind::number:
      return word;
    case FlagKind::json:
      return "json.loads(" + python_string(word) + ")";
    case FlagKind::text_list:
    case FlagKind::comma_list:
    case FlagKind::integer_list:
      return python_list(flag.words, flag.row->kind != FlagKind::integer_list);
    case FlagKind::text:
      return python_string(word);
    case FlagKind::optional_text:
      return flag.words.empty() ? "True" : python_string(word);
  }
  return "";
}

/// Keyword arguments of vllm.LLM, one a line: the fields of EngineArgs.
std::string python_arguments(const LaunchRequest& request) {
  EngineArgs args = without(without(plan_args(request), FlagPart::server), FlagPart::command);
  args.data_parallel_size.reset();  // comes from VLLM_DP_SIZE
  std::string out;
  for (const auto& flag : given_flags(args))
    out += "    " + std::string(flag.row->name) + "=" + python_value(flag) + ",\n";
  return out;
}

}  // namespace

std::string offline_script(const PlacedLaunch& launch) {
  const LaunchRequest& request = launch.request;
  const ParallelConfig& parallel = request.engine.parallel;
  const auto& shares = launch.placement.replicas.front().shares;
  std::vector<std::string> ranks;
  for (const auto& share : shares) ranks.push_back(std::to_string(share.dp_ranks));
  std::string out =
      "#!/usr/bin/env python3\n\"\"\"" + to_string(parallel) +
      " without a server: every data-parallel rank is a process that answers its share of the prompts.\n\n"
      "On each of the " +
      std::to_string(shares.size()) +
      " node(s):\n"
      "    python3 offline_data_parallel.py --node-rank N [--master-addr ADDRESS_OF_NODE_0] [--prompts FILE]\n"
      "FILE has one prompt a line; answers go to standard output, one JSON object a line.\n\"\"\"\n"
      "import argparse\nimport json\nimport os\nimport sys\nfrom multiprocessing import get_context\n\n"
      "DP_SIZE = " +
      std::to_string(parallel.data_parallel_size) +
      "\n"
      "WORLD_SIZE = " +
      std::to_string(parallel.world_size()) +
      "  # GPUs of one data-parallel rank\n"
      "DP_RANKS_OF_NODE = [" +
      join(ranks, ", ") +
      "]\n"
      "ENGINE = dict(\n" +
      python_arguments(request) +
      ")\n\n\n"
      "def run_rank(rank, local_rank, master_addr, master_port, prompts, max_tokens):\n";
  if (request.is_moe) {
    out +=
        "    # The ranks step together: vLLM finds its peers, and its GPUs, through these.\n"
        "    os.environ[\"VLLM_DP_RANK\"] = str(rank)\n"
        "    os.environ[\"VLLM_DP_RANK_LOCAL\"] = str(local_rank)\n"
        "    os.environ[\"VLLM_DP_SIZE\"] = str(DP_SIZE)\n"
        "    os.environ[\"VLLM_DP_MASTER_IP\"] = master_addr\n"
        "    os.environ[\"VLLM_DP_MASTER_PORT\"] = str(master_port)\n";
  } else {
    out +=
        "    # A dense model: vLLM refuses VLLM_DP_SIZE > 1 offline, and the ranks need nothing from each other.\n"
        "    first = local_rank * WORLD_SIZE\n"
        "    os.environ[\"CUDA_VISIBLE_DEVICES\"] = \",\".join(str(first + i) for i in range(WORLD_SIZE))\n";
  }
  for (const auto& [name, value] : environment({0, parallel, 1}))
    out += "    os.environ[\"" + name + "\"] = \"" + value + "\"\n";
  out +=
      "    from vllm import LLM, SamplingParams\n\n"
      "    # A contiguous share; the first ranks take one more. An empty share still gets a prompt, so that the rank "
      "takes part.\n"
      "    share, more = divmod(len(prompts), DP_SIZE)\n"
      "    first = rank * share + min(rank, more)\n"
      "    mine = prompts[first:first + share + (rank < more)]\n"
      "    answers = LLM(**ENGINE).generate(mine or [\"Hello\"], SamplingParams(max_tokens=max_tokens))\n"
      "    for prompt, answer in zip(mine, answers):\n"
      "        print(json.dumps({\"rank\": rank, \"prompt\": prompt, \"answer\": answer.outputs[0].text}), "
      "flush=True)\n\n\n"
      "def main():\n"
      "    parser = argparse.ArgumentParser(description=__doc__, "
      "formatter_class=argparse.RawDescriptionHelpFormatter)\n"
      "    parser.add_argument(\"--node-rank\", type=int, default=0)\n"
      "    parser.add_argument(\"--master-addr\", default=" +
      python_string(shares.size() > 1 ? node_address(request, shares.front().node) : "127.0.0.1") +
      ")\n"
      "    parser.add_argument(\"--master-port\", type=int, default=" +
      std::to_string(request.given.data_parallel_rpc_port.value_or(kDataParallelRpcPort)) +
      ")\n"
      "    parser.add_argument(\"--prompts\", help=\"file with one prompt a line\")\n"
      "    parser.add_argument(\"--max-tokens\", type=int, default=128)\n"
      "    args = parser.parse_args()\n"
      "    if args.prompts:\n"
      "        with open(args.prompts, encoding=\"utf-8\") as file:\n"
      "            prompts = [line.rstrip(\"\\n\") for line in file if line.strip()]\n"
      "    else:\n"
      "        prompts = [f\"Count from {i} upwards:\" for i in range(4 * DP_SIZE)]\n"
      "    first = sum(DP_RANKS_OF_NODE[:args.node_rank])\n"
      "    spawn = get_context(\"spawn\")\n"
      "    ranks = [spawn.Process(target=run_rank, args=(first + local, local, args.master_addr, args.master_port, "
      "prompts, args.max_tokens))\n"
      "             for local in range(DP_RANKS_OF_NODE[args.node_rank])]\n"
      "    for rank in ranks:\n        rank.start()\n"
      "    for rank in ranks:\n        rank.join()\n"
      "    sys.exit(max(abs(rank.exitcode) for rank in ranks))\n\n\n"
      "if __name__ == \"__main__\":\n    main()\n";
  return out;
}

}  // namespace shardwise
