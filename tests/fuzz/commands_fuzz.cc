// Start scripts and container files, as `check --from` reads them: a script, or YAML where the first byte says so.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/input_error.h"
#include "launch/deployment.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shardwise;
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    auto commands = text.starts_with("#!") ? read_shell(text, "script.sh", {}) : read_containers(text, "file.yaml", {});
    check_deployment(std::move(commands), kDefaultVllmVersion);
  } catch (const InputError&) {
  }
  return 0;
}
