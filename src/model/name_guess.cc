#include "model/name_guess.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "base/text.h"
#include "model/bundle.h"
#include "model/load.h"
#include "model/requantise.h"

namespace shardwise {
namespace {

/// A weight format as a word of a name.
struct Format {
  std::string_view word, name;
  WeightFormat format;
};
using F = WeightFormat;
/// The most telling word first.
constexpr std::array kFormats = {
    Format{"w4a16", "int4 (w4a16)", F::int4_group},
    Format{"w8a8", "int8 (w8a8)", F::int8_channel},
    Format{"nvfp4", "NVFP4", F::nvfp4},
    Format{"fp4", "NVFP4", F::nvfp4},
    Format{"awq", "AWQ int4", F::awq},
    Format{"gptq", "GPTQ int4", F::gptq},
    Format{"autoround", "int4", F::gptq},
    Format{"bnb", "bitsandbytes 4 bit", F::bitsandbytes_4bit},
    Format{"dynamic", "fp8", F::fp8_channel},
    Format{"fp8", "fp8", F::fp8_block},
    Format{"int8", "int8 (w8a8)", F::int8_channel},
    Format{"int4", "int4 (w4a16)", F::int4_group},
    Format{"4bit", "int4 (w4a16)", F::int4_group},
};
/// Words that do not change what is allocated.
bool is_noise(const std::string& word) {
  static constexpr std::array kNoise = {"instruct", "chat",      "it",   "hf",     "base",     "preview",
                                        "thinking", "quantized", "meta", "static", "pertensor"};
  return std::find(kNoise.begin(), kNoise.end(), word) != kNoise.end();
}

bool is_format(const std::string& word) {
  return std::any_of(kFormats.begin(), kFormats.end(), [&](const Format& f) { return f.word == word; });
}

/// "7b", "0.6b", "350m", "8x7b"
bool is_size(const std::string& word) {
  return word.size() > 1 && std::isdigit(static_cast<unsigned char>(word[0])) &&
         (word.back() == 'b' || word.back() == 'm') && std::all_of(word.begin(), word.end() - 1, [](unsigned char c) {
           return std::isdigit(c) || c == '.' || c == 'x';
         });
}

/// The last part of a path as words; what tells copies of one model apart is left out.
std::vector<std::string> words_of(std::string_view spec, std::vector<std::string>* formats = nullptr) {
  std::string name = to_lower(trim(spec));
  if (const auto remark = name.find(" ("); remark != std::string::npos) name.resize(remark);
  while (name.ends_with('/')) name.pop_back();
  if (const auto slash = name.rfind('/'); slash != std::string::npos) name.erase(0, slash + 1);
  if (const auto dashes = name.find("--"); dashes != std::string::npos) name.erase(0, dashes + 2);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '_' || c == ' '; }, '-');
  if (const auto at = name.find("quantized."); at != std::string::npos) name[at + 9] = '-';
  std::vector<std::string> out;
  for (auto& word : split(name, '-')) {
    if (is_format(word) && formats) formats->push_back(word);
    if (!word.empty() && !is_noise(word) && !is_format(word)) out.push_back(std::move(word));
  }
  return out;
}

struct Candidate {
  std::vector<std::string> words;
  std::string name;
};

bool names_size(const std::vector<std::string>& words) { return std::any_of(words.begin(), words.end(), is_size); }

bool names_version(const std::vector<std::string>& words) {
  return words.size() > 1 && std::any_of(words.begin(), words.end(), [](const std::string& word) {
           return std::any_of(word.begin(), word.end(), [](unsigned char c) { return std::isdigit(c); });
         });
}

/// Bundled models that are not copies in another format, by every name.
const std::vector<Candidate>& candidates() {
  static const auto built = [] {
    std::vector<Candidate> out;
    for (const auto& model : bundled_models()) {
      std::vector<std::string> names = model.aliases;
      names.insert(names.end(), model.recorded_as.begin(), model.recorded_as.end());
      names.push_back(model.name);
      for (const auto& name : names) {
        std::vector<std::string> formats;
        Candidate c{words_of(name, &formats), model.name};
        if (names_version(c.words) && formats.empty() && name.find(" (") == std::string::npos)
          out.push_back(std::move(c));
      }
    }
    return out;
  }();
  return built;
}

}  // namespace

std::optional<NameGuess> guess_model(std::string_view spec) {
  std::vector<std::string> formats;
  const auto words = words_of(spec, &formats);
  const bool sized = names_size(words);
  const Candidate* best = nullptr;
  for (const auto& c : candidates())
    if ((!best || c.words.size() > best->words.size()) && names_size(c.words) == sized &&
        std::search(words.begin(), words.end(), c.words.begin(), c.words.end()) != words.end())
      best = &c;
  if (!best) return std::nullopt;
  NameGuess guess{load_bundled_file(find_bundled(best->name).value().stem), {}};
  guess.assumption = best->name;
  const auto format = std::find_if(kFormats.begin(), kFormats.end(), [&](const Format& f) {
    return std::find(formats.begin(), formats.end(), f.word) != formats.end();
  });
  // A checkpoint that is in 8 bits from the start (DeepSeek-V3) is what its FP8 name means.
  const bool quantised = !guess.model.quantisation.quant_method.empty();
  if (format == kFormats.end() || (quantised && (format->word == "fp8" || format->word == "dynamic"))) return guess;
  guess.model = requantised(guess.model, format->format);
  guess.assumption += ", weights in " + std::string(format->name);
  return guess;
}

}  // namespace shardwise
