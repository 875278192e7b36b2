#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "base/printable.h"
#include "config/write_file.h"

namespace shardwise {
namespace {

constexpr std::string_view kLayout = "\n\t";

/// Length of a colour of Style at the front of `text`; 0 if there is none.
std::size_t colour_length(std::string_view text) {
  if (!text.starts_with("\x1b[")) return 0;
  const auto end = text.find_first_not_of("0123456789", 2);
  return end != std::string_view::npos && text[end] == 'm' && end > 2 && end < 5 ? end + 1 : 0;
}

std::string shown(std::string_view text, bool colour) {
  if (!colour) return printable(text, kLayout);
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto length = colour_length(text.substr(i));
    const auto next = text.find('\x1b', length > 0 ? i + length : i + 1);
    out += text.substr(i, length);
    out += printable(text.substr(i + length, next == std::string_view::npos ? next : next - i - length), kLayout);
    i = next == std::string_view::npos ? text.size() : next;
  }
  return out;
}

}  // namespace

void print(std::string_view text, const Style& style) {
  write_all(STDOUT_FILENO, shown(text, style.color), "standard output");
}

void tell(std::string_view text) { std::fputs(("shardwise: " + printable(text, kLayout) + "\n").c_str(), stderr); }

void prepare_output() {
  std::signal(SIGPIPE, SIG_IGN);
  for (const int file : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(file, F_GETFD) < 0) (void)::open("/dev/null", file == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

}  // namespace shardwise
