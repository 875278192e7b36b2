// Cluster strings and files: any text is read or refused with an InputError, and what was read round-trips.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/input_error.h"
#include "hardware/hardware.h"

using namespace shardwise;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const Cluster cluster = parse_cluster(text);
    if (cluster.nodes.size() > 64) return 0;
    if (!(parse_cluster(cluster_string(cluster)) == cluster)) std::abort();
  } catch (const InputError&) {
  }
  std::string written;
  try {
    const Cluster cluster = read_cluster_yaml(text, "c.yaml");
    if (cluster.nodes.size() > 64) return 0;
    written = cluster_yaml(cluster);
    if (!(read_cluster_yaml(written, "back.yaml") == cluster)) std::abort();
    for (int node = 0; node < static_cast<int>(cluster.nodes.size()); ++node)
      link_between(cluster, {0, 0}, {node, cluster.nodes[static_cast<std::size_t>(node)].gpus - 1});
  } catch (const InputError&) {
    if (!written.empty()) std::abort();
  }
  return 0;
}
