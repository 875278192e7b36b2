// Arguments as they were given, and written back.
#include <algorithm>

#include "base/text.h"
#include "parallel/engine_args.h"
#include "parallel/flag_text.h"

namespace shardwise {

std::string dashed(std::string_view name) {
  std::string out = "--" + std::string(name);
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}

namespace {

std::string as_word(const std::string& value) { return value; }
std::string as_word(std::int64_t value) { return std::to_string(value); }
std::string as_word(double value) { return number_text(value); }
std::string as_word(bool value) { return value ? "yes" : "no"; }

template <class T>
std::vector<std::string> argument_words(const T& value) {
  return {as_word(value)};
}
template <class T>
std::vector<std::string> argument_words(const std::vector<T>& values) {
  std::vector<std::string> words;
  for (const auto& value : values) words.push_back(as_word(value));
  return words;
}

/// What the parser reads as a value behind an argument; -0.5 is a key to it.
bool is_negative_integer(const std::string& word) {
  return word.size() > 1 && word.find_first_not_of("0123456789", 1) == word.npos;
}

bool is_switch(const FlagRow& row) { return row.kind == FlagKind::boolean || row.kind == FlagKind::present; }

}  // namespace

std::vector<GivenFlag> given_flags(const EngineArgs& args) {
  std::vector<GivenFlag> given;
  for (const auto& row : flag_rows())
    std::visit(
        [&](auto member) {
          if constexpr (!std::is_same_v<decltype(member), std::monostate>)
            if (const auto& value = args.*member) given.push_back({&row, argument_words(*value)});
        },
        row.member);
  for (const auto& [name, words] : args.not_used)
    if (const auto* row = find_flag(name)) given.push_back({row, words});
  return given;
}

std::optional<std::string> unknown_arguments_note(const EngineArgs& args, VllmVersion version) {
  if (args.unknown.empty()) return std::nullopt;
  std::vector<std::string> names;
  for (const auto& [spelled, words] : args.unknown) names.push_back(spelled);
  return "no vLLM that is known here has " + join(names, ", ") + "; vLLM " + to_string(version) +
         " may: written through as given, nothing is computed from it";
}

std::optional<std::string> ray_note(const EngineArgs& args) {
  if (args.distributed_executor_backend != "ray" && args.data_parallel_backend != "ray") return std::nullopt;
  return "assumed: the ray package is installed and a Ray cluster of these nodes is up (pip install ray; ray start)";
}

EngineArgs without(EngineArgs args, FlagPart part) {
  for (const auto& row : flag_rows())
    std::visit(
        [&](auto member) {
          if constexpr (!std::is_same_v<decltype(member), std::monostate>)
            if (row.part == part) (args.*member).reset();
        },
        row.member);
  std::erase_if(args.not_used, [&](const auto& given) { return find_flag(given.first)->part == part; });
  return args;
}

std::vector<std::string> to_argv(const GivenFlag& flag) {
  const auto& [row, words] = flag;
  const auto name = dashed(row->name);
  const bool off = words == std::vector<std::string>{"no"};
  if (is_switch(*row)) {
    if (!off) return {name};
    return row->kind == FlagKind::boolean ? std::vector{"--no-" + name.substr(2)} : std::vector<std::string>{};
  }
  if (row->kind == FlagKind::comma_list) return {name, join(words, ",")};
  if (words.size() == 1 && words.front().starts_with('-') && !is_negative_integer(words.front()))
    return {name + "=" + words.front()};
  std::vector<std::string> argv = {name};
  argv.insert(argv.end(), words.begin(), words.end());
  return argv;
}

std::vector<std::string> to_argv(const EngineArgs& args) {
  std::vector<std::string> argv;
  if (args.model) argv.push_back(*args.model);
  for (const auto& flag : given_flags(args)) {
    if (flag.row->name == "model") continue;
    for (auto& text : to_argv(flag)) argv.push_back(std::move(text));
  }
  for (const auto& [spelled, words] : args.unknown) {
    argv.push_back(spelled);
    argv.insert(argv.end(), words.begin(), words.end());
  }
  return argv;
}

}  // namespace shardwise
