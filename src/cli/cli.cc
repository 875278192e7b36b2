#include "cli/cli.h"

#include <cstdio>

namespace shardwise {
int run_cli(int, char**) {
  std::puts("shardwise");
  return 0;
}
}  // namespace shardwise
