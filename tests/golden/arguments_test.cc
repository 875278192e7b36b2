// The arguments as the parsers of 0.32.0 and 0.33.0 declare them (ask_facts.py arguments): every spelling is read,
// takes the same words, and no other argument is taken for one of that version.
#include <gtest/gtest.h>

#include <set>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/text_source.h"
#include "parallel/engine_args.h"

namespace shardwise {
namespace {

using Words = std::vector<std::string>;

/// The words that tell types apart, as the recording asked them.
const Words kProbes = {"8", "-1", "8k", "8K", "1.5", "auto", "none", "word", R"({"a": 1})", "[1]", "a=1"};

std::vector<Json> recorded() {
  std::vector<Json> rows;
  for (const auto& line : split(read_file(SHARDWISE_SOURCE_DIR "/tests/golden/arguments/declared.jsonl"), '\n'))
    if (!line.empty()) rows.push_back(Json::parse(line));
  return rows;
}

bool reads(const Words& argv, VllmVersion version) {
  try {
    parse_vllm_flags(argv, version);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

/// A word that the argument takes, of the kind that is meant where it takes any; nullopt for nested configurations,
/// whose fields are not compared here.
std::optional<std::string> taken_word(const Json& row) {
  if (row["choices"].is_array()) return row["choices"][0].get<std::string>();
  const auto takes = row["takes"].get<Words>();
  if (takes.empty()) return std::nullopt;
  if (row["id"] == "lora_modules") return "a=1";  // read by its action, not by its type
  const auto* ours = find_flag(row["id"].get<std::string>());
  const std::string meant = ours && ours->kind == FlagKind::json ? R"({"a": 1})" : "8";
  return std::find(takes.begin(), takes.end(), meant) != takes.end() ? meant : takes.back();
}

std::vector<VllmVersion> versions_of(const Json& row) {
  std::vector<VllmVersion> out;
  for (const auto& v : row["versions"]) out.push_back(parse_vllm_version(v.get<std::string>()));
  return out;
}

/// Kinds whose words are read as they are: what they may be is checked when the command starts.
bool free_text(const FlagRow& row) {
  return row.kind == FlagKind::text || row.kind == FlagKind::text_list || row.kind == FlagKind::comma_list ||
         row.kind == FlagKind::optional_text;
}

TEST(GoldenArguments, EverySpellingIsRead) {
  std::size_t asked = 0;
  for (const auto& row : recorded())
    for (const auto version : versions_of(row)) {
      const bool is_switch = row["words"] == "0";
      for (const auto& flag : row["spelled"]) {
        const auto word = is_switch ? std::nullopt : taken_word(row);
        if (!is_switch && !word) continue;
        const auto text = flag.get<std::string>();
        EXPECT_TRUE(reads({is_switch ? text : text + "=" + *word}, version)) << text << " of " << to_string(version);
        ++asked;
      }
      for (const auto& flag : row["off"]) {
        EXPECT_TRUE(reads({flag.get<std::string>()}, version)) << flag << " of " << to_string(version);
        ++asked;
      }
    }
  EXPECT_GE(asked, 850u);
}

TEST(GoldenArguments, TheSameWordsAreTaken) {
  for (const auto& row : recorded()) {
    if (row["words"] == "0" || row["choices"].is_array() || row["takes"].empty()) continue;
    const auto* ours = find_flag(row["id"].get<std::string>());
    ASSERT_TRUE(ours) << row["id"];
    if (row["id"] == "lora_modules") continue;
    if (row["id"] == "optimization_level") continue;  // any word; its configuration refuses all but 0 to 3
    const auto takes = row["takes"].get<Words>();
    const std::string flag = row["spelled"].back().get<std::string>();
    for (const auto& word : kProbes) {
      const bool theirs = std::find(takes.begin(), takes.end(), word) != takes.end();
      if (free_text(*ours) && !theirs) continue;
      if (ours->kind == FlagKind::json && !word.ends_with('}')) continue;  // objects are what is meant
      for (const auto version : versions_of(row))
        EXPECT_EQ(reads({flag + "=" + word}, version), theirs) << flag << "=" << word << " of " << to_string(version);
    }
  }
}

TEST(GoldenArguments, NoArgumentIsOursAlone) {
  std::map<std::string, std::set<std::string>> theirs;
  for (const auto& row : recorded())
    for (const auto& version : row["versions"]) theirs[version.get<std::string>()].insert(row["id"].get<std::string>());
  for (const auto& [version, names] : theirs)
    for (const auto& row : flag_rows())
      EXPECT_TRUE(!row.versions.contains(parse_vllm_version(version)) || names.contains(std::string(row.name)))
          << row.name << " of " << version;
}

TEST(GoldenArguments, SwitchesCanBeTurnedOffWhereTheyCan) {
  for (const auto& row : recorded()) {
    if (row["words"] != "0") continue;
    const auto* ours = find_flag(row["id"].get<std::string>());
    ASSERT_TRUE(ours) << row["id"];
    EXPECT_EQ(ours->kind, row["off"].empty() ? FlagKind::present : FlagKind::boolean) << row["id"];
  }
}

}  // namespace
}  // namespace shardwise
