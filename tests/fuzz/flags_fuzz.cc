// vLLM flags, one word a line: read or refused with an InputError; what was read is written and read back alike.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/input_error.h"
#include "base/text.h"
#include "parallel/engine_args.h"

using namespace shardwise;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  EngineArgs args;
  try {
    args = parse_vllm_flags(split(text, '\n'));
  } catch (const InputError&) {
    return 0;
  }
  try {
    if (!(parse_vllm_flags(to_argv(args)) == args)) std::abort();
  } catch (const InputError&) {
    std::abort();
  }
  return 0;
}
