#include "parallel/value_type.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include "base/text.h"
#include "config/json.h"
#include "parallel/config_checks.h"
#include "parallel/parser_table.h"
#include "parallel/python_text.h"

namespace shardwise {
namespace {

using Coerced = std::variant<Json, ValueProblem>;

struct TypeBound {
  std::string sign;
  double limit;
};

/// One alternative of a type.
struct TypeNode {
  char kind = '?';   ///< its first letter: i(nt) f(loat) s(tr) b(ool) a(ny) n(ull) N(ever) = [ { ( @ U F
  std::string name;  ///< of a configuration
  Json constant;     ///< =
  std::vector<std::vector<TypeNode>> inside;  ///< alternatives of each part
  std::vector<TypeBound> bounds;
};
using TypeNodes = std::vector<TypeNode>;

/// The table is ours: what stands in it can be read.
class TypeReader {
 public:
  explicit TypeReader(std::string_view text) : rest_(text) {}

  TypeNodes all() {
    TypeNodes nodes = {one()};
    while (take("|")) nodes.push_back(one());
    return nodes;
  }

 private:
  bool take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  std::string_view until(std::string_view stops) {
    const auto found = rest_.substr(0, rest_.find_first_of(stops));
    rest_.remove_prefix(found.size());
    return found;
  }

  Json constant() {
    std::size_t end = 1;
    if (rest_.front() == '"') {
      while (rest_[end] != '"') end += rest_[end] == '\\' ? 2 : 1;
      ++end;
    } else {
      end = std::min(rest_.find_first_of("|])}:,"), rest_.size());
    }
    const auto text = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return Json::parse(text);
  }

  TypeNode made(char kind) { return TypeNode{kind, {}, {}, {}, {}}; }

  TypeNode around(char kind, std::string_view between, std::string_view close) {
    TypeNode node = made(kind);
    do node.inside.push_back(all());
    while (!between.empty() && take(between));
    take(close);
    return node;
  }

  TypeNode bare() {
    static constexpr std::pair<std::string_view, char> words[] = {
        {"int", 'i'}, {"float", 'f'}, {"str", 's'}, {"bool", 'b'}, {"any", 'a'}, {"null", 'n'}, {"never", 'N'}};
    for (const auto& [word, kind] : words)
      if (take(word)) return made(kind);
    if (take("upper(")) return around('U', "", ")");
    if (take("folded(")) return around('F', "", ")");
    if (take("[")) return around('[', "", "]");
    if (take("{")) return around('{', ":", "}");
    if (take("(")) return around('(', ",", ")");
    TypeNode node = made(take("@") ? '@' : '=');
    if (node.kind == '@')
      node.name = until("|])},:#");
    else
      node.constant = constant();
    return node;
  }

  TypeNode one() {
    TypeNode node = bare();
    for (;;) {
      const auto sign = [&]() -> std::string_view {
        for (const std::string_view s : {"#>=", "#<=", ">=", "<=", ">", "<", "%"})
          if (take(s)) return s;
        return "";
      }();
      if (sign.empty()) return node;
      const auto number = until("|])},:#<>%");
      node.bounds.push_back({std::string(sign), python_float(number).value_or(0)});
    }
  }

  std::string_view rest_;
};

ValueProblem value_problem(std::string message) { return {"", std::move(message)}; }

ValueProblem within(std::string_view part, ValueProblem problem) {
  if (problem.path.empty())
    problem.path = part;
  else
    problem.path = std::string(part) + (problem.path.starts_with('[') ? "" : ".") + problem.path;
  return problem;
}

bool keeps_bound(const TypeBound& bound, double value) {
  if (bound.sign == "%") return std::fmod(value, bound.limit) == 0;
  const std::string_view sign = bound.sign.starts_with('#') ? std::string_view(bound.sign).substr(1) : bound.sign;
  if (sign == ">=") return value >= bound.limit;
  if (sign == "<=") return value <= bound.limit;
  return sign == ">" ? value > bound.limit : value < bound.limit;
}

Coerced bounded(const TypeNode& node, Json value, double size) {
  for (const auto& bound : node.bounds)
    if (!keeps_bound(bound, size)) {
      const bool length = bound.sign.starts_with('#');
      return value_problem(value.dump() + (length ? " has not the length " : " is not ") +
                           (length ? bound.sign.substr(1) : bound.sign) + " " + number_text(bound.limit));
    }
  return value;
}

Coerced whole_number(const TypeNode& node, const Json& value, bool strict) {
  std::optional<Json> found;
  if (value.is_number_integer()) found = value;
  if (!strict && value.is_boolean()) found = value.get<bool>() ? 1 : 0;
  if (!strict && value.is_number_float() && std::floor(value.get<double>()) == value.get<double>() &&
      std::fabs(value.get<double>()) < 9e18)
    found = static_cast<std::int64_t>(value.get<double>());
  if (!strict && value.is_string())
    if (const auto n = pydantic_int(value.get_ref<const std::string&>())) found = *n;
  if (!found) return value_problem(value.dump() + " is not a whole number");
  const double size = found->get<double>();
  return bounded(node, std::move(*found), size);
}

Coerced real_number(const TypeNode& node, const Json& value, bool strict) {
  if (value.is_number()) return bounded(node, value, value.get<double>());
  if (!strict && value.is_boolean()) return bounded(node, value.get<bool>() ? 1.0 : 0.0, value.get<bool>() ? 1.0 : 0.0);
  const auto number = value.is_string() && !strict ? python_float(value.get_ref<const std::string&>()) : std::nullopt;
  if (!number) return value_problem(value.dump() + " is not a number");
  return bounded(node, std::isfinite(*number) ? Json(*number) : value, *number);  // JSON has no infinity
}

Coerced truth(const Json& value, bool strict) {
  if (value.is_boolean()) return value;
  if (!strict && value.is_number() && (value.get<double>() == 0 || value.get<double>() == 1))
    return Json(value.get<double>() == 1);
  if (!strict && value.is_string()) {
    const auto word = to_lower(value.get_ref<const std::string&>());
    for (const std::string_view yes : {"1", "on", "t", "true", "y", "yes"})
      if (word == yes) return Json(true);
    for (const std::string_view no : {"0", "off", "f", "false", "n", "no"})
      if (word == no) return Json(false);
  }
  return value_problem(value.dump() + " is not true or false");
}

class Coercion {
 public:
  explicit Coercion(VllmVersion version) : version_(version) {}

  /// Of several alternatives the first that takes the value as it is, else the first that takes it at all.
  Coerced any_of(const TypeNodes& nodes, const Json& value, bool strict) const {
    if (nodes.size() == 1) return one(nodes.front(), value, strict);
    std::optional<ValueProblem> deepest;
    for (const bool exactly : {true, false}) {
      if (strict && !exactly) break;
      for (const auto& node : nodes) {
        auto made = one(node, value, exactly);
        if (std::holds_alternative<Json>(made)) return made;
        auto& problem = std::get<ValueProblem>(made);
        if (!deepest || problem.path.size() > deepest->path.size()) deepest = std::move(problem);
      }
    }
    if (deepest->path.empty()) deepest->message = value.dump() + " is none of " + described(nodes);
    return *deepest;
  }

  static std::string described(const TypeNodes& nodes) {
    std::vector<std::string> words;
    for (const auto& node : nodes) words.push_back(described(node));
    return join(words, ", ");
  }

 private:
  static std::string described(const TypeNode& node) {
    switch (node.kind) {
      case 'i':
        return "a whole number";
      case 'f':
        return "a number";
      case 's':
        return "text";
      case 'b':
        return "true or false";
      case 'n':
        return "null";
      case '=':
        return node.constant.is_string() ? node.constant.get<std::string>() : node.constant.dump();
      case 'U':
      case 'F':
        return described(node.inside.front());
      case '@':
        return "the keys of " + node.name;
      case '{':
        return "an object";
      default:
        return "a list";
    }
  }

  Coerced one(const TypeNode& node, const Json& value, bool strict) const {
    switch (node.kind) {
      case 'a':
        return value;
      case 'n':
        return value.is_null() ? Coerced(value) : Coerced(value_problem(value.dump() + " is not null"));
      case 'i':
        return whole_number(node, value, strict);
      case 'f':
        return real_number(node, value, strict);
      case 'b':
        return truth(value, strict);
      case 's':
        return text(node, value);
      case '=':
        return constant(node, value, strict);
      case 'U':
        return upper(node, value);
      case 'F':
        return folded(node, value, strict);
      case '[':
        return list(node, value, strict);
      case '(':
        return tuple(node, value, strict);
      case '{':
        return object(node, value, strict);
      case '@':
        return config(node, value, strict);
      default:
        return value_problem("cannot be given as JSON");
    }
  }

  static Coerced text(const TypeNode& node, const Json& value) {
    if (!value.is_string()) return value_problem(value.dump() + " is not text");
    return bounded(node, value, static_cast<double>(value.get_ref<const std::string&>().size()));
  }

  static Coerced constant(const TypeNode& node, const Json& value, bool strict) {
    if (value.type() == node.constant.type() && value == node.constant) return value;
    if (value.is_number_integer() && node.constant.is_number_integer() && value == node.constant) return value;
    if (!strict && value.is_number_float() && node.constant.is_number_integer() && value == node.constant)
      return node.constant;
    return value_problem(value.dump() + " is not " + described(node));
  }

  static Coerced upper(const TypeNode& node, const Json& value) {
    if (!value.is_string()) return value_problem(value.dump() + " is not a word");
    const auto word = to_lower(value.get_ref<const std::string&>());
    for (const auto& of : node.inside.front())
      if (to_lower(of.constant.get_ref<const std::string&>()) == word)
        return word == "auto" ? Json(nullptr) : of.constant;
    return value_problem(value.dump() + " is none of " + described(node));
  }

  Coerced folded(const TypeNode& node, const Json& value, bool strict) const {
    if (!value.is_string()) return any_of(node.inside.front(), value, strict);
    auto word = to_lower(value.get_ref<const std::string&>());
    std::replace(word.begin(), word.end(), '-', '_');
    return any_of(node.inside.front(), word, strict);
  }

  Coerced list(const TypeNode& node, const Json& value, bool strict) const {
    if (!value.is_array()) return value_problem(value.dump() + " is not a list");
    Json out = Json::array();
    for (std::size_t i = 0; i < value.size(); ++i) {
      auto made = any_of(node.inside.front(), value[i], strict);
      if (auto* problem = std::get_if<ValueProblem>(&made)) return within("[" + std::to_string(i) + "]", *problem);
      out.push_back(std::get<Json>(std::move(made)));
    }
    const auto size = static_cast<double>(out.size());
    return bounded(node, std::move(out), size);
  }

  Coerced tuple(const TypeNode& node, const Json& value, bool strict) const {
    if (!value.is_array() || value.size() != node.inside.size())
      return value_problem(value.dump() + " is not a list of " + std::to_string(node.inside.size()));
    Json out = Json::array();
    for (std::size_t i = 0; i < value.size(); ++i) {
      auto made = any_of(node.inside[i], value[i], strict);
      if (auto* problem = std::get_if<ValueProblem>(&made)) return within("[" + std::to_string(i) + "]", *problem);
      out.push_back(std::get<Json>(std::move(made)));
    }
    return out;
  }

  Coerced object(const TypeNode& node, const Json& value, bool strict) const {
    if (!value.is_object()) return value_problem(value.dump() + " is not an object");
    Json out = Json::object();
    for (const auto& [key, of] : value.items()) {
      auto name = any_of(node.inside[0], Json(key), false);
      if (auto* problem = std::get_if<ValueProblem>(&name)) return within(key, *problem);
      auto made = any_of(node.inside[1], of, strict);
      if (auto* problem = std::get_if<ValueProblem>(&made)) return within(key, *problem);
      out[key] = std::get<Json>(std::move(made));
    }
    const auto size = static_cast<double>(out.size());
    return bounded(node, std::move(out), size);
  }

  Coerced config(const TypeNode& node, const Json& value, bool strict) const {
    if (!value.is_object()) return value_problem(value.dump() + " is not an object of the keys of " + node.name);
    const auto fields = config_fields(node.name, version_);
    Json out = Json::object();
    for (const auto& [key, of] : value.items()) {
      const auto at = std::find_if(fields.begin(), fields.end(), [&k = key](const auto* f) { return f->field == k; });
      if (at == fields.end()) {
        if (config_is_open(node.name, version_)) continue;
        return within(key, value_problem(no_such_key(node.name, key, fields)));
      }
      auto made = any_of(TypeReader((*at)->type).all(), of, strict);
      if (auto* problem = std::get_if<ValueProblem>(&made)) return within(key, *problem);
      out[key] = std::get<Json>(std::move(made));
    }
    for (const auto* field : fields)
      if (field->required && !out.contains(field->field)) return within(field->field, value_problem("must be given"));
    if (auto problem = config_problem(node.name, out, version_)) return value_problem(std::move(*problem));
    return out;
  }

  std::string no_such_key(const std::string& config, const std::string& key,
                          const std::vector<const ConfigFieldRow*>& fields) const {
    std::vector<std::string> names;
    for (const auto* field : fields) names.push_back(field->field);
    auto message = config + " of vLLM " + to_string(version_) + " has no such key";
    if (const auto when = versions_with_field(config, key); !when.empty()) return message + " (" + when + ")";
    const auto hint = did_you_mean(key, names);
    return hint.empty() ? message : message + " (" + hint + ")";
  }

  VllmVersion version_;
};

}  // namespace

std::variant<Json, ValueProblem> coerce(std::string_view type, const Json& value, VllmVersion version) {
  return Coercion(version).any_of(TypeReader(type).all(), value, false);
}

std::string words_of(std::string_view type) { return Coercion::described(TypeReader(type).all()); }

}  // namespace shardwise
