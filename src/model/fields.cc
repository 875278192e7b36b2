#include "model/fields.h"

#include <algorithm>
#include <cmath>

#include "base/embedded.h"
#include "base/input_error.h"
#include "config/json.h"

namespace shardwise {
namespace {

// Line of the first `"field"` in the text; 0 if it is not there.
int line_of(std::string_view text, std::string_view field) {
  const auto at = text.find('"' + std::string(field) + '"');
  if (at == std::string_view::npos) return 0;
  return 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 40 ? text.substr(0, 37) + "..." : text;
}

/// Keys are compared by length first: a string_view, not a char*.
const Json* field_of(const Json& object, std::string_view name) {
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

}  // namespace

std::string Fields::where(std::string_view field) const {
  return path_.empty() ? std::string(field) : path_ + "." + std::string(field);
}

void Fields::fail(std::string_view field, const std::string& message, const std::string& hint) const {
  throw InputError(context_->file, line_of(context_->text, field), where(field), message, hint);
}

Fields::Found Fields::locate(Names names) const {
  for (const char* name : names)
    if (const Json* value = field_of(*object_, name); value && !value->is_null()) {
      context_->used.insert(where(name));
      return {value, name};
    }
  if (defaults_)
    for (const char* name : names) {
      if (field_of(*object_, name)) continue;  // an explicit null is an answer: it overrides the class default
      if (const Json* value = field_of(*defaults_, name)) return {value, name};
    }
  return {nullptr, *names.begin()};
}

const Json* Fields::find(Names names) const { return locate(names).value; }

std::int64_t Fields::checked_integer(const Json& value, std::string_view field, std::int64_t least,
                                     std::int64_t most) const {
  double number = 0;
  if (value.is_number_integer() || value.is_number_float()) {
    number = value.get<double>();
    if (std::floor(number) != number) fail(field, "is " + shown(value) + ", not a whole number");
  } else if (value.is_boolean()) {
    number = value.get<bool>();
  } else {
    fail(field, "is " + shown(value) + ", not a number");
  }
  if (number < static_cast<double>(least) || number > static_cast<double>(most))
    fail(field, "is " + shown(value) + ", outside " + std::to_string(least) + " .. " + std::to_string(most));
  return static_cast<std::int64_t>(number);
}

std::optional<int> Fields::integer(Names names, std::int64_t least, std::int64_t most) const {
  const auto [value, name] = locate(names);
  if (!value) return std::nullopt;
  return static_cast<int>(checked_integer(*value, name, least, most));
}

int Fields::required(Names names) const {
  if (const auto value = integer(names, 1)) return *value;
  std::string hint;
  for (const char* name : names) hint += (hint.empty() ? "write \"" : "\" or \"") + std::string(name);
  fail(*names.begin(), "is missing; the model cannot be read without it", hint + "\"");
}

bool Fields::boolean(Names names, bool otherwise) const {
  const auto [value, name] = locate(names);
  if (!value) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_number()) return value->get<double>() != 0;
  fail(name, "is " + shown(*value) + ", not true or false");
}

std::optional<double> Fields::number(Names names) const {
  const auto [value, name] = locate(names);
  if (!value) return std::nullopt;
  if (!value->is_number()) fail(name, "is " + shown(*value) + ", not a number");
  return value->get<double>();
}

std::string Fields::text(Names names, std::string_view otherwise) const {
  const auto [value, name] = locate(names);
  if (!value) return std::string(otherwise);
  if (!value->is_string()) fail(name, "is " + shown(*value) + ", not a text");
  return value->get<std::string>();
}

std::vector<std::string> Fields::texts(const char* name) const {
  const Json* value = find({name});
  if (!value) return {};
  if (!value->is_array()) fail(name, "is " + shown(*value) + ", not a list");
  std::vector<std::string> out;
  for (const auto& item : *value) {
    if (!item.is_string()) fail(name, "holds " + shown(item) + ", not a text");
    out.push_back(item.get<std::string>());
  }
  return out;
}

std::vector<int> Fields::integers(const char* name) const {
  const Json* value = find({name});
  if (!value) return {};
  if (!value->is_array()) fail(name, "is " + shown(*value) + ", not a list");
  std::vector<int> out;
  for (const auto& item : *value)
    out.push_back(static_cast<int>(checked_integer(item, name, -1'000'000'000, 2'000'000'000)));
  return out;
}

std::optional<Fields> Fields::object(const char* name) const {
  auto found = loose_object(name);
  if (found) context_->used.insert(where(name));
  return found;
}

std::optional<int> Fields::integer_at(Names names, std::size_t layer) const {
  const auto [value, name] = locate(names);
  if (!value) return std::nullopt;
  if (!value->is_array()) return static_cast<int>(checked_integer(*value, name, 0, 2'000'000'000));
  if (layer >= value->size() || (*value)[layer].is_null()) return std::nullopt;
  return static_cast<int>(checked_integer((*value)[layer], name, 0, 2'000'000'000));
}

double Fields::loose_number(const char* name, double otherwise) const {
  const Json* value = field_of(*object_, name);
  return value && value->is_number() ? value->get<double>() : otherwise;
}

bool Fields::loose_boolean(std::initializer_list<const char*> names, bool otherwise) const {
  for (const char* name : names)
    if (const Json* value = field_of(*object_, name); value && value->is_boolean()) return value->get<bool>();
  return otherwise;
}

std::string Fields::loose_text(const char* name) const {
  const Json* value = field_of(*object_, name);
  return value && value->is_string() ? value->get<std::string>() : std::string();
}

std::optional<Fields> Fields::loose_object(const char* name) const {
  const Json* value = field_of(*object_, name);
  return value && value->is_object() ? std::optional(Fields(*value, where(name), *context_)) : std::nullopt;
}

bool Fields::is_list(Names names) const {
  for (const Json* object : {object_, defaults_})
    for (const char* name : names)
      if (const Json* value = object ? field_of(*object, name) : nullptr; value && !value->is_null())
        return value->is_array();
  return false;
}

// One line per model type in data/model_defaults.json, so that a cold start parses one line.
Json class_defaults(const std::string& model_type) {
  const auto text = embedded_file("model_defaults.json");
  if (!text || model_type.empty()) return Json::object();
  for (const auto& name : {model_type, model_type + "_text"}) {
    const std::string key = "\n\"" + name + "\": ";
    const auto at = text->find(key);
    if (at == std::string_view::npos) continue;
    const auto begin = at + key.size(), end = text->find('\n', begin);
    auto line = text->substr(begin, end - begin);
    if (line.ends_with(',')) line.remove_suffix(1);
    return parse_json(line, "model_defaults.json");
  }
  return Json::object();
}

}  // namespace shardwise
