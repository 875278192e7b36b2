#include <algorithm>

#include "app/simulate.h"
#include "base/input_error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "config/write_file.h"
#include "report/report.h"

namespace shardwise {
namespace {

struct SimulateOptions {
  CommandOptions command;
  std::int64_t requests = 0, warmup = 0;
  std::uint64_t seed = 0;
  int replicas = 1, prefill_replicas = 1;
  double acceptance_rate = 0.7;
  std::string routing = "round_robin", dp_balancing, prefill, trace_out;
  bool max_rate = false;
};

constexpr std::int64_t kTracedSteps = 20'000;  // a trace file of about 15 MB

template <class Value, std::size_t N>
Value choice(const std::string& word, const std::pair<const char*, Value> (&table)[N], const char* flag) {
  std::string name = word;
  std::replace(name.begin(), name.end(), '-', '_');
  std::vector<std::string> names;
  for (const auto& [known, value] : table) {
    if (name == known) return value;
    names.emplace_back(known);
  }
  throw InputError(flag, 0, "", "unknown '" + word + "'", join(names, ", "));
}

ReplicaRouting routing_of(const std::string& word) {
  static constexpr std::pair<const char*, ReplicaRouting> kNames[] = {{"round_robin", ReplicaRouting::round_robin},
                                                                      {"least_loaded", ReplicaRouting::least_loaded},
                                                                      {"prefix_aware", ReplicaRouting::prefix_aware}};
  return choice(word, kNames, "--routing");
}

std::optional<DpBalancing> dp_balancing_of(const std::string& word) {
  static constexpr std::pair<const char*, DpBalancing> kNames[] = {{"in_flight", DpBalancing::in_flight},
                                                                   {"queue_length", DpBalancing::queue_length}};
  if (word.empty()) return std::nullopt;
  return choice(word, kNames, "--dp-balancing");
}

/// Words as a shell would cut them: blanks separate, quotes of either kind hold together.
std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  char quote = 0;
  bool open = false;
  for (const char c : text) {
    if (quote ? c == quote : c == '\'' || c == '"') {
      quote = quote ? 0 : c;
      if (!open) words.emplace_back(), open = true;
    } else if (!quote && c == ' ') {
      open = false;
    } else {
      if (!open) words.emplace_back(), open = true;
      words.back() += c;
    }
  }
  if (quote) throw InputError("--prefill", 0, "", "a quote is not closed", "close it");
  return words;
}

SimulateRequest simulate_request_of(const SimulateOptions& o, const std::vector<std::string>& flags) {
  SimulateRequest r;
  r.command = check_request_of(o.command, flags);
  r.replicas = o.replicas;
  r.routing = routing_of(o.routing);
  r.dp_balancing = dp_balancing_of(o.dp_balancing);
  if (!o.prefill.empty())
    r.prefill = PrefillInstances{parse_vllm_flags(words_of(o.prefill), r.command.vllm_version), o.prefill_replicas};
  if (o.requests > 0) r.requests = o.requests;
  r.warmup_requests = o.warmup;
  r.acceptance_rate = o.acceptance_rate;
  r.seed = o.seed;
  r.record_steps = o.trace_out.empty() ? 0 : kTracedSteps;
  r.find_max_rate = o.max_rate;
  return r;
}

int run_simulate(const SimulateOptions& o, const std::vector<std::string>& flags) {
  const auto request = simulate_request_of(o, flags);
  SimulateAnswer answer;
  {
    Progress progress("simulating " + request.command.model->name);
    answer = simulate_command(request);
  }
  const Style style = o.command.question.style();
  const bool json = o.command.question.json;
  for (const auto& check : {std::optional(answer.check), answer.prefill})
    if (check && !check->plan) {
      print(json ? check_json(*check) : check_text(*check, style), style);
      return kExitNo;
    }
  if (!o.trace_out.empty() && answer.result) write_file(o.trace_out, perfetto_trace(*answer.result));
  print(json ? simulation_json(answer) : simulation_text(answer, style), style);
  return answer.result && answer.result->slos_met() ? kExitFound : kExitNo;
}

}  // namespace

Handler add_simulate(Command command, const std::vector<std::string>& vllm) {
  auto o = std::make_shared<SimulateOptions>();
  o->command.add_to(command);
  const auto option = [&](const char* name, auto& value, const char* doc) {
    return command.option(name, value, doc).group("Simulation");
  };
  option("--requests", o->requests, "how many requests; default 10 x concurrency, at least 1,000, or the whole trace")
      .between(1, kMostRequests);
  option("--warmup", o->warmup, "the first so many requests load the system but are not measured")
      .between(0, kMostRequests);
  option("--seed", o->seed, "the same seed gives the same bytes");
  option("--replicas", o->replicas, "equal servers behind a router").between(1, kMostCopies);
  option("--routing", o->routing, "between replicas: round_robin, least_loaded or prefix_aware")
      .shown_default("round_robin");
  option("--dp-balancing", o->dp_balancing,
         "between the data parallel ranks of a server: in_flight (vLLM 0.27 and later) or queue_length (before); "
         "default: the version's");
  option("--prefill", o->prefill,
         "disaggregation: vLLM flags of the instances that prefill, e.g. '-tp 4'; the command then only decodes");
  option("--prefill-replicas", o->prefill_replicas, "how many of them").between(1, kMostCopies);
  option("--acceptance-rate", o->acceptance_rate, "chance that a draft token is accepted")
      .between(0.0, 1.0)
      .shown_default("0.7");
  command.flag("--max-rate", o->max_rate, "find the highest request rate that keeps the SLOs").group("Simulation");
  option("--trace-out", o->trace_out, "write a trace that Perfetto opens");
  command.footer(
      "shardwise simulate MODEL --gpus 8xH100 --concurrency 64 -- --tensor-parallel-size 8\n"
      "Exit code 0: it runs and keeps the SLOs; 1: it does not; 2: the question cannot be read.");
  return [o, &vllm] { return run_simulate(*o, vllm); };
}

}  // namespace shardwise
