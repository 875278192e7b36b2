#include "launch/launch_folder.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <set>

#include "base/input_error.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "config/text_source.h"
#include "config/write_file.h"
#include "launch/parts.h"

namespace shardwise {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";

/// A name that some row of the table gives its file.
bool is_launch_file(const std::string& name) {
  const auto rows = launch_targets();
  return std::any_of(rows.begin(), rows.end(), [&](const LaunchTarget& target) {
    const auto at = target.file.find("<N>");
    if (at == std::string_view::npos) return name == target.file;
    const auto front = target.file.substr(0, at), back = target.file.substr(at + 3);
    if (!name.starts_with(front) || !name.ends_with(back) || name.size() <= front.size() + back.size()) return false;
    return std::all_of(name.begin() + static_cast<std::ptrdiff_t>(front.size()),
                       name.end() - static_cast<std::ptrdiff_t>(back.size()),
                       [](unsigned char c) { return std::isdigit(c); });
  });
}

/// Files of the plan that was written there before; nullopt if the folder has no manifest of ours.
std::optional<std::set<std::string>> files_before(const fs::path& folder) {
  std::error_code ignored;
  const auto path = folder / kManifest;
  if (!fs::is_regular_file(fs::symlink_status(path, ignored))) return std::nullopt;
  const Json manifest = Json::parse(read_file(path.string()), nullptr, false);
  if (!manifest.is_object() || text_at(manifest, "format") != kLaunchFormat) return std::nullopt;
  std::set<std::string> out;
  if (const Json* files = array_at(manifest, "files"))
    for (const Json& name : *files)
      if (name.is_string() && is_launch_file(name.get<std::string>())) out.insert(name.get<std::string>());
  return out;
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (std::error_code ignored; !fs::is_directory(folder, ignored))
    throw OutputError(folder.string(), error ? error.value() : ENOTDIR);
}

bool is_empty(const fs::path& folder) {
  std::error_code error;
  const bool empty = fs::is_empty(folder, error);
  if (error) throw OutputError(folder.string(), error.value());
  return empty;
}

}  // namespace

void write_launch_folder(const std::string& folder, const std::map<std::string, std::string>& files, bool force) {
  make_folder(folder);
  const auto before = files_before(folder);
  if (!before && !force && !is_empty(folder))
    throw InputError("--emit", 0, "", folder + " has other files than those of a plan",
                     "name an empty or new folder, or add --force");
  for (const auto& [name, text] : files) {
    const auto path = fs::path(folder) / name;
    std::error_code ignored;
    const auto there = fs::symlink_status(path, ignored);
    if (fs::exists(there) && !fs::is_regular_file(there) && !fs::is_symlink(there))
      throw InputError("--emit", 0, "", path.string() + " is no file", "move it away");
    if (fs::is_symlink(there)) fs::remove(path, ignored);
    write_file(path.string(), text, text.starts_with("#!"));
  }
  for (const auto& name : before.value_or(std::set<std::string>()))
    if (std::error_code ignored; !files.count(name)) fs::remove(fs::path(folder) / name, ignored);
}

}  // namespace shardwise
