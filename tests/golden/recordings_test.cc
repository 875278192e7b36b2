// Every recording below tests/golden and tests/golden/versions/X.Y.Z: what vLLM answered, a topic of `verify` each.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "verify/verify.h"

namespace shardwise {
namespace {

struct Recording {
  const char* topic;
  const char* name;      ///< file, or the folder all of whose files are of the topic
  std::size_t at_least;  ///< cases
};

const Recording kRecordings[] = {
    {"legality", "legality/legality.jsonl", 300},
    {"legality", "legality/sweep.jsonl", 200},
    {"legality", "legality/model_init.jsonl", 150},
    {"legality", "legality/rocm.jsonl", 130},
    {"legality", "legality/versions.jsonl", 300},
    {"ranks", "ranks/groups.jsonl", 100},
    {"ranks", "ranks/nodes.jsonl", 30},
    {"experts", "experts/experts.jsonl", 150},
    {"eplb", "eplb/eplb.jsonl", 100},
    {"kernels", "kernels/kernels.jsonl", 300},
    {"kernels", "kernels/online.jsonl", 100},
    {"adapters", "adapters/adapters.jsonl", 180},
    {"offloaded", "offloaded/offloaded.jsonl", 90},
    {"kv", "kv/specs.jsonl", 300},
    {"kv", "kv/plans.jsonl", 800},
    {"kv", "kv/versions.jsonl", 200},
    {"weights", "weights/cases.jsonl", 400},
    {"arguments", "arguments/arguments.jsonl", 150},
    {"arguments", "arguments/versions.jsonl", 500},
    {"schedule", "schedule", 275},
};

/// Of the recordings of a version: files called so hold answers of the topic.
const std::map<std::string, std::string> kTopics = {
    {"legality", "legality"}, {"model_init", "legality"}, {"groups", "ranks"},       {"nodes", "ranks"},
    {"kv_specs", "kv"},       {"kv_plans", "kv"},         {"weights", "weights"},    {"schedule", "schedule"},
    {"experts", "experts"},   {"eplb", "eplb"},           {"arguments", "arguments"}};

const std::filesystem::path kGolden = SHARDWISE_SOURCE_DIR "/tests/golden";

std::set<std::filesystem::path> files_of(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::set<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
    if (entry.path().extension() == ".jsonl") files.insert(entry.path());
  return files;
}

/// Cases with an answer; all must agree.
std::size_t compared(const std::string& topic, const std::filesystem::path& file) {
  VerifyOptions options;
  options.topic = topic;
  options.file = file.string();
  options.threads = 1;
  const VerifySummary summary = verify(options);
  EXPECT_TRUE(summary.all_agree()) << file << "\n" << to_text(summary);
  return summary.compared;
}

void PrintTo(const Recording& recording, std::ostream* out) { *out << recording.name; }

class Recordings : public testing::TestWithParam<Recording> {};

TEST_P(Recordings, AllAgree) {
  std::size_t cases = 0;
  for (const auto& file : files_of(kGolden / GetParam().name)) cases += compared(GetParam().topic, file);
  EXPECT_GE(cases, GetParam().at_least);
}

INSTANTIATE_TEST_SUITE_P(OfVllm, Recordings, testing::ValuesIn(kRecordings));

TEST(RecordedVersions, AllAgree) {
  for (const auto& file : files_of(kGolden / "versions"))
    EXPECT_GE(compared(kTopics.at(file.stem().string()), file), 10u) << file;
}

TEST(RecordingFiles, EveryFileIsARow) {
  std::set<std::filesystem::path> rows = files_of(kGolden / "versions");
  rows.merge(files_of(kGolden / "launch"));           // of launch_test
  rows.insert(kGolden / "arguments/declared.jsonl");  // of arguments_test.cc
  for (const auto& recording : kRecordings) rows.merge(files_of(kGolden / recording.name));
  EXPECT_EQ(files_of(kGolden), rows);
}

TEST(RecordingFiles, EveryKindOfScheduleIsThere) { EXPECT_EQ(files_of(kGolden / "schedule").size(), 27u); }

}  // namespace
}  // namespace shardwise
