#include "base/version.h"

#include <cstdio>

#include "base/input_error.h"

namespace shardwise {

// The one place where it stands: cases and tools read it here.
const VllmVersion kDefaultVllmVersion{0, 33, 0};

VllmVersion parse_vllm_version(std::string_view text) {
  const std::string copy(text.starts_with('v') ? text.substr(1) : text);
  VllmVersion version{0, 0, 0};
  if (std::sscanf(copy.c_str(), "%d.%d.%d", &version.major_, &version.minor_, &version.patch_) < 2)
    throw InputError("", 0, "", "vLLM version '" + std::string(text) + "' is not a release number",
                     "write e.g. " + to_string(kDefaultVllmVersion));
  return version;
}

std::string to_string(VllmVersion v) {
  return std::to_string(v.major_) + "." + std::to_string(v.minor_) + "." + std::to_string(v.patch_);
}

}  // namespace shardwise
