#include "config/write_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace shardwise {
namespace {

/// An open file that is closed when it goes; a name to remove unless it is kept.
struct NewFile {
  std::string path;
  int file = -1;
  bool kept = false;
  ~NewFile() {
    if (file >= 0) ::close(file);
    if (!kept && !path.empty()) ::unlink(path.c_str());
  }
};

/// A name that nobody has, beside `path`.
void open_beside(NewFile& out, const std::string& path, mode_t mode) {
  const auto folder = std::filesystem::path(path).parent_path();
  for (int i = 0; out.file < 0; ++i) {
    const std::string name = ".shardwise." + std::to_string(::getpid()) + "." + std::to_string(i);
    const std::string beside = (folder / name).string();
    out.file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (out.file >= 0)
      out.path = beside;
    else if (errno != EEXIST)
      throw OutputError(path, errno);
  }
}

void sync_folder(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  const int file = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

/// Devices, pipes, and names that stand for an open file.
bool is_stream(const std::string& path) {
  struct stat status {};
  for (const char* open_files : {"/dev/std", "/dev/fd/", "/proc/"})
    if (path.starts_with(open_files)) return true;
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

void write_stream(const std::string& path, std::string_view text) {
  NewFile out;
  out.file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (out.file < 0) throw OutputError(path, errno);
  write_all(out.file, text, path);
}

}  // namespace

OutputError::OutputError(const std::string& name, int reason_)
    : std::runtime_error(name + ": cannot be written: " + std::strerror(reason_)), reason(reason_) {}

void write_all(int file, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const auto written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw OutputError(name, errno);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void write_file(const std::string& path, std::string_view text, bool executable) {
  if (is_stream(path)) return write_stream(path, text);
  NewFile out;
  open_beside(out, path, executable ? 0777 : 0666);
  write_all(out.file, text, path);
  if (::fsync(out.file) != 0) throw OutputError(path, errno);
  if (::close(std::exchange(out.file, -1)) != 0) throw OutputError(path, errno);
  if (::rename(out.path.c_str(), path.c_str()) != 0) throw OutputError(path, errno);
  out.kept = true;
  sync_folder(path);
}

}  // namespace shardwise
