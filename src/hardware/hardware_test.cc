#include "hardware/hardware.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <set>

#include "base/input_error.h"
#include "hardware/catalogue.h"

namespace shardwise {
namespace {

using testing::HasSubstr;

std::string error_of(auto&& f) {
  try {
    f();
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

TEST(GpuCatalogue, EveryRowIsComplete) {
  EXPECT_GE(gpu_catalogue().size(), 45u);
  std::set<std::string> names;
  for (const Gpu& gpu : gpu_catalogue()) {
    SCOPED_TRACE(gpu.name);
    EXPECT_TRUE(names.insert(plain_name(gpu.name)).second) << "listed twice";
    EXPECT_TRUE(gpu.vendor == "nvidia" || gpu.vendor == "amd" || gpu.vendor == "intel");
    EXPECT_GE(gpu.compute_capability, gpu.vendor == "nvidia" ? 61 : gpu.vendor == "amd" ? 90 : 0);
    // Drivers keep at most a tenth of a card (ECC), and GiB sizes are above the decimal nominal ones.
    const double share =
        static_cast<double>(gpu.memory_total.value) / (static_cast<double>(gpu.memory_nominal.value) * 1.073741824);
    EXPECT_GT(share, 0.90);
    EXPECT_LE(share, 1.0);
    EXPECT_FALSE(gpu.memory_total_source.empty());
    EXPECT_GT(gpu.memory_bandwidth.value, 1e11);
    EXPECT_TRUE(gpu.peak.count(GpuDType::fp16));
    EXPECT_EQ(gpu.peak.count(GpuDType::bf16), gpu.vendor != "nvidia" || gpu.compute_capability >= 80 ? 1u : 0u);
    // FP8 matrix hardware: NVIDIA 8.9 and up, AMD CDNA3 and up, RDNA4; FP4: Blackwell and CDNA4.
    const bool nvidia = gpu.vendor == "nvidia";
    const bool fp8 = nvidia ? gpu.compute_capability >= 89
                            : gpu.architecture == "CDNA3" || gpu.architecture == "CDNA4" || gpu.architecture == "RDNA4";
    EXPECT_EQ(gpu.peak.count(GpuDType::fp8), fp8 ? 1u : 0u);
    EXPECT_EQ(gpu.peak.count(GpuDType::fp4),
              (nvidia && gpu.compute_capability >= 100) || gpu.architecture == "CDNA4" ? 1u : 0u);
    if (fp8) {
      EXPECT_NEAR(gpu.peak.at(GpuDType::fp8) / gpu.peak.at(GpuDType::fp16), 2.0, 0.03);
    }
    if (gpu.scale_up) {
      EXPECT_GT(gpu.scale_up->bandwidth.value, 0);
      EXPECT_GE(gpu.scale_up->domain, 1);
    }
    EXPECT_GT(gpu.pcie_bandwidth.value, 1e9);
    EXPECT_GT(gpu.l2_cache.value, 0);
    EXPECT_GT(gpu.sm_count, 0);
    EXPECT_GT(gpu.power.value, 50);
    EXPECT_FALSE(gpu.source.empty());
    EXPECT_FALSE(gpu.date.empty());
    EXPECT_EQ(&find_gpu(gpu.name), &gpu);
    for (const auto& alias : gpu_aliases(gpu.name)) EXPECT_EQ(&find_gpu(alias), &gpu) << alias;
    EXPECT_NO_THROW(default_node(gpu, 8));
  }
}

TEST(GpuCatalogue, NamesThatPeopleWrite) {
  for (const auto& [written, name] :
       std::vector<std::pair<std::string, std::string>>{{"H100", "H100-SXM"},
                                                        {"h100_sxm", "H100-SXM"},
                                                        {"NVIDIA H100 80GB HBM3", "H100-SXM"},
                                                        {"h200_sxm", "H200-SXM"},
                                                        {"b200_sxm", "B200"},
                                                        {"b300_sxm", "B300"},
                                                        {"gb200", "GB200"},
                                                        {"gb300", "GB300"},
                                                        {"gb10", "GB10"},
                                                        {"A100", "A100-SXM-80G"},
                                                        {"a100_sxm", "A100-SXM-80G"},
                                                        {"a100_80gb", "A100-SXM-80G"},
                                                        {"A100-80G", "A100-SXM-80G"},
                                                        {"a100_40gb", "A100-SXM-40G"},
                                                        {"RTX4090", "RTX-4090"},
                                                        {"rtx_4090", "RTX-4090"},
                                                        {"rtx_pro_6000", "RTX-PRO-6000"},
                                                        {"l40s", "L40S"},
                                                        {"mi300x", "MI300X"},
                                                        {"AMD Instinct MI300X", "MI300X"},
                                                        {"gh200", "GH200-96G"},
                                                        {"T4", "T4"},
                                                        {"Tesla T4", "T4"},
                                                        {"NVIDIA GeForce RTX 5090", "RTX-5090"},
                                                        {"H20", "H20"},
                                                        {"V100", "V100-SXM-16G"}})
    EXPECT_EQ(find_gpu(written).name, name) << written;
}

TEST(GpuCatalogue, NamesOfDriversLabelsAndShops) {
  for (const auto& [name, written] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"H100-SXM",
            {"H100-SXM5-80GB", "H100 80GB SXM5", "NVIDIA-H100-80GB-HBM3", "nvidia-h100-80gb", "nvidia-h100-mega-80gb",
             "NVIDIA H100 Tensor Core GPU", "H100 SXM", "h100_80GiB", "H100 80 GB"}},
           {"H100-PCIe", {"NVIDIA H100 PCIe", "H100-PCI-E-80GB", "H100 80GB PCIe"}},
           {"H100-NVL", {"NVIDIA H100 NVL", "H100-NVL-94GB"}},
           {"A100-SXM-40G", {"NVIDIA A100-SXM4-40GB", "A100-40GB", "A100 40 GB SXM4"}},
           {"A100-SXM-80G", {"NVIDIA-A100-SXM4-80GB", "nvidia-a100-80gb", "A100-80GB-SXM"}},
           {"A100-PCIe-80G", {"NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"}},
           {"H200-SXM", {"nvidia-h200-141gb", "NVIDIA H200", "H200 SXM5 141GB"}},
           {"GH200-96G", {"NVIDIA GH200 480GB", "NVIDIA GH200 Grace Hopper Superchip"}},
           {"RTX-PRO-6000",
            {"RTX6000Pro", "RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000 96GB"}},
           {"RTX-PRO-6000-WS", {"NVIDIA RTX PRO 6000 Blackwell Workstation Edition"}},
           {"RTX-PRO-6000-Max-Q",
            {"RTX PRO 6000 Max-Q", "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000 MaxQ"}},
           {"RTX-4090", {"NVIDIA GeForce RTX 4090", "4090 24GB"}},
           {"RTX-4090-48G", {"RTX 4090 48GB", "4090 48G", "RTX4090-48GB"}},
           {"RTX-4060-Ti-16G", {"NVIDIA GeForce RTX 4060 Ti 16GB"}},
           {"RTX-4060-Ti-8G", {"4060 Ti", "4060Ti 8GB"}},
           {"RTX-6000-Ada", {"NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada 48GB"}},
           {"RTX-5000-Ada", {"RTX 5000 Ada Generation"}},
           {"RTX-A4000", {"A4000", "NVIDIA RTX A4000"}},
           {"RX-7900-XT", {"AMD Radeon RX 7900 XT", "7900 XT"}},
           {"MI300X", {"AMD Instinct MI300X OAM", "MI300X-192GB", "mi300"}},
           {"T4", {"Tesla-T4", "nvidia-tesla-t4", "Tesla T4 16GB"}},
           {"P40", {"Tesla P40"}},
           {"Arc-Pro-B60", {"Intel Arc Pro B60", "Intel Arc Pro B60 Graphics", "B60"}}})
    for (const auto& text : written) {
      const Gpu* gpu = find_gpu_or_null(text);
      EXPECT_EQ(gpu ? gpu->name : "none", name) << text << " (" << plain_name(text) << ")";
    }
  // Another chip, or a size that was not made, is no GPU of the catalogue.
  for (const char* text : {"NVIDIA GeForce RTX 4090 Laptop GPU", "H100 64GB", "RTX 3060 Ti", "A100-SXM-96GB"})
    EXPECT_EQ(find_gpu_or_null(text), nullptr) << text;
}

TEST(GpuCatalogue, NoTwoGpusHaveOneName) {
  std::map<std::string, std::string> owner;
  for (const Gpu& gpu : gpu_catalogue()) {
    auto names = gpu_aliases(gpu.name);
    names.push_back(gpu.name);
    for (const auto& name : names) {
      const auto [it, fresh] = owner.emplace(plain_name(name), gpu.name);
      EXPECT_EQ(it->second, gpu.name) << name;
    }
  }
}

TEST(Instances, EveryRowIsComplete) {
  std::set<std::string> names;
  for (const Instance& i : instances()) {
    SCOPED_TRACE(i.name);
    EXPECT_TRUE(names.insert(i.name).second);
    EXPECT_EQ(find_instance(i.name), &i);
    for (const auto& alias : i.aliases) EXPECT_EQ(find_instance(alias), &i) << alias;
    EXPECT_EQ(find_gpu_or_null(i.name), nullptr) << "also a GPU";
    EXPECT_FALSE(i.source.empty());
    const Cluster cluster = parse_cluster("3x" + i.name);
    EXPECT_EQ(cluster.total_gpus(), 3 * i.gpus);
    EXPECT_EQ(cluster.name, "3x" + i.name);
    EXPECT_NEAR(cluster.nodes[0].network.bandwidth.value * 8e-9 * i.gpus, i.gbits, 1e-6);
    EXPECT_EQ(parse_cluster(cluster_string(cluster)), cluster);
    EXPECT_EQ(read_cluster_yaml(cluster_yaml(cluster), "c.yaml"), cluster);
    // No port is faster than the cloud's whole network.
    EXPECT_LE(i.gbits, i.nics * find_link(i.network).link.bandwidth.value * 8e-9 * 1.6);
  }
}

TEST(Instances, NamesThatPeopleWrite) {
  EXPECT_EQ(parse_cluster("2xp5.48xlarge").nodes[1].network.name, "EFA 100");
  EXPECT_DOUBLE_EQ(parse_cluster("2xp5.48xlarge").nodes[1].network.bandwidth.value, 50e9);
  EXPECT_EQ(parse_cluster("a3-megagpu-8g").first_gpu().name, "H100-SXM");
  EXPECT_EQ(parse_cluster("ND96isr_H100_v5").name, "Standard_ND96isr_H100_v5");
  EXPECT_EQ(parse_cluster("4 x Standard_ND96isr_MI300X_v5").total_gpus(), 32);
  EXPECT_EQ(parse_cluster("a2-megagpu-16g").nodes[0].scale_up_domain, 16);
  EXPECT_THAT(error_of([] { parse_cluster("2x8xp5.48xlarge"); }), HasSubstr("an instance has its own number of GPUs"));
}

TEST(GpuCatalogue, VllmSeesTheMemoryOfLogs) {
  EXPECT_NEAR(to_gib(find_gpu("H100").memory_total), 79.19, 0.01);
  EXPECT_NEAR(to_gib(find_gpu("RTX-5090").memory_total), 31.4, 0.01);
}

TEST(LinkCatalogue, EveryRowIsComplete) {
  for (const LinkRow& row : link_catalogue()) {
    SCOPED_TRACE(row.link.name);
    EXPECT_GT(row.link.bandwidth.value, 0);
    EXPECT_GT(row.link.latency.value, 0);
    EXPECT_FALSE(row.source.empty());
    EXPECT_EQ(find_link(row.link.name).link, row.link);
    for (const auto& alias : row.aliases) EXPECT_EQ(find_link(alias).link, row.link) << alias;
  }
  EXPECT_THAT(error_of([] { find_link("NVLnk4"); }), HasSubstr("unknown link 'NVLnk4' (did you mean 'NVLink4'?)"));
}

TEST(ClusterString, Forms) {
  EXPECT_EQ(parse_cluster("H100").total_gpus(), 1);
  EXPECT_EQ(parse_cluster("8xH100").total_gpus(), 8);
  const Cluster two = parse_cluster("2x8xH200");
  EXPECT_EQ(two.nodes.size(), 2u);
  EXPECT_EQ(two.total_gpus(), 16);
  EXPECT_EQ(two.name, "2x8xH200");
  EXPECT_TRUE(two.homogeneous());
  EXPECT_DOUBLE_EQ(two.nodes[0].network.bandwidth.value, 50e9);
  const Cluster mixed = parse_cluster("2x8xH100 + 4xL40S@100G");
  EXPECT_EQ(mixed.nodes.size(), 3u);
  EXPECT_FALSE(mixed.homogeneous());
  EXPECT_EQ(mixed.name, "2x8xH100+4xL40S@100G");
  EXPECT_DOUBLE_EQ(mixed.nodes[2].network.bandwidth.value, 12.5e9);
}

TEST(ClusterString, Spellings) {
  for (const char* text :
       {"8*H100", "8 x H100", "8xh100", "8X H100", "8\xC3\x97H100", "8 H100", "H100x8", "h100*8", "H100:8", "H100 x 8",
        "H100\xC3\x97"
        "8",
        "1xH100x8", "8xNVIDIA H100 80GB HBM3"})
    EXPECT_EQ(parse_cluster(text), parse_cluster("8xH100")) << text;
  EXPECT_EQ(parse_cluster("2xH100x8").name, "2x8xH100");
  EXPECT_EQ(parse_cluster("4090 48G").name, "1xRTX4090-48G");
  EXPECT_EQ(parse_cluster("2x4090 48G").total_gpus(), 2);
  EXPECT_EQ(parse_cluster("3090 * 1").name, "1xRTX3090");
  EXPECT_EQ(parse_cluster("2x3090 x 4").name, "2x4xRTX3090");
  EXPECT_EQ(parse_cluster("MI300x8").total_gpus(), 8);
}

TEST(ClusterString, RoundTrips) {
  for (const char* text : {"8xH100", "2x8xH200", "4xRTX4090", "6xT4", "3xA100-80G", "1xH100-NVL", "128x8xH100",
                           "18x4xGB200", "2x8xH100@200G", "2x8xL40S+1x4xA10G@25G+4xMI300X", "8xH100@12.5G"}) {
    const Cluster cluster = parse_cluster(text);
    EXPECT_EQ(parse_cluster(cluster_string(cluster)), cluster) << text;
    EXPECT_EQ(read_cluster_yaml(cluster_yaml(cluster), "c.yaml"), cluster) << text << "\n" << cluster_yaml(cluster);
  }
  for (const Gpu& gpu : gpu_catalogue())
    for (int nodes : {1, 3})
      for (int gpus : {1, 2, 5, 8}) {
        const Cluster cluster = parse_cluster(std::to_string(nodes) + "x" + std::to_string(gpus) + "x" + gpu.name);
        EXPECT_EQ(parse_cluster(cluster_string(cluster)), cluster) << gpu.name;
        EXPECT_EQ(read_cluster_yaml(cluster_yaml(cluster), "c.yaml"), cluster) << gpu.name << "\n"
                                                                               << cluster_yaml(cluster);
      }
}

TEST(ClusterString, Errors) {
  EXPECT_EQ(error_of([] { parse_cluster("8xH10"); }), "--gpus: unknown GPU 'H10' (did you mean 'H100'?)");
  EXPECT_EQ(error_of([] { parse_cluster(""); }), "--gpus: no cluster given (write for example 8xH100 or 2x8xH200)");
  EXPECT_THAT(error_of([] { parse_cluster("0xH100"); }), HasSubstr("has no GPU"));
  EXPECT_THAT(error_of([] { parse_cluster("8x"); }), HasSubstr("names no GPU"));
  EXPECT_THAT(error_of([] { parse_cluster("8xH100@400"); }), HasSubstr("the network has no unit"));
  EXPECT_THAT(error_of([] { parse_cluster("8xH100+"); }), HasSubstr("names no GPU"));
  EXPECT_THAT(error_of([] { parse_cluster("99999x8xH100"); }), HasSubstr("at most 16384"));
  EXPECT_THAT(error_of([] { parse_cluster("auto!"); }), HasSubstr("unknown GPU 'auto!'"));
}

TEST(ClusterDefaults, AreNamed) {
  EXPECT_EQ(parse_cluster("8xH100").defaults.size(), 2u);
  const auto defaults = parse_cluster("2x8xH100").defaults;
  ASSERT_EQ(defaults.size(), 3u);
  EXPECT_EQ(defaults[1].name, "network");
  EXPECT_EQ(defaults[1].value, "InfiniBand NDR 400, 50 GB/s per GPU, 5 us");
  EXPECT_EQ(defaults[1].reason, "usual for servers with H100-SXM");
}

TEST(Topology, Links) {
  const Cluster hgx = parse_cluster("2x8xH100");
  EXPECT_EQ(link_between(hgx, {0, 0}, {0, 7}).name, "NVLink4");
  EXPECT_EQ(link_between(hgx, {0, 0}, {1, 0}).kind, LinkClass::network);
  const Cluster pcie = parse_cluster("8xL40S");
  EXPECT_EQ(link_between(pcie, {0, 0}, {0, 3}).kind, LinkClass::pcie);
  EXPECT_EQ(link_between(pcie, {0, 3}, {0, 4}).kind, LinkClass::pcie_cross_numa);
  const Cluster bridged = parse_cluster("4xH100-NVL");
  EXPECT_EQ(link_between(bridged, {0, 0}, {0, 1}).kind, LinkClass::scale_up);
  EXPECT_EQ(link_between(bridged, {0, 1}, {0, 2}).kind, LinkClass::pcie);
  const Cluster rack = parse_cluster("36x4xGB200");
  EXPECT_EQ(link_between(rack, {0, 0}, {17, 3}).name, "NVLink5");
  EXPECT_EQ(link_between(rack, {17, 3}, {18, 0}).kind, LinkClass::network);
  EXPECT_EQ(slowest_link(hgx, {{0, 0}}), nullptr);
  EXPECT_EQ(slowest_link(pcie, {{0, 0}, {0, 1}, {0, 2}, {0, 3}})->kind, LinkClass::pcie);
  EXPECT_EQ(slowest_link(pcie, {{0, 0}, {0, 4}})->kind, LinkClass::pcie_cross_numa);
}

constexpr const char* kOwnGpu = R"(name: lab
gpus:
  - name: X1
    vendor: nvidia
    architecture: Hopper
    compute_capability: 9.0
    memory: 64 GB
    memory_bandwidth: 3 TB/s
    peak: {bf16: 500 TFLOPS, fp8: 1 PFLOPS}
    scale_up: {name: NVLink4, bandwidth: 200 GB/s, domain: 4}
    pcie: gen5 x16
  - name: H100-96
    like: H100
    memory_total: 94.5 GiB
nodes:
  - gpu: X1
    gpus: 4
    available: 3
    price: $1.25/h
    network: Ethernet 100G
    nics: 2
    addresses: [10.0.0.1, node-b]
  - gpu: H100-96
    count: 2
    gpus: 8
    network: {name: my fabric, bandwidth: 200 Gbit/s, latency: 8 us}
  - gpu: RTX3090
    gpus: 4
    scale_up: NVLink3 bridge
)";

TEST(ClusterYaml, OwnGpuPricesAndTakenGpus) {
  const Cluster cluster = read_cluster_yaml(kOwnGpu, "lab.yaml");
  EXPECT_EQ(cluster.nodes.size(), 5u);
  EXPECT_EQ(cluster.total_gpus(), 3 + 3 + 16 + 4);
  EXPECT_EQ(cluster.nodes[1].address, HostName::parse("node-b"));
  EXPECT_EQ(cluster.gpu(cluster.nodes[0]).peak.at(GpuDType::fp8), tflops(1000));
  EXPECT_DOUBLE_EQ(cluster.nodes[0].network.bandwidth.value, 12.5e9 * 2 / 4);
  EXPECT_DOUBLE_EQ(cluster.nodes[2].network.bandwidth.value, 25e9);
  EXPECT_DOUBLE_EQ(cluster.nodes[0].price_per_gpu_hour->value, 1.25);
  EXPECT_NEAR(to_gib(cluster.gpus.at("H100-96").memory_total), 94.5, 0.01);
  EXPECT_EQ(link_between(cluster, {4, 0}, {4, 1}).name, "NVLink3 bridge");
  EXPECT_EQ(link_between(cluster, {4, 1}, {4, 2}).kind, LinkClass::pcie);
  EXPECT_EQ(read_cluster_yaml(cluster_yaml(cluster), "back.yaml"), cluster) << cluster_yaml(cluster);
}

TEST(ClusterYaml, ErrorsSayWhereAndWhatInstead) {
  auto error = [](const std::string& text) { return error_of([&] { read_cluster_yaml(text, "c.yaml"); }); };
  EXPECT_EQ(error("nodes:\n  - gpu: h10\n    gpus: 8\n"),
            "c.yaml:2: nodes[0].gpu: unknown GPU 'h10' (did you mean 'H100'?)");
  EXPECT_EQ(error("nodes:\n  - gpu: H100\n    gpu: H200\n    gpus: 8\n"),
            "c.yaml:3: nodes[0]: key 'gpu' is given twice (first on line 2)");
  EXPECT_EQ(error("nodes:\n  - gpu: H100\n    gpuss: 8\n"),
            "c.yaml:3: nodes[0].gpuss: unknown key (did you mean 'gpus'?)");
  EXPECT_EQ(error("nodes:\n  - gpu: H100\n    gpus: 8\n    network: {bandwidth: 50}\n"),
            "c.yaml:4: nodes[0].network.bandwidth: '50' has no unit (write for example '50 GB/s')");
  EXPECT_EQ(error("nodes:\n  - gpu: H100\n    gpus: \"8\"\n"), "c.yaml:3: nodes[0].gpus: must be a whole number");
  EXPECT_EQ(error("nodes:\n  - gpu: H100\n    gpus: 8\n    available: 9\n"),
            "c.yaml:4: nodes[0].available: 9 is out of range (from 0 to 8)");
  EXPECT_EQ(error("nodes: []\n"), "c.yaml:1: nodes: needs at least one node");
  EXPECT_EQ(error("node: []\n"), "c.yaml:1: node: unknown key (did you mean 'nodes'?)");
  EXPECT_EQ(error(""), "c.yaml: must be a map of keys and values");
  EXPECT_THAT(error("nodes: [&a {gpu: H100}, *a]"), HasSubstr("anchors (&name) are not supported"));
  EXPECT_THAT(error("nodes: [1, 2"), HasSubstr("not YAML"));
  EXPECT_EQ(error("gpus:\n  - name: A\n    like: H100\n  - name: A\n    like: H100\nnodes: []\n"),
            "c.yaml:4: gpus[1].name: GPU 'A' is given twice");
}

TEST(GpuCatalogue, IsCheapToRead) {
  // The catalogue is read once in every command; the bound is ten times what it takes on a slow machine.
  const auto start = std::chrono::steady_clock::now();
  parse_cluster("2x8xH100");
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 0.05);
}

}  // namespace
}  // namespace shardwise
