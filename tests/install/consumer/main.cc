// A program of a user's own that plans with the installed library: the public header alone.
#include <shardwise/shardwise.h>

#include <cstdio>

int main() {
  using namespace shardwise;
  DiskSource disk;
  PlanRequest question;
  question.model_spec = "Llama-3.1-8B";
  question.model = std::make_shared<const Model>(load_model(question.model_spec, disk));
  question.cluster = parse_cluster("2xH100");
  question.workload = build_workload({});
  question.explain = false;
  const PlanAnswer answer = make_plan(question);
  if (!answer.found()) return 1;
  for (const auto& command : answer.launch) std::puts(shell_line(command).c_str());
  CheckRequest command;
  command.model_spec = question.model_spec;
  command.model = question.model;
  command.cluster = question.cluster;
  command.workload = question.workload;
  const std::vector<std::string> flags = {"-tp", "2"};
  command.args = parse_vllm_flags(flags);
  if (!check(command).starts()) return 1;
  try {
    parse_cluster("8xH10");
  } catch (const InputError& error) {
    std::puts(error.what());
    return 0;
  }
  return 1;
}
