// One normaliser for every way in which a GPU is written.
#include <algorithm>
#include <cctype>
#include <optional>

#include "base/text.h"
#include "hardware/catalogue.h"

namespace shardwise {
namespace {

/// Words that tell no two GPUs of the catalogue apart.
constexpr std::string_view kSilent[] = {"nvidia", "amd",        "intel",     "geforce", "instinct", "tesla",  "quadro",
                                        "radeon", "generation", "blackwell", "edition", "gpu",      "tensor", "core",
                                        "oam",    "graphics",   "superchip", "grace",   "hopper",   "hbm2",   "hbm2e",
                                        "hbm3",   "hbm3e",      "gddr5",     "gddr6",   "gddr6x",   "gddr7",  "hgx"};

/// Words that mean the same as a shorter one, put behind the name.
constexpr std::pair<std::string_view, std::string_view> kForms[] = {{"sxm", "sxm"},   {"sxm2", "sxm"}, {"sxm3", "sxm"},
                                                                    {"sxm4", "sxm"},  {"sxm5", "sxm"}, {"sxm6", "sxm"},
                                                                    {"pcie", "pcie"}, {"pci", "pcie"}, {"nvl", "nvl"}};

std::vector<std::string> words_in(std::string_view name) {
  std::vector<std::string> out(1);
  for (const char c : to_lower(name)) {
    if (std::isalnum(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80)
      out.back() += c;
    else if (!out.back().empty())
      out.emplace_back();
  }
  if (out.back().empty()) out.pop_back();
  return out;
}

/// "80gb", "80gib", "80g" -> "80g"
std::optional<std::string> memory_word(const std::string& word) {
  const auto digits = word.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string::npos) return std::nullopt;
  const auto unit = std::string_view(word).substr(digits);
  if (unit != "g" && unit != "gb" && unit != "gib") return std::nullopt;
  return word.substr(0, digits) + "g";
}

}  // namespace

std::string plain_name(std::string_view name) {
  auto words = words_in(name);
  // "80 GB" is one word.
  for (std::size_t i = 0; i + 1 < words.size(); ++i)
    if ((words[i + 1] == "gb" || words[i + 1] == "gib") && memory_word(words[i] + "g")) {
      words[i] += "g";
      words.erase(words.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    }
  std::string base, form, memory;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto& word = words[i];
    if (word == "e" && i > 0 && words[i - 1] == "pci") continue;
    const auto known = std::ranges::find(kForms, word, &std::pair<std::string_view, std::string_view>::first);
    if (std::ranges::find(kSilent, word) != std::end(kSilent) && words.size() > 1) continue;
    if (i > 0 && known != std::end(kForms))
      form = known->second;
    else if (const auto size = i > 0 ? memory_word(word) : std::nullopt)
      memory = *size;
    else
      base += word;
  }
  for (const std::string_view brand : {"nvidia", "geforce", "instinct", "tesla", "quadro", "radeon"})
    if (base.starts_with(brand) && base.size() > brand.size()) base.erase(0, brand.size());
  std::string out = base + form + memory;
  if (out.size() > 2 && out.ends_with("gb") && std::isdigit(static_cast<unsigned char>(out[out.size() - 3])))
    out.pop_back();
  return out;
}

}  // namespace shardwise
