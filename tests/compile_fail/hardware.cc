// Hardware figures carry their units.
#include "hardware/hardware.h"

using namespace shardwise;

void hardware() {
  Gpu gpu;
  gpu.memory_bandwidth = gb_per_second(3352);
#ifdef CASE_bare_bandwidth
  gpu.memory_bandwidth = 3352e9;
#endif
#ifdef CASE_bandwidth_from_flops
  gpu.memory_bandwidth = tflops(989);
#endif
#ifdef CASE_memory_from_bandwidth
  gpu.memory_total = gb_per_second(80);
#endif
}
