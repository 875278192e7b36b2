#include "config/text_source.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/input_error.h"

namespace shardwise {

std::optional<std::string> DiskSource::read(const std::string& name) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(name, ignored)) return std::nullopt;
  std::ifstream in(name, std::ios::binary);
  if (!in) throw InputError(name, 0, "", "cannot be opened", "check its permissions");
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

std::string read_file(const std::string& path) {
  auto text = DiskSource().read(path);
  if (!text) throw InputError(path, 0, "", "no such file");
  return std::move(*text);
}

}  // namespace shardwise
