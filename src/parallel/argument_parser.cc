#include "parallel/argument_parser.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <map>
#include <set>

#include "base/input_error.h"
#include "base/text.h"
#include "parallel/argument_values.h"
#include "parallel/argument_words.h"

namespace shardwise {
namespace {

constexpr auto kCommand = "vllm serve";

[[noreturn]] void refuse_argument(const std::string& flag, const std::string& message, const std::string& hint = "") {
  throw InputError(kCommand, 0, flag, message, hint);
}

struct ArgvOption {
  const ArgumentRow* row = nullptr;
  bool off = false;
};
using ArgvOptions = std::map<std::string, ArgvOption, std::less<>>;

void add_spellings(const ArgumentRow& row, ArgvOptions& to) {
  for (const auto& name : row.spelled) to[name] = {&row, false};
  for (const auto& name : row.off) to[name] = {&row, true};
}

/// What the version spells.
ArgvOptions options_of(VllmVersion version) {
  ArgvOptions options;
  for (const auto& row : argument_rows())
    if (row.versions.contains(version)) add_spellings(row, options);
  return options;
}

/// The newest argument of another version with that spelling in full.
ArgvOption option_elsewhere(const std::string& name) {
  ArgvOption found;
  for (const auto& row : argument_rows()) {
    const bool on = std::find(row.spelled.begin(), row.spelled.end(), name) != row.spelled.end();
    const bool off = std::find(row.off.begin(), row.off.end(), name) != row.off.end();
    if ((on || off) && (!found.row || found.row->versions.since <= row.versions.since)) found = {&row, off};
  }
  return found;
}

/// A word of the command line as argparse classifies it.
struct ArgvWord {
  enum class Kind { value, option, unknown } kind = Kind::value;
  ArgvOption option;
  std::string spelled;                ///< in full
  std::optional<std::string> inside;  ///< behind the =, or behind a one-letter option
};

/// ^-\d+$|^-\d*\.\d+$
bool is_negative_number(std::string_view word) {
  word.remove_prefix(1);
  const auto digits = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return std::isdigit(static_cast<unsigned char>(c)); });
  };
  const auto dot = word.find('.');
  if (dot == word.npos) return !word.empty() && digits(word);
  return digits(word.substr(0, dot)) && dot + 1 < word.size() && digits(word.substr(dot + 1));
}

class ArgumentReader {
 public:
  ArgumentReader(std::vector<std::string> argv, VllmVersion version)
      : argv_(std::move(argv)), version_(version), options_(options_of(version)) {
    for (const auto& word : argv_) {
      if (word == "--") break;
      words_.push_back(classified(word));
    }
  }

  ParsedArguments read() {
    for (std::size_t i = 0; i < argv_.size() && !out_.help;) i = step(i);
    if (left_over_ && !out_.help) throw InputError(*left_over_);
    return std::move(out_);
  }

 private:
  std::size_t step(std::size_t i) {
    if (is_value(i)) return value(i);
    if (argv_[i] == "--") return leave({kCommand, 0, "--", "vLLM takes no arguments behind it"}), argv_.size();
    return words_[i].kind == ArgvWord::Kind::unknown ? unknown(i) : consume(i);
  }

  /// The model; a -- right behind it is let through.
  std::size_t value(std::size_t i) {
    if (out_.model) {
      leave({kCommand, 0, argv_[i], "a second model, or a value without its flag",
             "flags come after MODEL as --name value"});
      return i + 1;
    }
    out_.model = argv_[i];
    return i + 1 < argv_.size() && argv_[i + 1] == "--" ? i + 2 : i + 1;
  }

  /// argparse says what it could not place when it has read all else.
  void leave(const InputError& error) {
    if (!left_over_) left_over_ = error;
  }

  bool is_value(std::size_t i) const {
    return i >= words_.size() ? argv_[i] != "--" : words_[i].kind == ArgvWord::Kind::value;
  }

  /// How many words that are no options stand from `i` on, at most `most`.
  std::size_t values_at(std::size_t i, std::size_t most) const {
    std::size_t n = 0;
    while (n < most && i + n < words_.size() && words_[i + n].kind == ArgvWord::Kind::value) ++n;
    return n;
  }

  std::size_t unknown(std::size_t i) {
    const auto name = argv_[i].substr(0, argv_[i].find('='));
    if (version_ <= newest_read_version()) return leave(no_such_argument(name)), i + 1;
    const auto count = argv_[i].find('=') == std::string::npos ? values_at(i + 1, argv_.size()) : 0;
    const auto first = argv_.begin() + static_cast<std::ptrdiff_t>(i) + 1;
    out_.unknown.emplace_back(argv_[i], std::vector<std::string>(first, first + static_cast<std::ptrdiff_t>(count)));
    return i + 1 + count;
  }

  std::size_t consume(std::size_t i) {
    auto word = words_[i];
    while (word.inside && word.option.row->words == '0') {  // -hx: a switch of one letter with another behind it
      if (word.spelled.starts_with("--") || word.inside->empty())
        refuse_argument(
            word.spelled, "takes no value",
            word.option.row->off.empty() ? "" : "write " + word.spelled + " or " + word.option.row->off.front());
      take(word, {});
      const auto next = options_.find("-" + word.inside->substr(0, 1));
      if (next == options_.end()) refuse_argument(word.spelled, "takes no value");
      word.option = next->second;
      word.spelled = next->first;
      word.inside = word.inside->size() > 1 ? std::optional(word.inside->substr(1)) : std::nullopt;
    }
    if (word.inside) {
      take(word, {*word.inside});
      return i + 1;
    }
    const char wanted = word.option.row->words;
    const auto count = wanted == '0' ? 0 : values_at(i + 1, wanted == '+' ? argv_.size() : 1);
    if (count == 0 && (wanted == '1' || wanted == '+'))
      refuse_argument(word.spelled, wanted == '1' ? "needs a value" : "needs at least one value");
    const auto first = argv_.begin() + static_cast<std::ptrdiff_t>(i) + 1;
    take(word, {first, first + static_cast<std::ptrdiff_t>(count)});
    return i + 1 + count;
  }

  void take(const ArgvWord& word, std::vector<std::string> values) {
    const auto& row = *word.option.row;
    if (row.reads == "help") {
      out_.help = true;
      return;
    }
    ParsedArgument argument{&row, word.option.off, {}};
    for (const auto& value : values)
      if (auto read = read_argument_word(row, word.spelled, value, version_))
        argument.words.push_back(std::move(*read));
    out_.given.push_back(std::move(argument));
  }

  ArgvWord classified(const std::string& text) const {
    if (text.size() < 2 || text.front() != '-') return {};
    if (auto found = exactly(text, options_)) return *found;
    auto near = abbreviated(text);
    if (near.size() > 1) ambiguous(text, near);
    if (near.size() == 1) return near.front();
    if (is_negative_number(text)) return {};
    const auto name = text.substr(0, text.find('='));
    if (const auto option = option_elsewhere(name); option.row && !here(*option.row))
      return {ArgvWord::Kind::option, option, name,
              name == text ? std::nullopt : std::optional(text.substr(name.size() + 1))};
    if (text.find(' ') != text.npos) return {};
    return {ArgvWord::Kind::unknown, {}, text, {}};
  }

  static std::optional<ArgvWord> exactly(const std::string& text, const ArgvOptions& options) {
    if (const auto at = options.find(text); at != options.end())
      return ArgvWord{ArgvWord::Kind::option, at->second, text, {}};
    const auto eq = text.find('=');
    if (eq == text.npos) return std::nullopt;
    const auto at = options.find(text.substr(0, eq));
    if (at == options.end()) return std::nullopt;
    return ArgvWord{ArgvWord::Kind::option, at->second, at->first, text.substr(eq + 1)};
  }

  /// The argument's form in this version; null if it has none.
  const ArgumentRow* here(const ArgumentRow& row) const {
    for (const auto& [spelled, option] : options_)
      if (option.row->name == row.name) return option.row;
    return nullptr;
  }

  /// Every option that the word may be short for.
  std::vector<ArgvWord> abbreviated(const std::string& text) const {
    std::vector<ArgvWord> found;
    const bool two = text[1] == '-';
    const auto eq = two ? text.find('=') : text.npos;
    const auto prefix = text.substr(0, eq);
    const auto inside = eq == text.npos ? std::nullopt : std::optional(text.substr(eq + 1));
    for (auto at = options_.lower_bound(prefix); at != options_.end() && at->first.starts_with(prefix); ++at)
      found.push_back({ArgvWord::Kind::option, at->second, at->first, inside});
    if (two) return found;
    if (const auto letter = options_.find(text.substr(0, 2)); letter != options_.end() && text.size() > 2)
      found.push_back({ArgvWord::Kind::option, letter->second, letter->first, text.substr(2)});
    return found;
  }

  [[noreturn]] static void ambiguous(const std::string& text, const std::vector<ArgvWord>& near) {
    std::vector<std::string> names;
    for (const auto& word : near) names.push_back(word.spelled);
    if (names.size() > 6) names.resize(6), names.push_back("...");
    refuse_argument(text, "could be " + join(names, " or "), "write one of them in full");
  }

  /// How this version spells it, or what is spelled nearly so.
  std::string spelled_here(const std::string& name) const {
    if (const auto option = option_elsewhere(name); option.row)
      if (const auto* form = here(*option.row); form && (!option.off || !form->off.empty()))
        return "write " + (option.off ? form->off : form->spelled).front();
    std::vector<std::string> names;
    for (const auto& [spelled, option] : options_) names.push_back(spelled);
    const auto hint = did_you_mean(name, names);
    return hint.empty() ? "see `vllm serve --help=all`" : hint;
  }

  InputError no_such_argument(const std::string& name) const {
    const auto who = option_elsewhere(name).row ? "vLLM " + to_string(version_) : std::string("vLLM");
    return {kCommand, 0, name, who + " has no such argument", spelled_here(name)};
  }

  std::vector<std::string> argv_;
  VllmVersion version_;
  ArgvOptions options_;
  std::vector<ArgvWord> words_;  ///< up to a --
  ParsedArguments out_;
  std::optional<InputError> left_over_;  ///< the first word that has no place
};

}  // namespace

ParsedArguments parse_arguments(std::span<const std::string> argv, VllmVersion version) {
  return ArgumentReader(flexible_words(argv, version), version).read();
}

}  // namespace shardwise
