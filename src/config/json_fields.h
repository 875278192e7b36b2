#pragma once
// Fields of JSON objects whose reader is lenient: absent, null and of another type all count as not there. A file that
// people write is read strictly instead (yaml.h, model/fields.h).
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/json_fwd.h"

namespace shardwise {

/// The value, null pointer where the field is not there or null.
const Json* field_at(const Json& object, std::string_view key);
const Json* object_at(const Json& object, std::string_view key);
const Json* array_at(const Json& object, std::string_view key);
std::optional<std::string> text_at(const Json& object, std::string_view key);
std::optional<bool> bool_at(const Json& object, std::string_view key);
std::optional<double> number_at(const Json& object, std::string_view key);
std::optional<int> int_at(const Json& object, std::string_view key);  ///< of any number: without its fraction
std::optional<std::int64_t> integer_of(const Json& value);
std::optional<std::int64_t> integer_at(const Json& object, std::string_view key);  ///< the same, of 64 bits

}  // namespace shardwise
