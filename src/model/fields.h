#pragma once
// Reading of config.json fields: aliases, types, and which fields were used. Internal to the model layer.
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/json_fwd.h"

namespace shardwise {

/// What all readers of one config.json share.
struct FieldContext {
  std::string file;
  std::string_view text;       ///< the whole config.json, to find lines
  std::set<std::string> used;  ///< field names that were looked at and present, with their path
};

/// One object of a config.json. Fields that are absent or null count as absent; `defaults` (what the Hugging Face
/// configuration class supplies) is asked next. A field of the wrong type or outside its range is an InputError.
class Fields {
 public:
  using Names = std::initializer_list<const char*>;
  Fields(const Json& object, std::string path, FieldContext& context, const Json* defaults = nullptr)
      : object_(&object), path_(std::move(path)), context_(&context), defaults_(defaults) {}

  const Json* find(Names names) const;  ///< first of the names that is there; null if none
  bool has(const char* name) const { return find({name}) != nullptr; }
  std::optional<int> integer(Names names, std::int64_t least = 0, std::int64_t most = 2'000'000'000) const;
  int integer_or(Names names, int otherwise) const { return integer(names).value_or(otherwise); }
  int required(Names names) const;  ///< at least 1; InputError names the first name if none is there
  bool boolean(Names names, bool otherwise) const;
  std::optional<double> number(Names names) const;
  std::string text(Names names, std::string_view otherwise = "") const;
  std::vector<std::string> texts(const char* name) const;  ///< empty if absent
  std::vector<int> integers(const char* name) const;       ///< numbers or booleans; empty if absent
  std::optional<Fields> object(const char* name) const;

  /// Integer of a list per layer, or of one number for all layers ("num_key_value_heads": [8, 8, 4]).
  std::optional<int> integer_at(Names names, std::size_t layer) const;
  bool is_list(Names names) const;  ///< the first of them that is there; not counted as used

  // What single classes read without a check: of this object alone, and not counted as used.
  double loose_number(const char* name, double otherwise) const;
  bool loose_boolean(std::initializer_list<const char*> names, bool otherwise) const;
  std::string loose_text(const char* name) const;  ///< "" if it is not there or no text
  std::optional<Fields> loose_object(const char* name) const;

  [[noreturn]] void fail(std::string_view field, const std::string& message, const std::string& hint = "") const;
  const Json& json() const { return *object_; }
  FieldContext& context() const { return *context_; }

 private:
  std::string where(std::string_view field) const;
  std::int64_t checked_integer(const Json& value, std::string_view field, std::int64_t least, std::int64_t most) const;
  struct Found {
    const Json* value;
    const char* name;
  };
  Found locate(Names names) const;

  const Json* object_;
  std::string path_;
  FieldContext* context_;
  const Json* defaults_;
};

/// What the Hugging Face configuration class of `model_type` supplies for absent fields; empty if unknown.
Json class_defaults(const std::string& model_type);

}  // namespace shardwise
