// Traces: any text is read or refused with an InputError; what was read round-trips and yields a workload.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/input_error.h"
#include "workload/workload.h"

using namespace shardwise;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Trace trace;
  try {
    trace = read_trace(text, "t");
  } catch (const InputError&) {
    return 0;
  }
  const std::string written = trace_jsonl(trace);
  if (!(read_trace(written, "back") == trace)) std::abort();
  const Workload workload = workload_of(std::make_shared<Trace>(trace));
  if (!(workload.isl.mean() >= 1) || !(workload.prefix_share >= 0 && workload.prefix_share <= 1)) std::abort();
  return 0;
}
