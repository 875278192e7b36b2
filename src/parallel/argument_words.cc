#include "parallel/argument_words.h"

#include <algorithm>
#include <utility>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "parallel/python_text.h"

namespace shardwise {
namespace {

using ArgumentWords = std::vector<std::string>;

/// _ as - in what stands behind -- and before the first dot and the =.
std::string dashes_in_name(std::string word) {
  const auto end = std::min(word.find('='), word.size());
  const auto stop = word.begin() + static_cast<std::ptrdiff_t>(std::min(word.find('.'), end));
  std::replace(word.begin(), stop, '_', '-');
  return word;
}

bool is_level(const std::string& word) { return word == "0" || word == "1" || word == "2" || word == "3"; }

ArgumentWords with_dashes(std::span<const std::string> argv) {
  ArgumentWords words;
  for (std::size_t i = 0; i < argv.size(); ++i) {
    const auto& word = argv[i];
    if (word.starts_with("--help=")) {
      words.push_back("--help");
    } else if (word.starts_with("--")) {
      words.push_back(dashes_in_name(word));
    } else if (word.starts_with("-O") && word.size() > 2) {
      words.push_back("--optimization-level");
      words.push_back(word.substr(word[2] == '=' ? 3 : 2));
    } else {
      words.push_back(word == "-O" && i + 1 < argv.size() && is_level(argv[i + 1]) ? "--optimization-level" : word);
    }
  }
  return words;
}

Json key_value(const std::string& text, VllmVersion version) {
  auto parsed = Json::parse(text, nullptr, false);
  if (!parsed.is_discarded()) return parsed;
  if (version >= kHumanNumbersInJson)
    if (const auto number = human_readable_int(text)) return *number;
  return text;
}

void merge_into(Json& object, const Json& update) {
  for (const auto& [key, value] : update.items()) {
    auto& slot = object[key];
    if (value.is_object() && slot.is_object())
      merge_into(slot, value);
    else if (value.is_array() && slot.is_array())
      slot.insert(slot.end(), value.begin(), value.end());
    else
      slot = value;
  }
}

/// --name.key.key+=value, or with the value in the next word.
struct DottedWord {
  std::string name, value;
  std::vector<std::string> keys;
  bool list = false;  ///< the value is split at commas
};

DottedWord dotted_word(const std::string& word, const std::string* next) {
  DottedWord out;
  auto key = word;
  if (const auto eq = word.find('='); eq != word.npos) {
    key = word.substr(0, eq);
    out.value = word.substr(eq + 1);
  } else if (next) {
    out.value = *next;
  } else {
    throw InputError("vllm serve", 0, word, "needs a value");
  }
  out.list = key.ends_with('+');
  if (out.list) key.pop_back();
  out.keys = split(key, '.');
  out.name = out.keys.front();
  out.keys.erase(out.keys.begin());
  return out;
}

bool is_dotted(const std::string& word) {
  return word.starts_with('-') && word.substr(0, word.find('=')).find('.') != std::string::npos;
}

Json nested(const DottedWord& word, VllmVersion version) {
  Json value = word.list ? Json(split(word.value, ',')) : key_value(word.value, version);
  for (auto key = word.keys.rbegin(); key != word.keys.rend(); ++key) value = Json{{*key, value}};
  return value;
}

}  // namespace

std::vector<std::string> flexible_words(std::span<const std::string> argv, VllmVersion version) {
  const auto words = with_dashes(argv);
  ArgumentWords kept;
  std::vector<std::pair<std::string, Json>> objects;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!is_dotted(words[i])) {
      kept.push_back(words[i]);
      continue;
    }
    const auto word = dotted_word(words[i], i + 1 < words.size() ? &words[i + 1] : nullptr);
    if (words[i].find('=') == std::string::npos) ++i;
    auto at = std::find_if(objects.begin(), objects.end(), [&](const auto& o) { return o.first == word.name; });
    if (at == objects.end()) at = objects.insert(at, {word.name, Json::object()});
    merge_into(at->second, nested(word, version));
  }
  for (const auto& [name, object] : objects) {
    kept.push_back(name);
    kept.push_back(object.dump());
  }
  return kept;
}

}  // namespace shardwise
