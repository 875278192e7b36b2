#include "cli/commands.h"

namespace shardwise {

#define SHARDWISE_COMMAND(name) \
  void add_##name##_command(CLI::App&, const CommandLine&, std::vector<std::function<int()>>&)
SHARDWISE_COMMAND(plan);
SHARDWISE_COMMAND(check);
SHARDWISE_COMMAND(memory);
SHARDWISE_COMMAND(estimate);
SHARDWISE_COMMAND(simulate);
SHARDWISE_COMMAND(place);
SHARDWISE_COMMAND(calibrate);
SHARDWISE_COMMAND(verify);
SHARDWISE_COMMAND(rules);
SHARDWISE_COMMAND(models);
SHARDWISE_COMMAND(gpus);
#undef SHARDWISE_COMMAND

const std::vector<AddCommand>& commands() {
  static const std::vector<AddCommand> all = {add_plan_command,      add_check_command,    add_memory_command,
                                              add_estimate_command,  add_simulate_command, add_place_command,
                                              add_calibrate_command, add_verify_command,   add_rules_command,
                                              add_models_command,    add_gpus_command};
  return all;
}

}  // namespace shardwise
