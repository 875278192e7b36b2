#pragma once
// Where answers go. An answer is written whole or not at all, and who asked is told.
#include <stdexcept>
#include <string>
#include <string_view>

namespace shardwise {

/// An answer could not be written: a full disk, a folder that may not be written, a pipe that nobody reads.
struct OutputError : std::runtime_error {
  int reason;  ///< errno
  OutputError(const std::string& name, int reason_);
};

/// Puts `text` at `path`, whole: written beside it under another name, on the disk before it takes the name. A link at
/// `path` is replaced, not followed; what is no file there (a device, a pipe) is written to. The umask decides who may
/// read it, and run it if it is `executable`. Throws OutputError.
void write_file(const std::string& path, std::string_view text, bool executable = false);
/// All of `text` to an open file or pipe called `name`. Throws OutputError.
void write_all(int file, std::string_view text, const std::string& name);

}  // namespace shardwise
