#include "parallel/argument_values.h"

#include <algorithm>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "parallel/python_text.h"
#include "parallel/value_type.h"

namespace shardwise {
namespace {

[[noreturn]] void bad_value(const std::string& flag, const std::string& message, const std::string& hint = "") {
  throw InputError("vllm serve", 0, flag, message, hint);
}

Json python_json(const std::string& text, const std::string& flag) {
  auto json = Json::parse(text, nullptr, false);
  if (json.is_discarded())
    bad_value(flag, "not JSON: " + text, "write an object in quotes, " + flag + R"( '{"key": value}')");
  return json;
}

template <class T>
T number_or_refuse(std::optional<T> value, const std::string& flag, const std::string& word, const std::string& what,
                   const std::string& hint) {
  if (!value) bad_value(flag, "'" + word + "' is not a " + what, hint);
  return *value;
}

constexpr auto kHumanHint = "write digits, or 8k (8,000), 8K (8,192), 1M";

/// A word as JSON: a number where the argument reads numbers.
Json word_value(const ArgumentRow& row, const std::string& flag, const std::string& word) {
  if (row.reads == "int") return number_or_refuse(python_int(word), flag, word, "whole number", "write digits only");
  if (row.reads == "human_int")
    return number_or_refuse(human_readable_int(word), flag, word, "whole number", kHumanHint);
  if (row.reads == "length")
    return to_lower(trim(word)) == "auto"
               ? Json(-1)
               : Json(number_or_refuse(human_readable_int(word), flag, word, "whole number", kHumanHint));
  if (row.reads == "float") return number_or_refuse(python_float(word), flag, word, "number", "");
  if (row.reads != "folded") return word;
  auto folded = to_lower(word);
  std::replace(folded.begin(), folded.end(), '-', '_');
  return folded;
}

std::string refused_choice(const Json& value, const std::string& type, VllmVersion version) {
  return (value.is_string() ? "'" + value.get<std::string>() + "'" : value.dump()) + " is not one of vLLM " +
         to_string(version) + "'s: " + words_of(type);
}

/// {...} in words, as it stands or with what is between it and its ends.
bool looks_like_object(std::string_view text) {
  text = trim(text);
  return text.size() >= 2 && text.front() == '{' && text.back() == '}';
}

std::string configuration(const ArgumentRow& row, const std::string& flag, const std::string& word,
                          VllmVersion version) {
  const auto json = python_json(version >= kHumanNumbersInJson ? expand_json_numbers(word) : word, flag);
  auto made = coerce(row.type, json, version);
  if (const auto* problem = std::get_if<ValueProblem>(&made))
    bad_value(problem->path.empty() ? flag : flag + "." + problem->path, problem->message);
  return std::get<Json>(made).dump();
}

/// name=path, or an object of the keys of LoRAModulePath.
std::string lora_module(const ArgumentRow& row, const std::string& flag, const std::string& word, VllmVersion version) {
  if (word.find('=') != word.npos && word.find(',') == word.npos) return word;
  return configuration(row, flag, word, version);
}

std::string plain_word(const ArgumentRow& row, const std::string& flag, const std::string& word, VllmVersion version) {
  const auto value = word_value(row, flag, word);
  if (!row.type.empty() && std::holds_alternative<ValueProblem>(coerce(row.type, value, version)))
    bad_value(flag, refused_choice(value, row.type, version));
  return row.reads == "folded" ? value.get<std::string>() : word;
}

/// None, which is no choice of some versions.
std::nullopt_t no_value(const ArgumentRow& row, const std::string& flag, VllmVersion version) {
  const bool choices = !row.type.empty() && row.type.front() != '@';
  if (choices && std::holds_alternative<ValueProblem>(coerce(row.type, nullptr, version)))
    bad_value(flag, refused_choice("None", row.type, version));
  return std::nullopt;
}

}  // namespace

std::optional<std::string> read_argument_word(const ArgumentRow& row, const std::string& flag, const std::string& word,
                                              VllmVersion version) {
  if (row.optional && (word.empty() || word == "None")) return no_value(row, flag, version);
  if (row.reads == "config") return configuration(row, flag, word, version);
  if (row.reads == "json") return python_json(word, flag).dump();
  if (row.reads == "text_or_json") return looks_like_object(word) ? python_json(word, flag).dump() : word;
  if (row.reads == "lora") return lora_module(row, flag, word, version);
  return plain_word(row, flag, word, version);
}

}  // namespace shardwise
