// config.json (and, behind a NUL byte, hf_quant_config.json): a model, or an InputError.
#include <cstdint>
#include <string_view>

#include "base/input_error.h"
#include "model/load.h"

using namespace shardwise;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto end = text.find('\0');
  try {
    read_hf_config(text.substr(0, end), end == std::string_view::npos ? "" : text.substr(end + 1), "config.json");
  } catch (const InputError&) {
  }
  return 0;
}
