// Hostile text in every place of a question that launch files are written from, judged by the programs that read them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/input_error.h"
#include "base/printable.h"
#include "config/write_file.h"
#include "config/yaml.h"
#include "launch/launch_files.h"

namespace shardwise {
namespace {

namespace fs = std::filesystem;

const std::string kHostile[] = {
    "$(>PWN)",
    "`>PWN`",
    "';>PWN;'",
    "\";>PWN;\"",
    "\"$(>PWN)\"",
    "${x:=$(>PWN)}",
    "}\";>PWN;\"",
    "a\n>PWN\n",
    "a\r\n>PWN\r\n#",
    "\\\n>PWN",
    "a & >PWN | >PWN",
    "10.0.0.2;} evil {",
    "x;\n}\nserver { listen 1; }\n#",
    "a\n#SBATCH --uid=0\n",
    "\" }\n    print \"x\" > \"PWN\"; {\"",
    "it's a 'quote' \"here\" \\ there\\",
    "\"\"\"\n__import__('os').system('>PWN')\n\"\"\"",
    "a: b\n  - c # d",
    "- {a: [b",
    "!!python/object/apply:os.system ['>PWN']",
    "&a *a |\n x",
    "$$ $${HOME} $HOME ${HOME}",
    "%s%n %(x)s {0}",
    "| a | b |\n|---|---|\n| 1 | x |",
    "```\n>PWN\n```\n# heading",
    "--port=1 -x",
    "\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "\xc2\x9b[2J",
    "gr\xc3\xbc\xc3\x9f \xe2\x80\xae dlrow \xe2\x80\xa8 line",
    "\xff\xfe caf\xe9",
    "\xed\xa0\x80\xf4\x90\x80\x80",
    "#!/bin/sh",
    "..",
    "../../etc/passwd",
    " ",
    std::string(5000, 'A'),
};

/// A folder that goes with its test.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("shardwise_hostile_" + std::to_string(::getpid()));
  std::string all;  ///< folders in it, quoted for a shell
  int count = 0;
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }

  void add(const LaunchRequest& request) {
    const auto files = launch_files(request);
    ASSERT_FALSE(files.empty());
    const auto folder = path / std::to_string(count++);
    fs::create_directories(folder);
    for (const auto& [name, text] : files) write_file((folder / name).string(), text, text.starts_with("#!"));
    all += " " + folder.string();
  }
};

/// Two replicas, each over two nodes: every writer has something to write.
LaunchRequest spread(Cluster cluster) {
  LaunchRequest r;
  r.model = "org/Model";
  r.cluster = std::move(cluster);
  r.replicas = 2;
  r.is_moe = true;
  r.engine.parallel.tensor_parallel_size = 2;
  r.engine.parallel.data_parallel_size = 2;
  r.engine.max_model_len = 4096;
  r.engine.max_num_seqs = 8;
  return r;
}

LaunchRequest on_one_node(LaunchRequest r) {
  r.cluster.nodes.resize(1);
  r.cluster.nodes[0].gpus = 8;
  return r;
}

void judge(const Folder& folder) {
  const std::string command = "python3 " SHARDWISE_SOURCE_DIR "/tests/scripts/judge_launch_files.py" + folder.all;
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST(Hostile, NamesAndArgumentsOfAnyWriterStayText) {
  Folder folder;
  for (const std::string& text : kHostile) {
    Cluster cluster = parse_cluster("4x2xH100");
    Gpu gpu = cluster.first_gpu();
    gpu.name = text;
    cluster.gpus = {{text, gpu}};
    cluster.name = text;
    for (Node& node : cluster.nodes) node.gpu = text;
    LaunchRequest r = spread(cluster);
    r.model = text;
    r.model_folder = ModelFolder{"/" + text, "/from/" + text};
    r.given.not_used = {{"chat_template", {text}}, {"served_model_name", {text, "b"}}};
    folder.add(r);
    if (folder.count < 12) folder.add(on_one_node(r));  // servers beside each other take a second to judge
  }
  judge(folder);
}

/// A field of the cluster file, and what stands there usually.
struct Field {
  const char* name;
  std::string usual;
};

const Field kFields[] = {{"name", "lab"},
                         {"gpus.name", "X1"},
                         {"gpus.vendor", "nvidia"},
                         {"gpus.architecture", "Hopper"},
                         {"gpus.compute_capability", "9.0"},
                         {"gpus.memory", "80 GB"},
                         {"gpus.memory_total", "79 GiB"},
                         {"gpus.memory_total_source", "log"},
                         {"gpus.memory_taken", "1 GiB"},
                         {"gpus.memory_bandwidth", "3 TB/s"},
                         {"gpus.peak", "500 TFLOPS"},
                         {"gpus.scale_up.name", "NVLink4"},
                         {"gpus.scale_up.bandwidth", "200 GB/s"},
                         {"gpus.scale_up.domain", "4"},
                         {"gpus.pcie", "gen5 x16"},
                         {"gpus.pcie_peer_to_peer", "true"},
                         {"gpus.l2_cache", "50 MiB"},
                         {"gpus.sm_count", "132"},
                         {"gpus.power", "700 W"},
                         {"gpus.network", "InfiniBand NDR 400"},
                         {"gpus.gpus_per_nic", "1"},
                         {"gpus.source", "a page"},
                         {"gpus.date", "2026-01-01"},
                         {"nodes.gpus", "2"},
                         {"nodes.available", "2"},
                         {"nodes.numa_domains", "1"},
                         {"nodes.scale_up", "NVLink4"},
                         {"nodes.pcie.name", "slot"},
                         {"nodes.pcie.kind", "pcie"},
                         {"nodes.pcie.bandwidth", "50 GB/s"},
                         {"nodes.pcie.latency", "2 us"},
                         {"nodes.network.name", "net"},
                         {"nodes.nics", "2"},
                         {"nodes.price", "2.5 USD/h"},
                         {"nodes.count", "4"},
                         {"nodes.address", "10.0.0.4"},
                         {"key", "date"}};

using Values = std::map<std::string, std::string>;

/// Free text stands in quotes, as its writer would put it; bytes that are no UTF-8 as they are.
std::string written(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return is_printable(text) || yaml_quoted(text).find("ufffd") == std::string::npos ? yaml_quoted(text) : out + "\"";
}

std::string cluster_text(const Values& hostile) {
  const auto at = [&](const char* name) {
    const auto it = hostile.find(name);
    if (it != hostile.end()) return written(it->second);
    for (const Field& field : kFields)
      if (std::string_view(field.name) == name) return field.usual;
    return std::string();
  };
  const std::string gpu_name = at("gpus.name");
  std::string text = "name: " + at("name") + "\ngpus:\n  - name: " + gpu_name + "\n";
  for (const char* key : {"vendor", "architecture", "compute_capability", "memory", "memory_total",
                          "memory_total_source", "memory_taken", "memory_bandwidth", "pcie", "pcie_peer_to_peer",
                          "l2_cache", "sm_count", "power", "network", "gpus_per_nic", "source"})
    text += std::string("    ") + key + ": " + at(("gpus." + std::string(key)).c_str()) + "\n";
  text += "    " + at("key") + ": " + at("gpus.date") + "\n    peak: {bf16: " + at("gpus.peak") +
          "}\n    scale_up: {name: " + at("gpus.scale_up.name") + ", bandwidth: " + at("gpus.scale_up.bandwidth") +
          ", domain: " + at("gpus.scale_up.domain") + "}\n";
  text += "nodes:\n  - gpu: " + gpu_name + "\n";
  for (const char* key : {"count", "gpus", "available", "numa_domains", "scale_up", "nics", "price"})
    text += std::string("    ") + key + ": " + at(("nodes." + std::string(key)).c_str()) + "\n";
  text += "    pcie: {name: " + at("nodes.pcie.name") + ", kind: " + at("nodes.pcie.kind") +
          ", bandwidth: " + at("nodes.pcie.bandwidth") + ", latency: " + at("nodes.pcie.latency") +
          "}\n    network: {name: " + at("nodes.network.name") +
          ", bandwidth: 50 GB/s, latency: 5 us}\n    addresses: [node-1, 10.0.0.2, 'fe80::1', " + at("nodes.address") +
          "]\n";
  return text;
}

void expect_clear(const InputError& e) {
  EXPECT_EQ(e.file, "cluster.yaml") << e.what();
  EXPECT_GT(e.line, 0) << e.what();
  EXPECT_FALSE(e.message.empty());
}

TEST(Hostile, ClusterFilesAreRefusedWhereTheyAreReadOrHarmless) {
  EXPECT_EQ(read_cluster_yaml(cluster_text({}), "cluster.yaml").nodes.size(), 4u);
  Folder folder;
  int refused = 0;
  for (const std::string& text : kHostile) {
    Values taken;
    for (const Field& field : kFields) {
      try {
        const Cluster cluster = read_cluster_yaml(cluster_text({{field.name, text}}), "cluster.yaml");
        taken[field.name] = text;
      } catch (const InputError& e) {
        SCOPED_TRACE(field.name);
        expect_clear(e);
        ++refused;
      }
    }
    EXPECT_FALSE(taken.count("nodes.address")) << text;
    EXPECT_TRUE(taken.empty() || is_printable(text)) << taken.begin()->first << " takes " << printable(text);
    const Cluster cluster = read_cluster_yaml(cluster_text(taken), "cluster.yaml");
    EXPECT_EQ(read_cluster_yaml(cluster_yaml(cluster), "again.yaml"), cluster) << printable(text);
    if (!taken.empty()) folder.add(spread(cluster));
  }
  EXPECT_GT(refused, 1000);
  judge(folder);
}

TEST(Hostile, AddressesOfArgumentsAreHosts) {
  LaunchRequest r = spread(parse_cluster("4x2xH100"));
  r.replicas = 1;
  for (const std::string& text : kHostile) {
    r.given.data_parallel_address = text;
    EXPECT_THROW(launch_commands(r), InputError) << printable(text);
  }
  r.given.data_parallel_address = "head.lab";
  EXPECT_NO_THROW(launch_commands(r));
}

}  // namespace
}  // namespace shardwise
