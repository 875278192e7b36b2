// Traces: three text forms, see docs/formats/trace.md.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>

#include "base/input_error.h"
#include "base/text.h"
#include "config/csv.h"
#include "config/json.h"
#include "config/quantity.h"
#include "workload/workload.h"

namespace shardwise {
namespace {

constexpr std::int64_t kLongestPrompt = 1'000'000'000;
constexpr double kLatestArrival = 1e10;  // seconds: 300 years
/// Block of our own form: vLLM's usual KV block, so that a shared prefix is cut where vLLM can share it.
constexpr int kOwnPrefixBlock = 16;
constexpr int kMooncakePrefixBlock = 512;

/// One JSON line with its place, for strict reading.
struct Line {
  const Json& json;
  const std::string& file;
  int number;

  [[noreturn]] void fail(const std::string& key, const std::string& message, const std::string& hint = "") const {
    throw InputError(file, number, key, message, hint);
  }
  const Json& at(const char* key) const {
    if (!json.contains(key)) fail("", "'" + std::string(key) + "' is missing");
    return json.at(key);
  }
  void only_keys(const std::vector<std::string>& keys) const {
    for (const auto& [key, value] : json.items())
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
        const std::string hint = did_you_mean(key.substr(0, 40), keys);
        fail("", "unknown key '" + key.substr(0, 40) + "'", hint.empty() ? "keys: " + join(keys, ", ") : hint);
      }
  }
  double seconds(const char* key, double unit) const {
    const Json& value = at(key);
    if (!value.is_number()) fail(key, "must be a number");
    const double result = value.get<double>() * unit;
    if (!(result >= 0 && result <= kLatestArrival)) fail(key, "is out of range");
    return result;
  }
  std::int64_t tokens(const char* key) const {
    const Json& value = at(key);
    if (!value.is_number_integer()) fail(key, "must be a whole number of tokens");
    // Unsigned values above int64 read as negative ones and are refused with them.
    const auto result = value.get<std::int64_t>();
    if (result < 1 || result > kLongestPrompt) fail(key, "must be from 1 to 1000000000 tokens");
    return result;
  }
  std::vector<std::uint64_t> ids(const char* key, std::int64_t prompt, int block) const {
    const Json& value = at(key);
    if (!value.is_array()) fail(key, "must be a list of whole numbers");
    if (static_cast<std::int64_t>(value.size()) > ceil_div(prompt, block))
      fail(key,
           std::to_string(value.size()) + " blocks of " + std::to_string(block) + " tokens are longer than the prompt");
    std::vector<std::uint64_t> out;
    for (const Json& id : value) {
      if (!id.is_number_unsigned()) fail(key, "must be a list of whole numbers that are not negative");
      out.push_back(id.get<std::uint64_t>());
    }
    return out;
  }
};

/// Ids of the blocks of a prefix that is named by one word: the same for equal names, else different.
std::vector<std::uint64_t> blocks_of_name(const std::string& name, std::int64_t blocks) {
  Rng rng(fnv1a(name));
  std::vector<std::uint64_t> ids;
  for (std::int64_t i = 0; i < blocks; ++i) ids.push_back(rng.next());
  return ids;
}

TraceRequest read_own(const Line& line, int block) {
  line.only_keys({"arrival", "prompt", "output", "prefix", "prefix_id", "prefix_tokens"});
  TraceRequest request{line.seconds("arrival", 1), line.tokens("prompt"), line.tokens("output"), {}};
  if (line.json.contains("prefix")) {
    if (line.json.contains("prefix_id")) line.fail("prefix_id", "is given beside 'prefix'", "give one of them");
    request.prefix = line.ids("prefix", request.prompt, block);
  }
  if (line.json.contains("prefix_id")) {
    const Json& id = line.at("prefix_id");
    if (!id.is_string() && !id.is_number_integer()) line.fail("prefix_id", "must be a text or a whole number");
    const std::int64_t tokens = line.json.contains("prefix_tokens") ? line.tokens("prefix_tokens") : request.prompt;
    if (tokens > request.prompt) line.fail("prefix_tokens", "is longer than the prompt");
    if (tokens / block > 1'000'000) line.fail("prefix_id", "names a prefix of more than 1000000 blocks");
    request.prefix = blocks_of_name(id.is_string() ? id.get<std::string>() : id.dump(), tokens / block);
  } else if (line.json.contains("prefix_tokens")) {
    line.fail("prefix_tokens", "is given without 'prefix_id'");
  }
  return request;
}

TraceRequest read_mooncake(const Line& line, int block) {
  line.only_keys({"timestamp", "input_length", "output_length", "hash_ids"});
  TraceRequest request{line.seconds("timestamp", 1e-3), line.tokens("input_length"), line.tokens("output_length"), {}};
  if (line.json.contains("hash_ids")) request.prefix = line.ids("hash_ids", request.prompt, block);
  return request;
}

Trace read_jsonl(std::string_view text, const std::string& file) {
  Trace trace;
  trace.prefix_block = kOwnPrefixBlock;
  std::optional<bool> mooncake;
  bool header = false;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    const std::string_view row = trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (row.empty()) continue;
    Json json;
    try {
      // Duplicate keys: the library keeps the last one silently, so they are looked for while parsing.
      std::vector<std::unordered_set<std::string>> open;
      const Json::parser_callback_t watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
        if (depth > 3) throw InputError(file, number, "", "nested deeper than any trace line");
        if (event == Json::parse_event_t::object_start) open.emplace_back();
        if (event == Json::parse_event_t::object_end && !open.empty()) open.pop_back();
        if (event == Json::parse_event_t::key && !open.empty() && !open.back().insert(parsed.get<std::string>()).second)
          throw InputError(file, number, "", "key '" + parsed.get<std::string>().substr(0, 40) + "' is given twice");
        return true;
      };
      json = Json::parse(row.begin(), row.end(), watch);
    } catch (const Json::exception&) {
      throw InputError(file, number, "", "not one JSON object", "one request a line");
    }
    const Line line{json, file, number};
    if (!json.is_object()) line.fail("", "not one JSON object", "one request a line");
    if (!mooncake && !header && json.size() == 1 && json.contains("prefix_block")) {
      if (!json["prefix_block"].is_number_integer() || json["prefix_block"] < 1 || json["prefix_block"] > 1'000'000)
        line.fail("prefix_block", "must be a whole number of tokens from 1 to 1000000");
      trace.prefix_block = json["prefix_block"].get<int>();
      header = true;
      continue;
    }
    if (!mooncake) {
      mooncake = json.contains("timestamp") || json.contains("input_length");
      if (*mooncake && !header) trace.prefix_block = kMooncakePrefixBlock;
    }
    trace.requests.push_back(*mooncake ? read_mooncake(line, trace.prefix_block) : read_own(line, trace.prefix_block));
  }
  return trace;
}

/// Days from 1970-01-01 of a date of the Gregorian calendar.
std::int64_t days_of(std::int64_t year, std::int64_t month, std::int64_t day) {
  year -= month <= 2;
  const std::int64_t era = year / 400, year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/// "2023-11-16 18:15:46.6805900", "2024-05-10 00:00:00.009930+00:00" or "2024-05-10T00:00:00Z"; microseconds since 1970
/// as {whole seconds, fraction}, so that differences keep every digit.
std::optional<std::pair<std::int64_t, double>> parse_timestamp(std::string_view text) {
  auto whole = [&](std::size_t at, std::size_t count, std::int64_t least,
                   std::int64_t most) -> std::optional<std::int64_t> {
    std::int64_t value = 0;
    if (at + count > text.size() || !parse_number(text.substr(at, count), value) || value < least || value > most)
      return std::nullopt;
    return value;
  };
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || (text[10] != ' ' && text[10] != 'T') || text[13] != ':' ||
      text[16] != ':')
    return std::nullopt;
  const auto year = whole(0, 4, 1970, 9999), month = whole(5, 2, 1, 12), day = whole(8, 2, 1, 31);
  const auto hour = whole(11, 2, 0, 23), minute = whole(14, 2, 0, 59), second = whole(17, 2, 0, 60);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  std::int64_t total = days_of(*year, *month, *day) * 86400 + *hour * 3600 + *minute * 60 + *second;
  std::size_t at = 19;
  double fraction = 0;
  if (at < text.size() && text[at] == '.') {
    std::size_t digits = 0;
    while (at + 1 + digits < text.size() && std::isdigit(static_cast<unsigned char>(text[at + 1 + digits]))) ++digits;
    if (digits == 0 || digits > 9) return std::nullopt;
    fraction =
        static_cast<double>(*whole(at + 1, digits, 0, 999'999'999)) / std::pow(10.0, static_cast<double>(digits));
    at += 1 + digits;
  }
  const std::string_view zone = text.substr(at);
  if (zone.empty() || zone == "Z") return std::pair(total, fraction);
  const auto zone_hour = whole(at + 1, 2, 0, 14), zone_minute = whole(at + 4, 2, 0, 59);
  if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':' || !zone_hour || !zone_minute)
    return std::nullopt;
  total -= (zone[0] == '+' ? 1 : -1) * (*zone_hour * 3600 + *zone_minute * 60);
  return std::pair(total, fraction);
}

Trace read_azure(std::string_view text, const std::string& file) {
  const CsvTable table = parse_csv(text, file);
  const auto at_time = table.column("TIMESTAMP"), at_prompt = table.column("ContextTokens"),
             at_output = table.column("GeneratedTokens");
  for (const auto& column : table.header)
    if (column != "TIMESTAMP" && column != "ContextTokens" && column != "GeneratedTokens")
      throw InputError(file, 1, "", "unknown column '" + column.substr(0, 40) + "'",
                       "TIMESTAMP,ContextTokens,GeneratedTokens");
  if (table.header.size() != 3) throw InputError(file, 1, "", "a column is given twice");
  Trace trace;
  std::vector<std::pair<std::int64_t, double>> times;
  for (const CsvRow& row : table.rows) {
    TraceRequest request;
    for (const auto& [column, into] : {std::pair(at_prompt, &request.prompt), std::pair(at_output, &request.output)})
      if (!parse_number(trim(row.cells[column]), *into) || *into < 1 || *into > kLongestPrompt)
        throw InputError(file, row.line, table.header[column], "must be from 1 to 1000000000 tokens");
    const auto time = parse_timestamp(trim(row.cells[at_time]));
    if (!time)
      throw InputError(file, row.line, "TIMESTAMP", "'" + row.cells[at_time].substr(0, 60) + "' is no time",
                       "as in 2023-11-16 18:15:46.6805900");
    times.push_back(*time);
    trace.requests.push_back(std::move(request));
  }
  if (times.empty()) return trace;
  const auto first = *std::min_element(times.begin(), times.end());
  for (std::size_t i = 0; i < times.size(); ++i) {
    const double arrival = static_cast<double>(times[i].first - first.first) + (times[i].second - first.second);
    if (arrival > kLatestArrival)
      throw InputError(file, table.rows[i].line, "TIMESTAMP", "is more than 300 years after the first one");
    trace.requests[i].arrival = arrival;
  }
  return trace;
}

/// Lengths as an empirical distribution of at most 512 points; bins of equal count keep the mean of their members.
LengthDistribution empirical(std::vector<std::int64_t> lengths) {
  constexpr std::size_t kPoints = 512;
  std::sort(lengths.begin(), lengths.end());
  std::map<double, double> weights;
  const std::size_t bins = std::min(kPoints, lengths.size());
  const bool few = std::set<std::int64_t>(lengths.begin(), lengths.end()).size() <= kPoints;
  if (few) {
    for (const auto length : lengths) weights[static_cast<double>(length)] += 1;
  } else {
    for (std::size_t bin = 0; bin < bins; ++bin) {
      const std::size_t begin = bin * lengths.size() / bins, end = (bin + 1) * lengths.size() / bins;
      double sum = 0;
      for (std::size_t i = begin; i < end; ++i) sum += static_cast<double>(lengths[i]);
      weights[sum / static_cast<double>(end - begin)] += static_cast<double>(end - begin);
    }
  }
  LengthDistribution d{LengthDistribution::Kind::empirical, 0, 0, {}};
  for (const auto& [tokens, weight] : weights) d.points.emplace_back(weight, tokens);
  if (d.points.size() == 1) return {LengthDistribution::Kind::constant, d.points[0].second, 0, {}};
  return d;
}

}  // namespace

Trace read_trace(std::string_view text, const std::string& file) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const std::string_view start = trim(text);
  if (start.empty()) throw InputError(file, 0, "", "the trace is empty");
  Trace trace = start.front() == '{' ? read_jsonl(text, file) : read_azure(text, file);
  if (trace.requests.empty()) throw InputError(file, 0, "", "the trace has no request");
  std::stable_sort(trace.requests.begin(), trace.requests.end(),
                   [](const TraceRequest& a, const TraceRequest& b) { return a.arrival < b.arrival; });
  return trace;
}

std::string trace_jsonl(const Trace& trace) {
  std::string out;
  if (trace.prefix_block != kOwnPrefixBlock) out += "{\"prefix_block\": " + std::to_string(trace.prefix_block) + "}\n";
  for (const TraceRequest& request : trace.requests) {
    out += "{\"arrival\": " + number_text(request.arrival) + ", \"prompt\": " + std::to_string(request.prompt) +
           ", \"output\": " + std::to_string(request.output);
    if (!request.prefix.empty()) {
      out += ", \"prefix\": [";
      for (std::size_t i = 0; i < request.prefix.size(); ++i)
        out += (i ? ", " : "") + std::to_string(request.prefix[i]);
      out += "]";
    }
    out += "}\n";
  }
  return out;
}

Workload workload_of(std::shared_ptr<const Trace> trace) {
  assert(trace && !trace->requests.empty());
  Workload workload;
  std::vector<std::int64_t> prompts, outputs;
  std::unordered_set<std::uint64_t> seen;
  double prompt_tokens = 0, shared_tokens = 0;
  for (const TraceRequest& request : trace->requests) {
    prompts.push_back(request.prompt);
    outputs.push_back(request.output);
    prompt_tokens += static_cast<double>(request.prompt);
    std::int64_t shared = 0;
    bool whole_prefix = true;
    for (const std::uint64_t id : request.prefix) {
      whole_prefix = !seen.insert(id).second && whole_prefix;
      if (whole_prefix) shared += trace->prefix_block;
    }
    shared_tokens += static_cast<double>(std::min(shared, request.prompt));
  }
  workload.isl = empirical(std::move(prompts));
  workload.osl = empirical(std::move(outputs));
  workload.prefix_share = shared_tokens / prompt_tokens;
  const auto count = static_cast<double>(trace->requests.size());
  const double span = trace->requests.back().arrival - trace->requests.front().arrival;
  if (trace->requests.size() > 1 && span > 0) {
    const double gaps = count - 1, mean_gap = span / gaps;
    double variance = 0;
    for (std::size_t i = 1; i < trace->requests.size(); ++i) {
      const double gap = trace->requests[i].arrival - trace->requests[i - 1].arrival;
      variance += (gap - mean_gap) * (gap - mean_gap) / gaps;
    }
    workload.request_rate = gaps / span;
    // A gamma renewal process has a squared coefficient of variation of 1 / shape.
    workload.burstiness = variance > 0 ? std::clamp(mean_gap * mean_gap / variance, 0.01, 100.0) : 100.0;
    workload.arrivals = Arrivals::gamma;
  } else {
    workload.arrivals = Arrivals::burst;
  }
  workload.trace = std::move(trace);
  return workload;
}

}  // namespace shardwise
