#include "config/text_source.h"

#include <array>
#include <filesystem>
#include <fstream>

#include "base/input_error.h"

namespace shardwise {

std::optional<std::string> DiskSource::read(const std::string& name) {
  std::error_code ignored;
  const auto there = std::filesystem::status(name, ignored);
  if (!std::filesystem::exists(there) || std::filesystem::is_directory(there)) return std::nullopt;
  std::ifstream in(name, std::ios::binary);
  if (!in) throw InputError(name, 0, "", "cannot be opened", "check its permissions");
  std::string text;
  for (std::array<char, 1 << 16> part; in.read(part.data(), part.size()) || in.gcount() > 0;) {
    text.append(part.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMostText)
      throw InputError(name, 0, "", "is larger than " + std::to_string(kMostText >> 20) + " MiB", "give a part of it");
  }
  if (in.bad()) throw InputError(name, 0, "", "cannot be read to its end");
  return text;
}

std::string read_file(const std::string& path) {
  auto text = DiskSource().read(path);
  if (!text) throw InputError(path, 0, "", "no such file");
  return std::move(*text);
}

}  // namespace shardwise
