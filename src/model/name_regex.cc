#include "model/name_regex.h"

#include <algorithm>

namespace shardwise {
namespace {

using Step = NameRegex::Step;
using Op = Step::Op;
using Code = std::vector<Step>;
using Set = std::bitset<256>;

constexpr std::size_t kLongest = 300;       // of patterns and names
constexpr std::size_t kMostSteps = 20'000;  // {m,n} written out

int size(const Code& code) { return static_cast<int>(code.size()); }
std::size_t index(char c) { return static_cast<unsigned char>(c); }

void append(Code& to, const Code& more) { to.insert(to.end(), more.begin(), more.end()); }

Set between(char first, char last) {
  Set out;
  for (std::size_t c = index(first); c <= index(last); ++c) out.set(c);
  return out;
}

/// \d \w \s and their opposites; empty if `c` is none of them.
Set named_class(char c) {
  switch (c) {
    case 'd':
      return between('0', '9');
    case 'w':
      return between('0', '9') | between('a', 'z') | between('A', 'Z') | between('_', '_');
    case 's':
      return between('\t', '\r') | between(' ', ' ');
    case 'D':
    case 'W':
    case 'S':
      return ~named_class(static_cast<char>(c - 'A' + 'a'));
    default:
      return {};
  }
}

char escaped(char c) { return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c; }

/// Recursive descent over the text; `bad` once something is not understood.
struct Parser {
  std::string_view text;
  std::vector<Set> sets{};
  std::size_t at = 0;
  bool bad = false;

  bool more() const { return at < text.size(); }
  bool take(std::string_view word) {
    if (!text.substr(at).starts_with(word)) return false;
    at += word.size();
    return true;
  }
  Code fail() {
    bad = true;
    return {};
  }
  Code set(const Set& s) {
    sets.push_back(s);
    return {{Op::set, static_cast<int>(sets.size()) - 1}};
  }

  Code alternatives() {
    Code out = sequence();
    if (!take("|")) return out;
    const Code other = alternatives();
    out.insert(out.begin(), Step{Op::split, 1, size(out) + 2});
    out.push_back({Op::jump, size(other) + 1});
    append(out, other);
    return out;
  }

  Code sequence() {
    Code out;
    while (more() && !bad && text[at] != '|' && text[at] != ')') {
      append(out, repeated(atom()));
      if (out.size() > kMostSteps) return fail();
    }
    return out;
  }

  Code repeated(Code what) {
    while (more() && !bad) {
      int least = 0, most = -1;  // -1: no limit
      if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (!take("*") && !counts(least, most)) {
        break;
      }
      take("?");
      what = times(what, least, most);
    }
    return what;
  }

  /// "{m}", "{m,}" or "{m,n}".
  bool counts(int& least, int& most) {
    const std::size_t before = at;
    const auto number = [&](int otherwise) {
      if (!more() || text[at] < '0' || text[at] > '9') return otherwise;
      int n = 0;
      while (more() && text[at] >= '0' && text[at] <= '9' && n < 1000) n = 10 * n + (text[at++] - '0');
      return n;
    };
    if (!take("{")) return false;
    least = number(-1);
    most = take(",") ? number(-1) : least;
    if (least >= 0 && take("}")) return true;
    at = before;
    return false;
  }

  Code times(const Code& what, int least, int most) {
    Code out;
    if (what.size() * static_cast<std::size_t>(std::max({least, most, 1})) > kMostSteps) return fail();
    for (int i = 0; i < least; ++i) append(out, what);
    if (most < 0) {
      out.push_back({Op::split, 1, size(what) + 2});
      append(out, what);
      out.push_back({Op::jump, -(size(what) + 1)});
    }
    for (int i = least; i < most; ++i) {
      const int rest = (most - i) * (size(what) + 1);
      out.push_back({Op::split, 1, rest});
      append(out, what);
    }
    return out;
  }

  Code atom() {
    const char c = text[at++];
    switch (c) {
      case '.':
        return set(~(between('\n', '\n') | between('\r', '\r')));
      case '^':
        return {{Op::begin}};
      case '$':
        return {{Op::end}};
      case '(':
        return group();
      case '[':
        return char_class();
      case '\\':
        return escape();
      case '*':
      case '+':
      case '?':
        return fail();
      default:
        return set(between(c, c));
    }
  }

  Code group() {
    const bool ahead = take("?="), not_ahead = !ahead && take("?!");
    if (!ahead && !not_ahead && !take("?:") && more() && text[at] == '?') return fail();
    Code inner = alternatives();
    if (!take(")")) return fail();
    if (!ahead && !not_ahead) return inner;
    inner.push_back({Op::match});
    inner.insert(inner.begin(), Step{ahead ? Op::ahead : Op::not_ahead, size(inner) + 1});
    return inner;
  }

  Code escape() {
    if (!more()) return fail();
    const char c = text[at++];
    if (c == 'b') return {{Op::word}};
    if (c == 'B') return {{Op::not_word}};
    if (c >= '0' && c <= '9') return fail();
    const Set named = named_class(c);
    return set(named.any() ? named : between(escaped(c), escaped(c)));
  }

  Code char_class() {
    Set out;
    const bool inverted = take("^");
    for (bool first = true; more() && (first || text[at] != ']'); first = false) {
      const char c = text[at++];
      if (c == '\\') {
        if (!more()) return fail();
        const char e = text[at++];
        const Set named = named_class(e);
        out |= named.any() ? named : between(escaped(e), escaped(e));
      } else if (at + 1 < text.size() && text[at] == '-' && text[at + 1] != ']') {
        if (index(text[at + 1]) < index(c)) return fail();
        out |= between(c, text[at + 1]);
        at += 2;
      } else {
        out |= between(c, c);
      }
    }
    if (!take("]")) return fail();
    return set(inverted ? ~out : out);
  }
};

/// Depth first; a step is tried at most once at each place, since only whether it matches is asked.
struct Run {
  const Code& steps;
  const std::vector<Set>& sets;
  std::string_view name;
  std::vector<bool> tried{std::vector<bool>(steps.size() * (name.size() + 1))};

  bool word_at(std::size_t at) const { return at < name.size() && named_class('w').test(index(name[at])); }
  bool boundary(std::size_t at) const { return (at > 0 && word_at(at - 1)) != word_at(at); }

  bool from(int step, std::size_t at) {
    while (true) {
      const auto i = static_cast<std::size_t>(step);
      if (tried[i * (name.size() + 1) + at]) return false;
      tried[i * (name.size() + 1) + at] = true;
      const Step& s = steps[i];
      switch (s.op) {
        case Op::match:
          return true;
        case Op::set:
          if (at >= name.size() || !sets[static_cast<std::size_t>(s.a)].test(index(name[at]))) return false;
          ++at, ++step;
          continue;
        case Op::split:
          if (from(step + s.a, at)) return true;
          step += s.b;
          continue;
        case Op::jump:
          step += s.a;
          continue;
        case Op::ahead:
        case Op::not_ahead:
          if (Run{steps, sets, name}.from(step + 1, at) != (s.op == Op::ahead)) return false;
          step += s.a;
          continue;
        case Op::begin:
          if (at != 0) return false;
          break;
        case Op::end:
          if (at != name.size()) return false;
          break;
        case Op::word:
        case Op::not_word:
          if (boundary(at) != (s.op == Op::word)) return false;
          break;
      }
      ++step;
    }
  }
};

}  // namespace

std::optional<NameRegex> NameRegex::compile(std::string_view text) {
  if (text.size() > kLongest) return std::nullopt;
  Parser parser{text};
  NameRegex out;
  out.steps_ = parser.alternatives();
  if (parser.bad || parser.more()) return std::nullopt;
  out.steps_.push_back({Op::match});
  out.sets_ = std::move(parser.sets);
  return out;
}

bool NameRegex::matches_start(std::string_view name) const {
  return name.size() <= kLongest && Run{steps_, sets_, name}.from(0, 0);
}

}  // namespace shardwise
