#include "config/json.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/input_error.h"

namespace shardwise {

namespace {

/// Builds a value from parser events. The library's own builder searches an ordered object for every key, which is
/// quadratic: checkpoints name tens of thousands of quantised layers in one object.
class Builder {
 public:
  using Container = std::vector<Json::object_t::value_type>;  // what an ordered object is

  Json take() { return std::move(root_); }
  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t& value) { return add(std::move(value)); }
  bool start_object(std::size_t) {
    open(Json::object());
    members(*open_.back()).reserve(8);  // keys are constant, so that growing copies them
    return true;
  }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_array() { return close(); }
  bool end_object() {
    keep_last_of_duplicates(members(*open_.back()));
    return close();
  }
  bool key(std::string& name) {
    auto& all = members(*open_.back());
    all.emplace_back(std::move(name), nullptr);
    slot_ = &all.back().second;
    return true;
  }
  template <class Error>
  bool parse_error(std::size_t position, const std::string&, const Error& error) {
    error_at_ = position;
    throw error;
  }
  std::size_t error_at() const { return error_at_; }

 private:
  static Container& members(Json& object) { return object.get_ref<Json::object_t&>(); }

  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_object()) {
      *slot_ = std::move(value);
      return slot_;
    }
    auto& array = open_.back()->get_ref<Json::array_t&>();
    array.push_back(std::move(value));
    return &array.back();
  }
  template <class T>
  bool add(T&& value) {
    place(Json(std::forward<T>(value)));
    return true;
  }
  bool open(Json value) {
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  /// A key that stands twice has its last value, at its first place.
  static void keep_last_of_duplicates(Container& all) {
    if (all.size() < 2) return;
    constexpr std::size_t kFew = 8;
    if (all.size() <= kFew) {
      bool distinct = true;
      for (std::size_t i = 1; i < all.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) distinct = distinct && all[i].first != all[j].first;
      if (distinct) return;
    }
    std::vector<std::size_t> order(all.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const int c = all[a].first.compare(all[b].first);
      return c != 0 ? c < 0 : a < b;
    });
    std::vector<bool> drop(all.size(), false);
    bool any = false;
    for (std::size_t i = 1, first = 0; i < order.size(); ++i) {
      if (all[order[i]].first != all[order[first]].first) {
        first = i;
        continue;
      }
      all[order[first]].second = std::move(all[order[i]].second);
      drop[order[i]] = any = true;
    }
    if (!any) return;
    Container kept;  // keys are constant: members cannot be moved within the object
    for (std::size_t i = 0; i < all.size(); ++i)
      if (!drop[i]) kept.emplace_back(all[i].first, std::move(all[i].second));
    all.swap(kept);
  }

  Json root_;
  std::vector<Json*> open_;  // objects and arrays that are not closed; none of them moves while it is open
  Json* slot_ = nullptr;
  std::size_t error_at_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& file) {
  Builder builder;
  try {
    Json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
  } catch (const Json::exception& e) {
    const auto upto = text.substr(0, std::min(builder.error_at(), text.size()));
    const int line = 1 + static_cast<int>(std::count(upto.begin(), upto.end(), '\n'));
    std::string message = e.what();
    for (const char* start : {"syntax error", "number overflow"})
      if (const auto at = message.find(start); at != std::string::npos) message = message.substr(at);
    throw InputError(file, line, "", "not JSON: " + message);
  }
}

Json parse_python_json(std::string_view text, const std::string& file) {
  if (text.find("Infinity") == std::string_view::npos && text.find("NaN") == std::string_view::npos)
    return parse_json(text, file);
  std::string out;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size();) {
    bool replaced = false;
    if (!quoted)
      for (const std::string_view word : {"-Infinity", "Infinity", "NaN"})
        if (text.substr(i).starts_with(word)) {
          out += "null";
          i += word.size();
          replaced = true;
          break;
        }
    if (replaced) continue;
    if (text[i] == '\\' && quoted && i + 1 < text.size())
      out += text[i++];
    else if (text[i] == '"')
      quoted = !quoted;
    out += text[i++];
  }
  return parse_json(out, file);
}

}  // namespace shardwise
