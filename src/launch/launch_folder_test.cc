#include "launch/launch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "base/input_error.h"
#include "config/text_source.h"
#include "config/write_file.h"
#include "launch/launch_files.h"

namespace shardwise {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct LaunchFolder : testing::Test {
  fs::path root = fs::temp_directory_path() / ("shardwise_folder_" + std::to_string(::getpid()));
  std::string folder = (root / "launch").string();
  LaunchFolder() { fs::create_directories(root); }
  ~LaunchFolder() override { fs::remove_all(root); }

  static std::map<std::string, std::string> files(const std::string& cluster, int tp) {
    LaunchRequest r;
    r.model = "org/Model";
    r.cluster = parse_cluster(cluster);
    r.engine.parallel.tensor_parallel_size = tp;
    return launch_files(r);
  }
  std::set<std::string> names() const {
    std::set<std::string> out;
    for (const auto& entry : fs::directory_iterator(folder)) out.insert(entry.path().filename().string());
    return out;
  }
};

std::set<std::string> keys(const std::map<std::string, std::string>& files) {
  std::set<std::string> out;
  for (const auto& [name, text] : files) out.insert(name);
  return out;
}

TEST_F(LaunchFolder, FilesOfAnOlderPlanGo) {
  const auto two = files("2x8xH100", 16), one = files("8xH100", 8);
  write_launch_folder(folder, two, false);
  EXPECT_EQ(names(), keys(two));
  EXPECT_TRUE(fs::exists(folder + "/run-node1.sh"));
  write_file(folder + "/notes.txt", "mine");
  write_launch_folder(folder, one, false);
  auto expected = keys(one);
  expected.insert("notes.txt");
  EXPECT_EQ(names(), expected);
}

TEST_F(LaunchFolder, AManifestNamesLaunchFilesAlone) {
  write_file((root / "precious").string(), "x");
  write_launch_folder(folder, {}, true);
  write_file(folder + "/notes.txt", "mine");
  write_file(
      folder + "/manifest.json",
      R"({"format": "shardwise launch 1", "files": ["../precious", "notes.txt", "run-node9.sh", 3, "run-nodex.sh"]})");
  write_file(folder + "/run-node9.sh", "old");
  write_launch_folder(folder, files("8xH100", 8), false);
  EXPECT_TRUE(fs::exists(root / "precious"));
  EXPECT_TRUE(fs::exists(folder + "/notes.txt"));
  EXPECT_FALSE(fs::exists(folder + "/run-node9.sh"));
}

TEST_F(LaunchFolder, AFolderWithOtherFilesIsRefusedUnlessForced) {
  fs::create_directories(folder);
  write_file(folder + "/README.md", "mine");
  EXPECT_THROW(write_launch_folder(folder, files("8xH100", 8), false), InputError);
  EXPECT_EQ(read_file(folder + "/README.md"), "mine");
  EXPECT_EQ(names().size(), 1u);
  write_launch_folder(folder, files("8xH100", 8), true);
  EXPECT_THAT(read_file(folder + "/README.md"), HasSubstr("org/Model"));
}

TEST_F(LaunchFolder, LinksAreNotFollowed) {
  write_launch_folder(folder, files("8xH100", 8), false);
  write_file((root / "precious").string(), "x");
  for (const char* name : {"run-node0.sh", "README.md"}) {
    fs::remove(folder + "/" + name);
    fs::create_symlink(root / "precious", folder + "/" + name);
  }
  write_launch_folder(folder, files("8xH100", 8), false);
  EXPECT_EQ(read_file((root / "precious").string()), "x");
  EXPECT_FALSE(fs::is_symlink(folder + "/run-node0.sh"));
  fs::remove(folder + "/manifest.json");
  fs::create_directory(folder + "/manifest.json");
  EXPECT_THROW(write_launch_folder(folder, files("8xH100", 8), true), InputError);
}

TEST_F(LaunchFolder, TheUmaskDecides) {
  const auto before = ::umask(0027);
  write_launch_folder(folder, files("8xH100", 8), false);
  ::umask(before);
  const auto mode = [&](const char* name) { return static_cast<int>(fs::status(folder + "/" + name).permissions()); };
  EXPECT_EQ(mode("run-node0.sh"), 0750);
  EXPECT_EQ(mode("README.md"), 0640);
}

TEST_F(LaunchFolder, WhatCannotBeWrittenIsSaid) {
  write_file((root / "file").string(), "x");
  EXPECT_THROW(write_launch_folder((root / "file").string(), files("8xH100", 8), false), OutputError);
  EXPECT_THROW(write_file("/dev/full", "x"), OutputError);
  EXPECT_THROW(write_file(root.string(), "x"), OutputError);
  EXPECT_THROW(write_file((root / "none" / "x").string(), "x"), OutputError);
  EXPECT_THROW(write_file("/dev/full", std::string(1 << 20, 'x')), OutputError);
  EXPECT_NO_THROW(write_file("/dev/null", "x"));
}

TEST_F(LaunchFolder, AFileIsWholeOrAsItWas) {
  const auto path = (root / "file").string();
  write_file(path, "old");
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4096, before.rlim_max};
  const auto signal = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THROW(write_file(path, std::string(1 << 20, 'x')), OutputError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, signal);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(root), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace shardwise
