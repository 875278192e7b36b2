#include "base/version.h"

#include <charconv>

#include "base/input_error.h"

namespace shardwise {

// The one place where it stands: cases and tools read it here.
const VllmVersion kDefaultVllmVersion{0, 33, 0};

VllmVersion parse_vllm_version(std::string_view text) {
  VllmVersion version{0, 0, 0};
  int* const parts[] = {&version.major_, &version.minor_, &version.patch_};
  const char *at = text.data() + text.starts_with('v'), *const end = text.data() + text.size();
  int read = 0;
  for (int* part : parts) {
    if (read > 0 && (at == end || *at++ != '.')) break;
    const auto [behind, error] = std::from_chars(at, end, *part);
    if (error != std::errc() || *part < 0) break;
    at = behind, ++read;
  }
  if (read < 2)
    throw InputError("", 0, "", "vLLM version '" + std::string(text) + "' is not a release number",
                     "write e.g. " + to_string(kDefaultVllmVersion));
  return version;
}

std::string to_string(VllmVersion v) {
  return std::to_string(v.major_) + "." + std::to_string(v.minor_) + "." + std::to_string(v.patch_);
}

}  // namespace shardwise
