#include "launch/launch_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/json.h"
#include "config/text_source.h"
#include "launch/parts.h"

namespace shardwise {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Key;
using testing::Not;

LaunchRequest request(const std::string& cluster, int tp, int pp, int dp, int replicas = 1, bool moe = false) {
  LaunchRequest r;
  r.model = "org/Model-1.0";
  r.cluster = parse_cluster(cluster);
  r.replicas = replicas;
  r.is_moe = moe;
  r.engine.parallel.tensor_parallel_size = tp;
  r.engine.parallel.pipeline_parallel_size = pp;
  r.engine.parallel.data_parallel_size = dp;
  r.engine.parallel.enable_expert_parallel = moe;
  r.engine.max_model_len = 32768;
  r.engine.max_num_seqs = 256;
  return r;
}

LaunchRequest with_arguments() {
  LaunchRequest r = request("2x8xH100", 4, 1, 4, 1, true);
  r.given =
      parse_vllm_flags(std::vector<std::string>{"--chat-template=- it's $HOME", "--cudagraph-capture-sizes", "1", "2",
                                                "--hf-token", "--limit-mm-per-prompt.image", "2", "--seed", "7",
                                                "--tokenizer", "a \"b\" \\c", "--gpu-memory-utilization", "0.8"});
  return r;
}

const std::vector<LaunchRequest>& requests() {
  static const std::vector<LaunchRequest> all = {
      request("8xH100", 2, 1, 4),          request("2x8xH100", 4, 1, 4),
      request("2x8xH100", 8, 2, 1),        request("8xH100", 4, 1, 1, 2),
      request("4xH100", 2, 1, 2, 1, true), request("4x8xH100", 16, 1, 2, 1, true),
      request("2x8xMI300X", 8, 1, 1, 2),   request("2x8xH100", 4, 1, 3, 1, true),
      request("3x8xH100", 1, 1, 1),        with_arguments()};
  return all;
}

TEST(LaunchFiles, WhichFiles) {
  const auto one = launch_files(request("8xH100", 2, 1, 4));
  EXPECT_THAT(one, Contains(Key("run-node0.sh")));
  EXPECT_THAT(one, Contains(Key("offline_data_parallel.py")));
  EXPECT_THAT(one, Not(Contains(Key("router.conf"))));
  EXPECT_THAT(one, Not(Contains(Key("ray.md"))));
  const auto two = launch_files(request("2x8xH100", 8, 1, 1, 2));
  EXPECT_THAT(two, Contains(Key("run-node1.sh")));
  EXPECT_THAT(two.at("router.conf"), HasSubstr("server node1:8000;"));
  EXPECT_THAT(launch_files(request("2x8xH100", 4, 1, 3)), Not(Contains(Key("leader_worker_set.yaml"))));
  EXPECT_TRUE(launch_files(request("8xH100", 8, 1, 2)).empty());
}

TEST(LaunchFiles, Contents) {
  const auto files = launch_files(request("2x8xH100", 4, 1, 4, 1, true));
  EXPECT_THAT(files.at("run-node1.sh"), HasSubstr("--data-parallel-address \"${NODE0_ADDRESS:-node0}\""));
  EXPECT_THAT(files.at("run-node1.sh"), HasSubstr("--headless"));
  EXPECT_THAT(files.at("offline_data_parallel.py"), HasSubstr("VLLM_DP_MASTER_PORT"));
  EXPECT_THAT(files.at("offline_data_parallel.py"), HasSubstr("DP_RANKS_OF_NODE = [2, 2]"));
  EXPECT_THAT(files.at("leader_worker_set.yaml"),
              HasSubstr("--data-parallel-start-rank \\\"$((LWS_WORKER_INDEX * 2))\\\""));
  EXPECT_THAT(files.at("plan.sbatch"), HasSubstr("#SBATCH --nodes=2"));
  EXPECT_THAT(launch_files(request("8xH100", 2, 1, 4)).at("offline_data_parallel.py"),
              Not(HasSubstr("VLLM_DP_RANK\"")));
  const Json manifest = parse_json(files.at("manifest.json"), "manifest.json");
  EXPECT_EQ(manifest["gpus"], 16);
  EXPECT_EQ(manifest["launch"][1]["data_parallel_start_rank"], 2);
}

TEST(LaunchFiles, EveryTargetIsDocumented) {
  const auto page = read_file(SHARDWISE_SOURCE_DIR "/docs/launch.md");
  for (const auto& target : launch_targets())
    EXPECT_THAT(page, HasSubstr("| `" + std::string(target.file) + "` | " + std::string(target.about)));
}

TEST(LaunchFiles, NodesKeepTheirNumbersInAPartOfACluster) {
  LaunchRequest r = request("2x8xH100", 4, 1, 4);
  r.node_numbers = {3, 5};
  const auto files = launch_files(r);
  EXPECT_THAT(files, Contains(Key("run-node5.sh")));
  EXPECT_THAT(files.at("run-node5.sh"), HasSubstr("--data-parallel-address \"${NODE3_ADDRESS:-node3}\""));
  EXPECT_EQ(parse_json(files.at("manifest.json"), "")["launch"][1]["node"], 5);
}

TEST(LaunchFiles, OfflineScriptTakesWhatTheEngineReads) {
  LaunchRequest r = request("4xH100", 2, 1, 2, 1, true);
  r.given = parse_vllm_flags(std::vector<std::string>{"--cudagraph-capture-sizes", "1", "2", "--revision", "a\"b",
                                                      "--max-num-queued-tokens", "8k", "--api-key", "k", "--config",
                                                      "c.yaml", "--no-enable-return-routed-experts"});
  const auto script = launch_files(r).at("offline_data_parallel.py");
  for (const char* text : {"    cudagraph_capture_sizes=[1, 2],\n", "    revision=\"a\\\"b\",\n",
                           "    max_num_queued_tokens=8000,\n", "    enable_return_routed_experts=False,\n"})
    EXPECT_THAT(script, HasSubstr(text));
  EXPECT_THAT(script, Not(HasSubstr("    api_key=")));
  EXPECT_THAT(script, Not(HasSubstr("    config=")));
}

/// Writes the files of every request and lets the programs that will read them check the syntax, where they are
/// installed.
TEST(LaunchFiles, ScriptsParse) {
  const auto root = std::filesystem::temp_directory_path() / ("shardwise_launch_" + std::to_string(::getpid()));
  for (std::size_t i = 0; i < requests().size(); ++i) {
    const auto dir = root / std::to_string(i);
    std::filesystem::create_directories(dir);
    for (const auto& [name, text] : launch_files(requests()[i])) {
      std::ofstream(dir / name) << text;
      std::string check;
      if (name.ends_with(".sh") || name == "plan.sbatch") check = "bash -n ";
      if (name.ends_with(".py")) check = "python3 -m py_compile ";
      if (!check.empty()) {
        EXPECT_EQ(std::system((check + (dir / name).string()).c_str()), 0) << name << "\n" << text;
      }
    }
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace shardwise
