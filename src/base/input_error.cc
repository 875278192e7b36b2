#include "base/input_error.h"

namespace shardwise {
namespace {
std::string compose(const std::string& file, int line, const std::string& path, const std::string& message,
                    const std::string& hint) {
  std::string out;
  if (!file.empty()) out += file + (line > 0 ? ":" + std::to_string(line) : "") + ": ";
  if (!path.empty()) out += path + ": ";
  out += message;
  if (!hint.empty()) out += " (" + hint + ")";
  return out;
}
}  // namespace

InputError::InputError(std::string file_, int line_, std::string path_, std::string message_, std::string hint_)
    : std::runtime_error(compose(file_, line_, path_, message_, hint_)),
      file(std::move(file_)),
      line(line_ > 0 ? std::optional(line_) : std::nullopt),
      path(std::move(path_)),
      message(std::move(message_)),
      hint(std::move(hint_)) {}

}  // namespace shardwise
