#include "parallel/dimensions.h"

#include <algorithm>
#include <cassert>
#include <charconv>

#include "base/input_error.h"
#include "base/text.h"

namespace shardwise {
namespace {

/// Calls `f` with the field of every layout given: a reference, or the number that follows from the others.
template <class F, class... Layouts>
decltype(auto) with_fields(const Dimension& d, F&& f, Layouts&... layouts) {
  return std::visit(
      [&](auto member) -> decltype(auto) {
        if constexpr (std::is_same_v<decltype(member), int (*)(const Layout&)>)
          return f(member(layouts)...);
        else if constexpr (std::is_same_v<decltype(member), int Layout::*>)
          return f(layouts.*member...);
        else
          return f(layouts.parallel.*member...);
      },
      d.member);
}

const Layout& default_layout() {
  static const Layout layout;
  return layout;
}

std::optional<ExpertPlacement> read_placement(std::string_view word) {
  for (const auto placement : {ExpertPlacement::linear, ExpertPlacement::round_robin})
    if (word == to_string(placement)) return placement;
  return std::nullopt;
}

std::vector<const Dimension*> rows_where(const auto& keep) {
  std::vector<const Dimension*> rows;
  for (const auto& d : layout_fields())
    if (keep(d)) rows.push_back(&d);
  return rows;
}

std::optional<int> read_int(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

std::optional<bool> read_bool(const std::string& word) {
  for (const char* on : {"", "1", "on", "true", "yes"})
    if (word == on) return true;
  for (const char* off : {"0", "off", "false", "no"})
    if (word == off) return false;
  return std::nullopt;
}

std::optional<DimensionValue> read_list(std::string_view text) {
  std::vector<int> numbers;
  for (const auto& part : split(text, '+')) {
    const auto number = read_int(part);
    if (!number || *number < 1) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

/// A value that an argument gives; nothing where the argument is of another kind.
template <class T>
std::optional<DimensionValue> from_argument(const T& value) {
  if constexpr (std::is_same_v<T, std::int64_t>)
    return static_cast<int>(value);
  else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>)
    return value;
  else
    return std::nullopt;
}

template <class T>
void to_argument(std::optional<T>& argument, const DimensionValue& value) {
  if constexpr (std::is_same_v<T, std::int64_t>)
    argument = std::get<int>(value);
  else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>)
    argument = std::get<T>(value);
  else
    assert(false);
}

bool needed(const Dimension& d, const Layout& layout) { return d.needed ? d.needed(layout) : !at_default(d, layout); }

std::string text_of(const Dimension& d, const Layout& layout) {
  if (d.text) return d.text(d, layout);
  if (at_default(d, layout)) return "";
  const auto v = value_of(d, layout);
  return std::holds_alternative<bool>(v) ? " + " + std::string(d.label)
                                         : " " + std::string(d.label) + " " + value_text(v);
}

std::string text_of(const Layout& layout, bool of_deployment) {
  std::string text;
  for (const auto& d : layout_fields())
    if (d.of_deployment == of_deployment) text += text_of(d, layout);
  return text;
}

}  // namespace

const std::vector<const Dimension*>& dimensions() {
  static const auto rows =
      rows_where([](const Dimension& d) { return d.role != Role::derived && d.role != Role::total; });
  return rows;
}

const std::vector<const Dimension*>& rungs() {
  static const auto rows = [] {
    auto sorted = rows_where([](const Dimension& d) { return d.role != Role::given && d.role != Role::derived; });
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Dimension* a, const Dimension* b) { return a->rung < b->rung; });
    return sorted;
  }();
  return rows;
}

const Dimension* find_dimension(std::string_view name) {
  for (const auto* d : dimensions())
    if (name == d->name || name == d->short_name) return d;
  return nullptr;
}

DimensionValue value_of(const Dimension& d, const Layout& layout) {
  return with_fields(
      d,
      [](const auto& field) -> DimensionValue {
        if constexpr (std::is_same_v<std::decay_t<decltype(field)>, ExpertPlacement>)
          return std::string(to_string(field));
        else
          return field;
      },
      layout);
}

void set_value(const Dimension& d, Layout& layout, const DimensionValue& value) {
  with_fields(
      d,
      [&](auto&& field) {
        using Field = std::decay_t<decltype(field)>;
        if constexpr (std::is_same_v<Field, ExpertPlacement>)
          field = *read_placement(std::get<std::string>(value));
        else if constexpr (std::is_lvalue_reference_v<decltype(field)>)
          field = std::get<Field>(value);
        else
          assert(false);  // it follows from the others
      },
      layout);
}

void copy_value(const Dimension& d, const Layout& from, Layout& to) {
  std::visit(
      [&](auto member) {
        if constexpr (std::is_same_v<decltype(member), int Layout::*>)
          to.*member = from.*member;
        else if constexpr (std::is_member_pointer_v<decltype(member)>)
          to.parallel.*member = from.parallel.*member;
        else
          assert(false);
      },
      d.member);
}

bool same_value(const Dimension& d, const Layout& a, const Layout& b) {
  return with_fields(
      d, [](const auto& x, const auto& y) { return x == y; }, a, b);
}

bool lower_value(const Dimension& d, const Layout& a, const Layout& b) {
  return with_fields(
      d, [](const auto& x, const auto& y) { return x < y; }, a, b);
}

bool same_but_copies(const Layout& a, Layout b) {
  for (const auto* d : dimensions())
    if (d->role == Role::copies) copy_value(*d, a, b);
  return a == b;
}

bool at_default(const Dimension& d, const Layout& layout) { return same_value(d, layout, default_layout()); }

std::string gpu_factors(const Layout& layout) {
  std::vector<std::string> factors;
  for (const auto& d : layout_fields()) {
    if (!d.multiplies || (at_default(d, layout) && (d.role == Role::given || !d.of_deployment))) continue;
    const std::string label(d.label), value = value_text(value_of(d, layout));
    factors.push_back(d.of_deployment ? label + " " + value : value + " " + label);
  }
  return join(factors, " x ");
}

std::string value_text(const DimensionValue& value, std::string_view separator) {
  if (const auto* on = std::get_if<bool>(&value)) return *on ? "1" : "0";
  if (const auto* number = std::get_if<int>(&value)) return std::to_string(*number);
  if (const auto* word = std::get_if<std::string>(&value)) return *word;
  std::vector<std::string> parts;
  for (const int n : std::get<std::vector<int>>(value)) parts.push_back(std::to_string(n));
  return join(parts, separator);
}

std::optional<DimensionValue> read_value(const Dimension& d, std::string_view text) {
  return with_fields(
      d,
      [&](const auto& least) -> std::optional<DimensionValue> {
        using Field = std::decay_t<decltype(least)>;
        if constexpr (std::is_same_v<Field, bool>)
          return read_bool(to_lower(text));
        else if constexpr (std::is_same_v<Field, int>)
          return read_int(text).value_or(least - 1) < least ? std::nullopt : read_int(text);
        else if constexpr (std::is_same_v<Field, std::vector<int>>)
          return text.empty() ? DimensionValue(std::vector<int>{}) : read_list(text);
        else if constexpr (std::is_same_v<Field, ExpertPlacement>)
          return read_placement(text) ? std::optional<DimensionValue>(std::string(text)) : std::nullopt;
        else
          return text.empty() ? std::nullopt : std::optional<DimensionValue>(std::string(text));
      },
      default_layout());
}

std::vector<std::string> words_of(const Dimension& d) {
  if (!std::holds_alternative<ExpertPlacement ParallelConfig::*>(d.member)) return {};
  return {to_string(ExpertPlacement::linear), to_string(ExpertPlacement::round_robin)};
}

std::string flag_of(const Dimension& d) {
  std::string flag = "--" + std::string(d.name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::optional<DimensionValue> argument(const EngineArgs& args, const Dimension& d) {
  const FlagRow* flag = find_flag(d.name);
  if (!flag) return std::nullopt;
  auto found = std::visit(
      [&](auto member) -> std::optional<DimensionValue> {
        if constexpr (std::is_same_v<decltype(member), std::monostate>)
          return std::nullopt;
        else
          return args.*member ? from_argument(*(args.*member)) : std::nullopt;
      },
      flag->member);
  if (const auto words = words_of(d); found && !words.empty() && !read_value(d, std::get<std::string>(*found)))
    throw InputError(flag_of(d), 0, "", "unknown '" + std::get<std::string>(*found) + "'", join(words, " or "));
  return found;
}

void lay_over(EngineArgs& args, const Layout& layout) {
  for (const auto* d : dimensions()) {
    const FlagRow* flag = find_flag(d->name);
    if (!flag || (!needed(*d, layout) && !argument(args, *d))) continue;
    std::visit(
        [&](auto member) {
          if constexpr (!std::is_same_v<decltype(member), std::monostate>)
            to_argument(args.*member, value_of(*d, layout));
        },
        flag->member);
  }
}

std::map<std::string, std::string> environment(const Layout& layout) {
  std::map<std::string, std::string> variables;
  for (const auto* d : dimensions())
    if (!d->variable.empty() && needed(*d, layout))
      variables.emplace(d->variable, value_text(value_of(*d, layout), ","));
  return variables;
}

int complexity(const Layout& layout) {
  int sum = 0;
  for (const auto& d : layout_fields())
    if (d.complexity > 0 && !at_default(d, layout)) sum += d.complexity;
  return sum;
}

std::string to_string(const Layout& layout) { return text_of(layout, true) + text_of(layout, false); }

std::string to_string(const ParallelConfig& parallel) { return text_of(Layout{0, parallel, 1}, true); }

}  // namespace shardwise
