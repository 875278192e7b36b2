#include "config/json_fields.h"

#include <algorithm>
#include <cmath>

#include "config/json.h"

namespace shardwise {

const Json* field_at(const Json& object, std::string_view key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

const Json* object_at(const Json& object, std::string_view key) {
  const Json* value = field_at(object, key);
  return value && value->is_object() ? value : nullptr;
}

const Json* array_at(const Json& object, std::string_view key) {
  const Json* value = field_at(object, key);
  return value && value->is_array() ? value : nullptr;
}

std::optional<std::string> text_at(const Json& object, std::string_view key) {
  const Json* value = field_at(object, key);
  return value && value->is_string() ? std::optional(value->get<std::string>()) : std::nullopt;
}

std::optional<bool> bool_at(const Json& object, std::string_view key) {
  const Json* value = field_at(object, key);
  return value && value->is_boolean() ? std::optional(value->get<bool>()) : std::nullopt;
}

std::optional<double> number_at(const Json& object, std::string_view key) {
  const Json* value = field_at(object, key);
  return value && value->is_number() ? std::optional(value->get<double>()) : std::nullopt;
}

std::optional<std::int64_t> integer_of(const Json& value) {
  if (!value.is_number()) return std::nullopt;
  constexpr double kMost = 9.2e18;
  const double number = value.get<double>();
  if (std::fabs(number) >= kMost) return number < 0 ? INT64_MIN : INT64_MAX;
  return value.is_number_integer() ? value.get<std::int64_t>() : static_cast<std::int64_t>(number);
}

std::optional<std::int64_t> integer_at(const Json& object, std::string_view key) {
  const Json* value = field_at(object, key);
  return value ? integer_of(*value) : std::nullopt;
}

std::optional<int> int_at(const Json& object, std::string_view key) {
  const auto value = number_at(object, key);
  return value ? std::optional(static_cast<int>(std::clamp(*value, -2e9, 2e9))) : std::nullopt;
}

}  // namespace shardwise
