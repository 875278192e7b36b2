// A program of a user's own that plans with the installed library.
#include <cstdio>

#include "hardware/hardware.h"
#include "launch/launch.h"
#include "workload/workload.h"

int main() {
  using namespace shardwise;
  LaunchRequest request;
  request.model = "org/model";
  request.cluster = parse_cluster("2x8xH100");
  request.engine.parallel.tensor_parallel_size = 4;
  request.engine.parallel.data_parallel_size = 4;
  const auto commands = launch_commands(request);
  for (const auto& command : std::get<0>(commands)) std::puts(shell_line(command).c_str());
  return std::get<0>(commands).size() == 2 && parse_length("uniform[1,3]", "isl").mean() == 2 ? 0 : 1;
}
