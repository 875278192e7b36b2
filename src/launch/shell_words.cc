#include "launch/shell_words.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "config/quantity.h"

namespace shardwise {
namespace {

/// + - * / % and parentheses over numbers and variables; nullopt if a variable is not known.
class Arithmetic {
 public:
  Arithmetic(std::string_view text, const Variables& variables) : text_(text), variables_(variables) {}
  std::optional<std::int64_t> value() {
    const auto v = sum();
    skip();
    return at_ == text_.size() ? v : std::nullopt;
  }

 private:
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool take(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    return ++at_, true;
  }
  std::optional<std::int64_t> sum() {
    auto v = product();
    for (;;) {
      const char op = take('+') ? '+' : take('-') ? '-' : 0;
      if (!op) return v;
      const auto other = product();
      v = v && other ? small(op == '+' ? *v + *other : *v - *other) : std::nullopt;
    }
  }
  std::optional<std::int64_t> product() {
    auto v = atom();
    for (;;) {
      const char op = take('*') ? '*' : take('/') ? '/' : take('%') ? '%' : 0;
      if (!op) return v;
      const auto other = atom();
      if (!v || !other || (op != '*' && *other == 0))
        v = std::nullopt;
      else
        v = small(op == '*' ? *v * *other : op == '/' ? *v / *other : *v % *other);
    }
  }
  std::optional<std::int64_t> atom() {
    if (take('(')) {
      const auto v = ++depth_ < 64 ? sum() : std::nullopt;
      return take(')') ? v : std::nullopt;
    }
    const bool negative = take('-');
    skip();
    if (at_ < text_.size() && text_[at_] == '$') ++at_;
    const bool brace = at_ < text_.size() && text_[at_] == '{' && ++at_;
    const auto begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) ++at_;
    std::string word(text_.substr(begin, at_ - begin));
    if (brace && !take('}')) return std::nullopt;
    if (const auto it = variables_.find(word); it != variables_.end() && !it->second.empty()) word = it->second.front();
    std::int64_t v = 0;
    if (!parse_number(word, v) || !small(v)) return std::nullopt;
    return negative ? -v : v;
  }
  /// Sizes and ranks; what is far larger is none, and its products would not be numbers.
  static std::optional<std::int64_t> small(std::int64_t v) {
    return v > -1'000'000'000 && v < 1'000'000'000 ? std::optional(v) : std::nullopt;
  }

  std::string_view text_;
  const Variables& variables_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

/// What a program would print: $(program) without blanks, so that it stays one word.
std::string not_run(const std::string& program) {
  std::vector<std::string> words;
  for (const auto& line : split(program, '\n'))
    for (const auto& word : split(line, ' '))
      if (!trim(word).empty()) words.emplace_back(trim(word));
  return "$(" + join(words, "_") + ")";
}

}  // namespace

std::string ShellText::bracketed(char open, char close) {
  std::string out;
  for (int depth = 1; at_ < text_.size();) {
    const char c = next();
    if (c == open) ++depth;
    if (c == close && --depth == 0) break;
    out += c;
  }
  return out;
}

std::vector<std::string> ShellText::expansion() {
  if (peek() == '(' && peek(1) == '(') {
    at_ += 2;
    const auto inside = bracketed('(', ')');
    if (peek() == ')') ++at_;
    if (const auto v = Arithmetic(inside, variables_).value()) return {std::to_string(*v)};
    return {"$((" + inside + "))"};
  }
  if (peek() == '(') {
    ++at_;
    return {not_run(bracketed('(', ')'))};
  }
  if (peek() == '{') {
    ++at_;
    return braced(bracketed('{', '}'));
  }
  if (peek() == '@' || peek() == '*') return ++at_, std::vector<std::string>{};
  std::string name;
  if (std::isdigit(static_cast<unsigned char>(peek())))
    name = next();
  else
    while (std::isalnum(static_cast<unsigned char>(peek())) || peek() == '_') name += next();
  if (name.empty()) return {"$"};
  return value_of(name, {"${" + name + "}"});
}

std::vector<std::string> ShellText::value_of(const std::string& name, std::vector<std::string> otherwise) const {
  const auto it = variables_.find(name);
  return it == variables_.end() ? otherwise : it->second;
}

std::vector<std::string> ShellText::braced(const std::string& inside) {
  auto end = std::ranges::find_if(inside, [](unsigned char c) { return !std::isalnum(c) && c != '_'; });
  const std::string name(inside.begin(), end), rest(end, inside.end());
  if (name.empty()) return {"${" + inside + "}"};
  if (rest.starts_with("[@]") || rest.starts_with("[*]")) return value_of(name, {});
  if (rest.starts_with("[")) {
    const auto all = value_of(name, {});
    const auto index = Arithmetic(rest.substr(1, rest.find(']') - 1), variables_).value();
    if (index && *index >= 0 && *index < static_cast<std::int64_t>(all.size()))
      return {all[static_cast<std::size_t>(*index)]};
    return {"${" + inside + "}"};
  }
  const auto at = rest.find('-'), assign = rest.find('=');
  const auto from = rest.starts_with(":-") || rest.starts_with(":=") ? 2u : at == 0 || assign == 0 ? 1u : 0u;
  auto known = value_of(name, {});
  if (!known.empty() && !(known.size() == 1 && known[0].empty())) return known;
  if (from) return {expand(rest.substr(from))};
  return variables_.contains(name) ? known : std::vector<std::string>{"${" + inside + "}"};
}

std::string ShellText::expand(const std::string& text) {
  ShellText inner(text, file_, variables_, line_);
  std::string out;
  while (inner.at_ < text.size())
    out += inner.peek() == '$' ? (++inner.at_, join(inner.expansion(), " ")) : std::string(1, inner.next());
  return out;
}

void ShellText::skip_blank() {
  for (;;) {
    if (peek() == '\\' && peek(1) == '\n')
      at_ += 2, ++line_;
    else if (peek() == '\\' && peek(1) == '\r' && peek(2) == '\n')
      at_ += 3, ++line_;
    else if (peek() != '\n' && std::isspace(static_cast<unsigned char>(peek())))
      ++at_;
    else if (peek() == '#')
      while (at_ < text_.size() && peek() != '\n') ++at_;
    else
      return;
  }
}

bool ShellText::read_words(std::vector<ShellWord>& out) {
  const auto before = at_;
  skip_blank();
  if (at_ >= text_.size()) return false;
  const int line = line_;
  static constexpr std::string_view operators = "\n;&|()<>";
  if (operators.find(peek()) != std::string_view::npos) {
    std::string op(1, next());
    if (op != "\n" && op != "(" && op != ")")
      while (!op.empty() && peek() == op[0]) op += next();
    out.push_back({op, line, true, false, at_ - op.size() == before});
    return true;
  }
  std::vector<std::string> words(1);
  bool quoted = false;
  const auto add = [&](const std::vector<std::string>& values, bool split_up) {
    std::vector<std::string> all;
    for (const auto& value : values) {
      if (!split_up) {
        all.push_back(value);
        continue;
      }
      for (const auto& part : split(value, ' '))
        if (!trim(part).empty()) all.emplace_back(trim(part));
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i) words.emplace_back();
      words.back() += all[i];
    }
    quoted = quoted || (!all.empty() && !split_up);
  };
  while (at_ < text_.size()) {
    const char c = peek();
    if (std::isspace(static_cast<unsigned char>(c)) || operators.find(c) != std::string_view::npos) {
      if (c == '(' && words.back().ends_with('=')) return array(words.back(), out, line);
      break;
    }
    next();
    if (c == '\\') {
      if (peek() == '\n')
        next();
      else if (at_ < text_.size())
        words.back() += next();
    } else if (c == '\'') {
      quoted = true;
      while (at_ < text_.size() && peek() != '\'') words.back() += next();
      if (at_ < text_.size()) next();
    } else if (c == '"') {
      quoted = quoted || peek() != '$' || text_.compare(at_, 2, "$@") != 0;
      double_quoted(add, words);
    } else if (c == '$') {
      const auto values = expansion();
      add(values, !(values.size() == 1 && values[0].starts_with("$")));
    } else if (c == '`') {
      std::string inside;
      while (at_ < text_.size() && peek() != '`') inside += next();
      if (at_ < text_.size()) next();
      words.back() += not_run(inside);
    } else {
      words.back() += c;
    }
  }
  for (auto& word : words)
    if (quoted || !word.empty()) out.push_back({std::move(word), line, false, quoted});
  return true;
}

template <class Add>
void ShellText::double_quoted(const Add& add, std::vector<std::string>& words) {
  while (at_ < text_.size() && peek() != '"') {
    const char c = next();
    if (c == '\\' && (peek() == '"' || peek() == '\\' || peek() == '$' || peek() == '`'))
      words.back() += next();
    else if (c == '\\' && peek() == '\n')
      next();
    else if (c == '$')
      add(expansion(), false);
    else
      words.back() += c;
  }
  if (at_ < text_.size()) next();
}

bool ShellText::array(std::string head, std::vector<ShellWord>& out, int line) {
  next();
  std::vector<ShellWord> inside;
  for (;;) {
    const auto before = inside.size();
    if (!read_words(inside)) break;
    if (inside.size() > before && inside.back().is_operator) {
      const bool end = inside.back().text == ")";
      inside.pop_back();
      if (end) break;
    }
  }
  head.pop_back();
  const bool more = head.ends_with('+');
  if (more) head.pop_back();
  auto& values = variables_[head];
  if (!more) values.clear();
  for (auto& word : inside)
    if (values.size() < kMostWords) values.push_back(std::move(word.text));
  out.push_back({head + "=(...)", line, false, true});
  return true;
}

}  // namespace shardwise
