#include "config/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>

#include "base/input_error.h"
#include "base/printable.h"
#include "base/text.h"

namespace shardwise {
namespace {

constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxValues = 1'000'000;

/// Builds the tree from yaml-cpp's events. yaml-cpp's own tree merges duplicate keys silently and follows aliases.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string file) : file_(std::move(file)) { root_.place.file = file_; }
  YamlValue take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "aliases (*name) are not supported", "write the value out");
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check(mark, anchor, "");
    if (wants_key()) return start_key(mark, "");
    place(mark);
    end_value();
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, anchor, tag);
    if (wants_key()) return start_key(mark, value);
    YamlValue& v = place(mark);
    v.kind = YamlValue::Kind::scalar;
    v.scalar = value;
    v.quoted = tag == "!";
    end_value();
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlValue::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlValue::Kind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlValue* value;
    bool have_key = false;
  };

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message, const std::string& hint = "") const {
    throw InputError(file_, mark.line + 1, stack_.empty() ? "" : stack_.back().value->place.path, message, hint);
  }
  void check(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& tag) {
    if (anchor) fail(mark, "anchors (&name) are not supported", "write the value out");
    if (!tag.empty() && tag != "?" && tag != "!") fail(mark, "tags (" + tag.substr(0, 40) + ") are not supported");
    if (++values_ > kMaxValues) fail(mark, "more than " + std::to_string(kMaxValues) + " values");
  }
  bool wants_key() const {
    return !stack_.empty() && stack_.back().value->kind == YamlValue::Kind::map && !stack_.back().have_key;
  }
  void start_key(const YAML::Mark& mark, const std::string& key) {
    YamlValue& map = *stack_.back().value;
    for (const auto& [name, value] : map.map)
      if (name == key)
        fail(mark, "key '" + key + "' is given twice", "first on line " + std::to_string(value.place.line));
    YamlValue value;
    value.place = {file_, mark.line + 1, map.place.path.empty() ? key : map.place.path + "." + key};
    map.map.push_back({key, std::move(value)});
    stack_.back().have_key = true;
  }
  /// The slot that the next value fills.
  YamlValue& place(const YAML::Mark& mark) {
    if (stack_.empty()) {
      root_.place.line = mark.line + 1;
      return root_;
    }
    YamlValue& parent = *stack_.back().value;
    if (parent.kind == YamlValue::Kind::map) return parent.map.back().value;
    YamlValue value;
    value.place = {file_, mark.line + 1, parent.place.path + "[" + std::to_string(parent.list.size()) + "]"};
    parent.list.push_back(std::move(value));
    return parent.list.back();
  }
  void end_value() {
    if (!stack_.empty()) stack_.back().have_key = false;
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlValue::Kind kind) {
    check(mark, anchor, tag);
    if (wants_key()) fail(mark, "a key must be a plain word");
    if (stack_.size() >= kMaxDepth) fail(mark, "nested deeper than " + std::to_string(kMaxDepth));
    YamlValue& value = place(mark);
    value.kind = kind;
    stack_.push_back({&value});
  }
  void close() {
    stack_.pop_back();
    end_value();
  }

  std::string file_;
  YamlValue root_;
  std::vector<Open> stack_;  // pointers stay valid: a list or map grows only while it is the innermost open value
  std::size_t values_ = 0;
};

/// yaml-cpp descends without end on brackets; a text that nests them deeper than any cluster file is refused before.
void refuse_deep_nesting(std::string_view text, const std::string& file) {
  int depth = 0, line = 1;
  std::size_t column = 0, dashes = 0;
  for (const char c : text) {
    if (c == '\n')
      line += 1, column = 0, dashes = 0;
    else
      ++column;
    if (c == '[' || c == '{') ++depth;
    if ((c == ']' || c == '}') && depth > 0) --depth;
    if (c == '-' || c == '?' || c == ':') ++dashes;
    if (depth > 200 || column > 100'000 || dashes > 2'000)
      throw InputError(file, line, "", "not a cluster or configuration file: nested too deeply or a line too long");
  }
}

}  // namespace

void YamlValue::fail(const std::string& message, const std::string& hint) const {
  throw InputError(place.file, place.line, place.path, message, hint);
}

const std::string& YamlValue::text() const {
  if (kind != Kind::scalar || scalar.empty()) fail("must be a text");
  if (!is_printable(scalar))
    fail("'" + printable(scalar.substr(0, 60)) + "' has characters that no terminal shows", "one line of UTF-8 text");
  return scalar;
}

std::int64_t YamlValue::integer(std::int64_t least, std::int64_t most) const {
  std::int64_t value = 0;
  if (kind != Kind::scalar || quoted || !parse_number(scalar, value)) fail("must be a whole number");
  if (value < least || value > most)
    fail(std::to_string(value) + " is out of range", "from " + std::to_string(least) + " to " + std::to_string(most));
  return value;
}

double YamlValue::number(double least, double most) const {
  double value = 0;
  if (kind != Kind::scalar || quoted || !parse_number(scalar, value)) fail("must be a number");
  if (value < least || value > most)
    fail(scalar + " is out of range", "from " + number_text(least) + " to " + number_text(most));
  return value;
}

bool YamlValue::boolean() const {
  if (kind == Kind::scalar && !quoted && (scalar == "true" || scalar == "false")) return scalar == "true";
  fail("must be true or false");
}

const std::vector<YamlValue>& YamlValue::items() const {
  if (kind != Kind::list) fail("must be a list");
  return list;
}

const YamlValue* YamlValue::find(std::string_view key) const {
  for (const auto& [name, value] : map)
    if (name == key) return &value;
  return nullptr;
}

const YamlValue& YamlValue::at(std::string_view key) const {
  const YamlValue* value = find(key);
  if (!value) fail("'" + std::string(key) + "' is missing");
  return *value;
}

void YamlValue::only_keys(std::initializer_list<std::string_view> keys) const {
  if (kind != Kind::map) fail("must be a map of keys and values");
  const std::vector<std::string> known(keys.begin(), keys.end());
  for (const auto& [name, value] : map) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string hint = did_you_mean(name, known);
    value.fail("unknown key", hint.empty() ? "keys: " + join(known, ", ") : hint);
  }
}

YamlValue parse_yaml(std::string_view text, const std::string& file) {
  refuse_deep_nesting(text, file);
  TreeBuilder builder(file);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    YamlValue root = builder.take();
    TreeBuilder rest(file);
    if (parser.HandleNextDocument(rest) && rest.take().kind != YamlValue::Kind::null)
      throw InputError(file, 0, "", "more than one YAML document", "keep one; '---' starts a new one");
    return root;
  } catch (const YAML::Exception& e) {
    throw InputError(file, e.mark.line + 1, "", "not YAML: " + e.msg);
  }
}

std::string yaml_scalar(std::string_view text) {
  static constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-+./$()%;";
  double ignored = 0;
  const std::string lowered = to_lower(text);
  bool plain = !text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos && trim(text) == text &&
               !parse_number(text, ignored) && (std::isalnum(static_cast<unsigned char>(text[0])) || text[0] == '$');
  for (const char* word : {"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
    plain = plain && lowered != word;
  if (plain) return std::string(text);
  return yaml_quoted(text);
}

std::string yaml_quoted(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return "\"" + escaped(out, "", [](unsigned char) -> std::string { return "\\ufffd"; }) + "\"";
}

}  // namespace shardwise
