#include "parallel/engine_args.h"

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "parallel/argument_parser.h"
#include "parallel/flag_text.h"
#include "parallel/python_text.h"
#include "parallel/value_type.h"

namespace shardwise {
namespace {

constexpr auto kWhere = "vllm serve";

[[noreturn]] void bad(const std::string& flag, const std::string& message, const std::string& hint = "") {
  throw InputError(kWhere, 0, flag, message, hint);
}

/// Configurations are objects here; vLLM's parser lets through a few that are none.
std::string object_text(const std::string& text, const std::string& flag) {
  if (Json::parse(text, nullptr, false).is_discarded())
    bad(flag, "not JSON: " + text, "write an object in quotes, " + flag + R"( '{"key": value}')");
  return text;
}

std::int64_t whole_word(const std::string& word, const std::string& flag) {
  if (to_lower(trim(word)) == "auto") return -1;
  if (const auto value = human_readable_int(word)) return *value;
  const bool key = word.starts_with('.');  // -O.mode=3 is a level to vLLM's parser
  bad(flag, "'" + word + "' is not a whole number", key ? "keys stand behind -cc: -cc" + word : "write digits only");
}

double real(const std::string& word, const std::string& flag) {
  const auto value = python_float(word);
  if (!value || *value != *value) bad(flag, "'" + word + "' is not a number");
  return *value;
}

std::vector<std::int64_t> whole_numbers(const std::vector<std::string>& words, const std::string& flag) {
  std::vector<std::int64_t> values;
  for (const auto& word : words) values.push_back(whole_word(word, flag));
  return values;
}

/// Words that the parser took, as the member holds them.
template <class T>
T member_value(const FlagRow& row, const std::string& flag, const std::vector<std::string>& words) {
  if constexpr (std::is_same_v<T, bool>)
    return words.front() != "no";
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return whole_word(words.front(), flag);
  else if constexpr (std::is_same_v<T, double>)
    return real(words.front(), flag);
  else if constexpr (std::is_same_v<T, std::string>)
    return row.kind == FlagKind::json ? object_text(words.front(), flag) : words.front();
  else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>)
    return whole_numbers(words, flag);
  else
    return row.kind == FlagKind::comma_list ? split(words.front(), ',') : words;
}

/// Stores the words given for one argument; none at all is no value.
void store(EngineArgs& args, const FlagRow& row, const std::vector<std::string>& words) {
  std::visit(
      [&](auto member) {
        if constexpr (std::is_same_v<decltype(member), std::monostate>) {
          if (!words.empty() || row.kind == FlagKind::optional_text)
            args.not_used.emplace_back(std::string(row.name), words);
        } else {
          using T = typename std::remove_reference_t<decltype(args.*member)>::value_type;
          args.*member = words.empty() ? std::nullopt : std::optional<T>(member_value<T>(row, dashed(row.name), words));
        }
      },
      row.member);
}

/// The draft's keys are read when vLLM starts: as its configuration holds them, or as they stand if that refuses them.
std::string draft_text(const ArgumentRow& row, const std::string& word, VllmVersion version) {
  const auto made = coerce(row.field, Json::parse(word, nullptr, false), version);
  return std::holds_alternative<Json>(made) ? std::get<Json>(made).dump() : word;
}

/// What is read of an argument as words: yes and no for switches.
std::vector<std::string> argument_words_of(const ParsedArgument& argument, VllmVersion version) {
  if (argument.row->words == '0') return {argument.off ? "no" : "yes"};
  if (!argument.row->field.starts_with('@') || argument.words.empty()) return argument.words;
  return {draft_text(*argument.row, argument.words.front(), version)};
}

/// The words that say a JSON value on the command line.
std::vector<std::string> words_of_unused(const FlagRow& row, const Json& value) {
  const auto text = [](const Json& v) { return v.is_string() ? v.get<std::string>() : v.dump(); };
  if (row.kind == FlagKind::boolean || row.kind == FlagKind::present)
    return {value.is_boolean() && !value.get<bool>() ? "no" : "yes"};
  if (row.kind == FlagKind::json || !value.is_array()) return {text(value)};
  std::vector<std::string> words;
  for (const auto& v : value) words.push_back(text(v));
  return words;
}

/// What stands behind `vllm serve`, where that is written, too.
std::span<const std::string> behind_serve(std::span<const std::string> argv) {
  if (!argv.empty() && argv.front() == "vllm") argv = argv.subspan(1);
  if (!argv.empty() && argv.front() == "serve") argv = argv.subspan(1);
  return argv;
}

/// JSON-valued arguments are kept as JSON text, which is UTF-8.
void expect_text(std::span<const std::string> argv) {
  for (const auto& word : argv) {
    try {
      (void)Json(word).dump();
    } catch (const Json::type_error&) {
      throw InputError(kWhere, 0, "", "an argument is not UTF-8 text", "write plain text");
    }
  }
}

}  // namespace

std::int64_t human_integer(std::string_view text, const std::string& flag) {
  if (const auto value = human_readable_int(text)) return *value;
  throw InputError(flag, 0, "", "'" + std::string(text) + "' is not a whole number",
                   "write digits, or 8k (8,000), 8K (8,192), 1M");
}

EngineArgs parse_vllm_flags(std::span<const std::string> argv, VllmVersion version) {
  EngineArgs args;
  if (argv.empty()) return args;
  expect_text(argv);
  auto parsed = parse_arguments(behind_serve(argv), version);
  args.model = std::move(parsed.model);
  args.unknown = std::move(parsed.unknown);
  for (const auto& argument : parsed.given)
    store(args, *find_flag(argument.row->name), argument_words_of(argument, version));
  return args;
}

EngineArgs parse_or_refuse(std::span<const std::string> argv, VllmVersion version) {
  try {
    return parse_vllm_flags(argv, version);
  } catch (const InputError& e) {
    EngineArgs args;
    args.refused = (e.path.empty() ? "" : e.path + ": ") + e.message + (e.hint.empty() ? "" : " (" + e.hint + ")");
    return args;
  }
}

EngineArgs read_engine_args(const Json& object, const std::string& file) {
  if (!object.is_object()) throw InputError(file, 0, "args", "must be an object of vLLM argument names");
  EngineArgs args;
  for (const auto& item : object.items()) {
    const std::string& name = item.key();
    const Json& value = item.value();
    const FlagRow* row = find_flag(name);
    if (!row) {
      std::vector<std::string> names;
      for (const auto& r : flag_rows()) names.emplace_back(r.name);
      throw InputError(file, 0, "args." + name, "vLLM has no such argument", did_you_mean(name, names));
    }
    if (value.is_null()) continue;
    auto mismatch = [&](const char* what) {
      throw InputError(file, 0, "args." + name, "must be " + std::string(what) + ", not " + value.dump());
    };
    std::visit(
        [&, &json = value](auto member) {
          using M = decltype(member);
          if constexpr (std::is_same_v<M, std::monostate>) {
            args.not_used.emplace_back(name, words_of_unused(*row, json));
          } else if constexpr (std::is_same_v<M, std::optional<std::int64_t> EngineArgs::*>) {
            if (json.is_number_integer())
              args.*member = json.template get<std::int64_t>();
            else if (json.is_string() && human_readable_int(json.template get<std::string>()))
              args.*member = human_readable_int(json.template get<std::string>());
            else
              mismatch("a whole number");
          } else if constexpr (std::is_same_v<M, std::optional<double> EngineArgs::*>) {
            if (json.is_number())
              args.*member = json.template get<double>();
            else
              mismatch("a number");
          } else if constexpr (std::is_same_v<M, std::optional<bool> EngineArgs::*>) {
            if (json.is_boolean())
              args.*member = json.template get<bool>();
            else
              mismatch("true or false");
          } else if constexpr (std::is_same_v<M, std::optional<std::string> EngineArgs::*>) {
            if (row->kind == FlagKind::json)
              args.*member = json.is_string() ? json.template get<std::string>() : json.dump();
            else if (json.is_string())
              args.*member = json.template get<std::string>();
            else
              mismatch("text");
          } else if constexpr (std::is_same_v<M, std::optional<std::vector<std::int64_t>> EngineArgs::*>) {
            std::vector<std::int64_t> list;
            if (!json.is_array()) mismatch("a list");
            for (const auto& v : json) list.push_back(v.template get<std::int64_t>());
            args.*member = std::move(list);
          } else {
            std::vector<std::string> list;
            if (!json.is_array()) mismatch("a list");
            for (const auto& v : json) list.push_back(v.is_string() ? v.template get<std::string>() : v.dump());
            args.*member = std::move(list);
          }
        },
        row->member);
  }
  return args;
}

}  // namespace shardwise
