#pragma once
// Where text comes from: the disk, memory (tests), or a model hub. Readers take a TextSource, never a path of their
// own.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace shardwise {

/// A place that has named texts. Implementations are not thread-safe unless they say so.
class TextSource {
 public:
  virtual ~TextSource() = default;
  /// The text called `name`, or nullopt if there is none. Trouble other than absence is an InputError.
  virtual std::optional<std::string> read(const std::string& name) = 0;
};

/// No text that is read is longer: a device may have no end.
inline constexpr std::size_t kMostText = std::size_t{64} << 20;

/// Files on disk, pipes and devices; `name` is a path.
class DiskSource : public TextSource {
 public:
  std::optional<std::string> read(const std::string& name) override;
};

/// Text of the file at `path`; InputError if it cannot be read.
std::string read_file(const std::string& path);

}  // namespace shardwise
