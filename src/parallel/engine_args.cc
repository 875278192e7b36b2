#include "parallel/engine_args.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "parallel/flag_text.h"

namespace shardwise {
namespace {

constexpr auto kWhere = "vllm serve";

[[noreturn]] void bad(const std::string& flag, const std::string& message, const std::string& hint = "") {
  throw InputError(kWhere, 0, flag, message, hint);
}

std::optional<std::int64_t> to_integer(std::string_view text) {
  text = trim(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> to_human_integer(std::string_view text) {
  text = trim(text);
  if (const auto plain = to_integer(text)) return plain;
  if (text.size() < 2) return std::nullopt;
  const char suffix = text.back();
  const auto digits = text.substr(0, text.size() - 1);
  if (digits.find_first_not_of("0123456789.") != std::string_view::npos) return std::nullopt;
  const auto power = std::string_view("kmgt").find(suffix);
  if (power != std::string_view::npos) {
    const auto number = to_number(digits);
    if (!number) return std::nullopt;
    double scale = 1;
    for (std::size_t i = 0; i <= power; ++i) scale *= 1000;
    const double scaled = *number * scale;
    if (!(scaled < 9e18)) return std::nullopt;
    return static_cast<std::int64_t>(scaled);
  }
  const auto binary = std::string_view("KMGT").find(suffix);
  const auto whole = to_integer(digits);
  if (binary == std::string_view::npos || !whole) return std::nullopt;
  const int shift = 10 * (static_cast<int>(binary) + 1);
  if (*whole > (std::int64_t{1} << (62 - shift))) return std::nullopt;
  return *whole << shift;
}

/// Bare (unquoted) 80m, 8K inside JSON text become plain numbers, as vLLM allows in JSON arguments.
std::string expand_json_numbers(std::string_view text) {
  std::string out;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (quoted) {
      out += c;
      if (c == '\\' && i + 1 < text.size())
        out += text[++i];
      else if (c == '"')
        quoted = false;
      ++i;
      continue;
    }
    const bool word_before = i > 0 && (std::isalnum(static_cast<unsigned char>(text[i - 1])) || text[i - 1] == '_');
    if (std::isdigit(static_cast<unsigned char>(c)) && !word_before) {
      auto end = i;
      while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) || text[end] == '.')) ++end;
      const bool suffixed = end < text.size() &&
                            std::string_view("kKmMgGtT").find(text[end]) != std::string_view::npos &&
                            (end + 1 == text.size() ||
                             !(std::isalnum(static_cast<unsigned char>(text[end + 1])) || text[end + 1] == '_'));
      const auto value = suffixed ? to_human_integer(text.substr(i, end + 1 - i)) : std::nullopt;
      out += value ? std::to_string(*value) : std::string(text.substr(i, end - i));
      i = value ? end + 1 : end;
      continue;
    }
    quoted = c == '"';
    out += c;
    ++i;
  }
  return out;
}

std::string compact_json(const std::string& text, const std::string& flag) {
  try {
    return Json::parse(expand_json_numbers(text)).dump();
  } catch (const Json::exception&) {
    bad(flag, "not JSON: " + text, "write an object in quotes, " + flag + R"( '{"key": value}')");
  }
}

/// Stores the words given for one argument.
void store(EngineArgs& args, const FlagRow& row, const std::string& flag, const std::vector<std::string>& words) {
  const auto& word = words.empty() ? std::string() : words.front();
  auto integer = [&](const std::string& text) -> std::int64_t {
    const auto value =
        row.kind == FlagKind::integer || row.kind == FlagKind::integer_list ? to_integer(text) : to_human_integer(text);
    if (!value)
      bad(flag, "'" + text + "' is not a whole number",
          row.kind == FlagKind::integer ? "write digits only" : "write digits, or 8k (8,000), 8K (8,192), 1M");
    return *value;
  };
  const auto number = [&](const std::string& text) {
    const auto value = to_number(text);
    if (!value) bad(flag, "'" + text + "' is not a number");
    return *value;
  };
  if (std::holds_alternative<std::monostate>(row.member)) {
    if (row.kind == FlagKind::integer || row.kind == FlagKind::human_integer) integer(word);
    if (row.kind == FlagKind::number) number(word);
    if (row.kind == FlagKind::integer_list)
      for (const auto& w : words) integer(w);
    args.not_used.emplace_back(std::string(row.name), words);
    return;
  }
  std::visit(
      [&](auto member) {
        using M = decltype(member);
        if constexpr (std::is_same_v<M, std::optional<std::int64_t> EngineArgs::*>) {
          if (row.kind == FlagKind::length && (to_lower(trim(word)) == "auto"))
            args.*member = -1;
          else
            args.*member = integer(word);
        } else if constexpr (std::is_same_v<M, std::optional<double> EngineArgs::*>) {
          args.*member = number(word);
        } else if constexpr (std::is_same_v<M, std::optional<bool> EngineArgs::*>) {
          args.*member = word != "no";
        } else if constexpr (std::is_same_v<M, std::optional<std::string> EngineArgs::*>) {
          if (row.kind != FlagKind::json && to_lower(word) == "none")
            args.*member = std::nullopt;
          else
            args.*member = row.kind == FlagKind::json ? compact_json(word, flag) : word;
        } else if constexpr (std::is_same_v<M, std::optional<std::vector<std::int64_t>> EngineArgs::*>) {
          std::vector<std::int64_t> values;
          for (const auto& w : words) values.push_back(integer(w));
          args.*member = std::move(values);
        } else if constexpr (std::is_same_v<M, std::optional<std::vector<std::string>> EngineArgs::*>) {
          args.*member = row.kind == FlagKind::comma_list ? split(word, ',') : words;
        }
      },
      row.member);
}

/// The option a word of argv names: its row, whether it switches off, the value behind '=' and, for dotted JSON
/// keys, the path behind the first dot.
struct Option {
  const FlagRow* row = nullptr;
  bool negated = false;
  std::optional<std::string> value;
  std::string path;
};

/// One way to write an argument.
struct Spelling {
  const FlagRow* row;
  bool off;  ///< says no
  FlagVersions versions;
};
using Spellings = std::map<std::string, Spelling, std::less<>>;

/// --enable-x for --disable-x and the other way round, which 0.33 brought; empty for other names.
std::string inverse(const std::string& flag) {
  for (const auto& [prefix, other] : {std::pair{"--enable-", "--disable-"}, {"--disable-", "--enable-"}})
    if (flag.starts_with(prefix)) return other + flag.substr(std::string_view(prefix).size());
  return "";
}

void add_spellings(const FlagRow& row, Spellings& to) {
  const auto flag = dashed(row.name);
  to.emplace(flag, Spelling{&row, false, row.versions});
  if (!row.aliases.empty())
    for (const auto& alias : split(row.aliases, ' ')) to.emplace(alias, Spelling{&row, false, row.versions});
  if (row.kind == FlagKind::boolean) to.emplace("--no-" + flag.substr(2), Spelling{&row, true, row.versions});
}

/// An argument of that name goes before the inverse of another.
void add_inverse(const FlagRow& row, Spellings& to) {
  const auto other = inverse(dashed(row.name));
  if (row.kind == FlagKind::boolean && !other.empty() && row.versions.gone > VllmVersion{0, 33, 0})
    to.emplace(other, Spelling{&row, true, {std::max(row.versions.since, {0, 33, 0}), row.versions.gone}});
}

const Spellings& spellings() {
  static const auto map = [] {
    Spellings m;
    for (const auto& row : flag_rows()) add_spellings(row, m);
    for (const auto& row : flag_rows()) add_inverse(row, m);
    return m;
  }();
  return map;
}

/// argparse takes any unique prefix.
Spellings::const_iterator find_prefix(const std::string& name, VllmVersion version) {
  const auto& all = spellings();
  std::vector<Spellings::const_iterator> found;
  for (auto i = all.lower_bound(name); i != all.end() && i->first.starts_with(name); ++i)
    if (i->second.versions.contains(version)) found.push_back(i);
  if (found.size() == 1) return found.front();
  if (found.empty()) return all.end();
  std::vector<std::string> names;
  for (const auto& f : found) names.push_back(f->first);
  if (names.size() > 6) names.resize(6), names.push_back("...");
  bad(name, "could be " + join(names, " or "), "write one of them in full");
}

[[noreturn]] void no_such_argument(const std::string& name, VllmVersion version) {
  std::vector<std::string> names;
  for (const auto& [spelled, spelling] : spellings())
    if (spelling.versions.contains(version)) names.push_back(spelled);
  const auto hint = did_you_mean(name, names);
  bad(name, "vLLM has no such argument", hint.empty() ? "see `vllm serve --help=all`" : hint);
}

/// An argument of another version is found: resolve() refuses it by name. A spelling of another version is not.
Option find_option(const std::string& word, VllmVersion version) {
  Option option;
  std::string name = word;
  if (const auto eq = name.find('='); eq != std::string::npos) {
    option.value = name.substr(eq + 1);
    name.resize(eq);
  }
  if (const auto dot = name.find('.'); dot != std::string::npos) {
    option.path = name.substr(dot + 1);
    name.resize(dot);
  }
  if (name.starts_with("--")) std::replace(name.begin(), name.end(), '_', '-');
  auto it = spellings().find(name);
  if (it == spellings().end() && name.starts_with("--")) it = find_prefix(name, version);
  if (it == spellings().end()) no_such_argument(name, version);
  const auto& [row, off, versions] = it->second;
  if (off && row->versions.contains(version) && !versions.contains(version))
    bad(name, "vLLM " + to_string(version) + " has no such argument", "write --no-" + dashed(row->name).substr(2));
  option.row = row;
  option.negated = off;
  return option;
}

bool is_option(const std::string& word) {
  if (word.size() < 2 || word[0] != '-') return false;
  return !to_number(word) && word.substr(0, word.find('=')).find(' ') == std::string::npos;
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

Json dotted_value(const std::string& text) {
  const auto parsed = Json::parse(text, nullptr, false);
  if (!parsed.is_discarded()) return parsed;
  if (const auto number = to_human_integer(text)) return *number;
  return text;
}

void merge_into(Json& object, const Json& update) {
  for (const auto& [key, value] : update.items()) {
    auto& slot = object[key];
    if (value.is_object() && slot.is_object())
      merge_into(slot, value);
    else if (value.is_array() && slot.is_array())
      slot.insert(slot.end(), value.begin(), value.end());
    else
      slot = value;
  }
}

}  // namespace

std::int64_t human_integer(std::string_view text, const std::string& flag) {
  if (const auto value = to_human_integer(text)) return *value;
  throw InputError(flag, 0, "", "'" + std::string(text) + "' is not a whole number",
                   "write digits, or 8k (8,000), 8K (8,192), 1M");
}

EngineArgs parse_vllm_flags(std::span<const std::string> argv, VllmVersion version) {
  for (const auto& word : argv) {
    try {
      (void)Json(word).dump();  // JSON-valued arguments are kept as JSON text, which is UTF-8
    } catch (const Json::type_error&) {
      throw InputError("vllm serve", 0, "", "an argument is not UTF-8 text", "write plain text");
    }
  }
  EngineArgs args;
  std::map<const FlagRow*, Json> dotted;
  std::size_t i = 0;
  for (; i < argv.size(); ++i) {
    std::string word = argv[i];
    if (!is_option(word)) {
      if (i == 0 && word == "vllm") continue;
      if (word == "serve" && !args.model && (i == 0 || argv[i - 1] == "vllm")) continue;
      if (args.model)
        bad(word, "a second model, or a value without its flag", "flags come after MODEL as --name value");
      args.model = word;
      continue;
    }
    if (word.starts_with("-O") && word.size() > 2) {
      store(args, *find_flag("optimization_level"), "-O", {word.substr(word[2] == '=' ? 3 : 2)});
      continue;
    }
    const auto option = find_option(word, version);
    const auto& row = *option.row;
    const auto flag = dashed(row.name);
    std::vector<std::string> words;
    if (!option.path.empty()) {
      if (row.kind != FlagKind::json) bad(word, flag + " takes no keys");
      std::string path = option.path, value;
      if (option.value)
        value = *option.value;
      else if (i + 1 < argv.size())
        value = argv[++i];
      else
        bad(word, "needs a value");
      Json json = dotted_value(value);
      if (path.ends_with('+')) {
        path.pop_back();
        json = split(value, ',');
      }
      const auto keys = split(path, '.');
      for (auto key = keys.rbegin(); key != keys.rend(); ++key) json = Json{{*key, json}};
      auto& object = dotted.try_emplace(option.row, Json::object()).first->second;
      merge_into(object, json);
      continue;
    }
    switch (row.kind) {
      case FlagKind::boolean:
      case FlagKind::present:
        if (option.value)
          bad(flag, "takes no value",
              "write " + flag + (row.kind == FlagKind::boolean ? " or --no-" + flag.substr(2) : ""));
        words = {option.negated ? "no" : "yes"};
        break;
      case FlagKind::text_list:
      case FlagKind::integer_list:
        if (option.value)
          words = {*option.value};
        else
          while (i + 1 < argv.size() && !is_option(argv[i + 1])) words.push_back(argv[++i]);
        if (words.empty()) bad(flag, "needs at least one value");
        break;
      case FlagKind::optional_text:
        if (option.value)
          words = {*option.value};
        else if (i + 1 < argv.size() && !is_option(argv[i + 1]))
          words = {argv[++i]};
        break;
      default:
        if (option.value)
          words = {*option.value};
        else if (i + 1 < argv.size() && !is_option(argv[i + 1]))
          words = {argv[++i]};
        else
          bad(flag, "needs a value");
    }
    store(args, row, flag, words);
  }
  for (const auto& [row, object] : dotted) store(args, *row, dashed(row->name), {object.dump()});
  return args;
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
            else if (json.is_string() && to_human_integer(json.template get<std::string>()))
              args.*member = to_human_integer(json.template get<std::string>());
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
