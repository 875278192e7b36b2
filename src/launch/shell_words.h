#pragma once
// Words of shell text. Not for other layers.
#include "launch/start_commands.h"

namespace shardwise {

/// A script that says more of a variable, or goes deeper, is none that starts a server.
inline constexpr std::size_t kMostWords = 4096, kLongestValue = 1 << 16;
inline constexpr int kDeepestScript = 8;

struct ShellWord {
  std::string text;
  int line = 0;
  bool is_operator = false, quoted = false, touches = false;  ///< touches: no blank before it
};

/// Text that is read from the front by the variables set so far.
class ShellText {
 public:
  ShellText(const std::string& text, const std::string& file, Variables variables, int line)
      : text_(text), file_(file), variables_(std::move(variables)), line_(line) {}

 protected:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  char next() {
    const char c = text_[at_++];
    if (c == '\n') ++line_;
    return c;
  }
  /// Text up to the bracket that closes the one just read.
  std::string bracketed(char open, char close);
  /// Behind a '$': the words that it stands for.
  std::vector<std::string> expansion();
  std::vector<std::string> value_of(const std::string& name, std::vector<std::string> otherwise) const;
  std::vector<std::string> braced(const std::string& inside);
  std::string expand(const std::string& text);
  void skip_blank();
  /// A word, several where an array stands, or an operator; nullopt at the end.
  bool read_words(std::vector<ShellWord>& out);
  template <class Add>
  void double_quoted(const Add& add, std::vector<std::string>& words);
  /// NAME=( or NAME+=( was read.
  bool array(std::string head, std::vector<ShellWord>& out, int line);

  const std::string text_, file_;
  Variables variables_;
  std::size_t at_ = 0;
  int line_ = 1;
};

}  // namespace shardwise
