#include "verify/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "base/input_error.h"
#include "base/parallel_map.h"
#include "base/text.h"
#include "config/json.h"
#include "config/text_source.h"
#include "config/write_file.h"

namespace shardwise {

VllmVersion recorded_version(const Json& input) {
  const auto named = input.find("vllm_version");
  return named == input.end() ? kRecordedVllmVersion : parse_vllm_version(named->get<std::string>());
}

bool same_json(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_number_integer() && b.is_number_integer()) return a == b;
    const double x = a.get<double>(), y = b.get<double>();
    return x == y || std::abs(x - y) <= 1e-9 * std::max(std::abs(x), std::abs(y));
  }
  if (a.type() != b.type()) return false;
  if (a.is_object()) {
    if (a.size() != b.size()) return false;
    for (const auto& [key, value] : a.items()) {
      const auto it = b.find(key);
      if (it == b.end() || !same_json(value, *it)) return false;
    }
    return true;
  }
  if (a.is_array()) return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same_json);
  return a == b;
}

namespace {

struct CaseResult {
  std::string id;
  Json predict;
  std::vector<std::pair<std::string, bool>> fields;  // of expect: name, agrees
  std::string first_difference;
  bool has_expect = false;
};

std::string shorten(const Json& value) {
  std::string text = value.dump();
  return text.size() > 160 ? text.substr(0, 157) + "..." : text;
}

void compare(const VerifyTopic& topic, const Json& expect, CaseResult& result) {
  for (const auto& [key, value] : expect.items()) {
    if (std::find(topic.aside.begin(), topic.aside.end(), key) != topic.aside.end()) continue;
    const auto it = result.predict.find(key);
    const bool agrees = it != result.predict.end() && same_json(*it, value);
    result.fields.emplace_back(key, agrees);
    if (!agrees && result.first_difference.empty())
      result.first_difference = fmt::format("{}: {}: expected {}, predicted {}", result.id, key, shorten(value),
                                            it == result.predict.end() ? "nothing" : shorten(*it));
  }
}

const VerifyTopic& find_topic(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& topic : verify_topics()) {
    if (topic.name == name) return topic;
    names.push_back(topic.name);
  }
  throw InputError("verify", 0, "", "unknown topic '" + name + "'", "one of: " + join(names, ", "));
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    const auto line = trim(text.substr(at, end - at));
    if (!line.empty()) lines.push_back(line);
    at = end + 1;
  }
  return lines;
}

/// nullopt: `item` is no case.
std::optional<CaseResult> answer(const VerifyTopic& topic, const Json& item, VerifyModels& models) {
  if (!item.is_object() || !item.contains("id") || !item.contains("input")) return std::nullopt;
  CaseResult result;
  result.id = item["id"].get<std::string>();
  result.predict = topic.predict(result.id, item["input"], models);
  if (const auto expect = item.find("expect"); expect != item.end()) {
    result.has_expect = true;
    compare(topic, *expect, result);
  }
  return result;
}

VerifySummary summarise(const std::vector<CaseResult>& results) {
  VerifySummary summary;
  summary.cases = results.size();
  std::map<std::string, std::size_t> index;
  for (const auto& result : results) {
    if (!result.has_expect) continue;
    ++summary.compared;
    bool all = true;
    for (const auto& [name, agrees] : result.fields) {
      const auto [it, fresh] = index.try_emplace(name, summary.fields.size());
      if (fresh) summary.fields.push_back({name});
      auto& field = summary.fields[it->second];
      ++field.compared;
      field.agreed += agrees;
      all = all && agrees;
    }
    summary.agreed += all;
    if (!all && summary.disagreements.size() < 20) summary.disagreements.push_back(result.first_difference);
  }
  return summary;
}

}  // namespace

VerifySummary verify(const VerifyOptions& options) {
  const auto& topic = find_topic(options.topic);
  const auto start = std::chrono::steady_clock::now();
  const std::string text = read_file(options.file);
  const auto lines = lines_of(text);
  VerifyModels models(options.models_dir);
  if (lines.empty()) throw no_cases(options.file);
  std::vector<CaseResult> results(lines.size());
  parallel_for(lines.size(), options.threads, [&](std::size_t i) {
    Json item = parse_json(lines[i], options.file);
    if (options.version && item.is_object() && item.contains("input"))
      item["input"].emplace("vllm_version", to_string(*options.version));
    const int line = static_cast<int>(i) + 1;
    std::optional<CaseResult> result;
    try {
      result = answer(topic, item, models);
    } catch (const Json::exception& e) {
      throw InputError(options.file, line, "input", e.what(), "as the cases below tests/golden");
    }
    if (!result) throw InputError(options.file, line, "", "a case is an object with \"id\" and \"input\"");
    results[i] = std::move(*result);
    if (!options.predictions) results[i].predict = nullptr;
  });
  if (options.predictions) {
    std::string out;
    for (const auto& result : results) out += Json{{"id", result.id}, {"predict", result.predict}}.dump() + "\n";
    write_file(*options.predictions, out);
  }
  auto summary = summarise(results);
  if (summary.compared == 0 && !options.predictions)
    throw InputError(options.file, 0, "", "no case has an answer (\"expect\") to compare with",
                     "--predictions FILE writes what is predicted");
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

InputError no_cases(const std::string& file) {
  return InputError(file, 0, "", "holds no case", "one recorded case a line");
}

std::string to_text(const VerifySummary& s) {
  if (s.compared == 0) return fmt::format("{} cases, none with a recorded answer, {:.2f} s\n", s.cases, s.seconds);
  std::string out = fmt::format("{} cases, {} with a recorded answer, {} agree in every field ({:.2f} %), {:.2f} s\n",
                                s.cases, s.compared, s.agreed,
                                100.0 * static_cast<double>(s.agreed) / static_cast<double>(s.compared), s.seconds);
  for (const auto& f : s.fields)
    if (f.agreed != f.compared)
      out += fmt::format("  {:<34} {:>7} of {:>7} agree ({:.2f} %)\n", f.name, f.agreed, f.compared,
                         100.0 * static_cast<double>(f.agreed) / static_cast<double>(f.compared));
  for (const auto& d : s.disagreements) out += "  " + d + "\n";
  return out;
}

std::string to_json_text(const VerifySummary& s) {
  Json fields = Json::object();
  for (const auto& f : s.fields) fields[f.name] = {{"compared", f.compared}, {"agreed", f.agreed}};
  return Json{{"schema", "shardwise.verification/1"},
              {"cases", s.cases},
              {"compared", s.compared},
              {"agreed", s.agreed},
              {"seconds", s.seconds},
              {"fields", fields},
              {"disagreements", s.disagreements}}
             .dump(2) +
         "\n";
}

}  // namespace shardwise
