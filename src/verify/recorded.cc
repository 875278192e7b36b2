#include "verify/recorded.h"

#include "base/input_error.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "config/quantity.h"
#include "hardware/catalogue.h"
#include "parallel/dimensions.h"

namespace shardwise {

/// Name, capability and memory as the driver reports it.
NodeFacts recorded_node(const std::string& gpu, int gpus) {
  struct Row {
    std::string_view key;
    const char* name;
    int capability;
    std::int64_t mib;
  };
  static const Row rows[] = {{"A100-80", "NVIDIA A100-SXM4-80GB", 80, 81920},
                             {"A100-40", "NVIDIA A100-SXM4-40GB", 80, 40960},
                             {"L40S", "NVIDIA L40S", 89, 46068},
                             {"H100", "NVIDIA H100 80GB HBM3", 90, 81559},
                             {"H200", "NVIDIA H200", 90, 143771},
                             {"B200", "NVIDIA B200", 100, 183359}};
  for (const auto& row : rows)
    if (row.key == gpu) {
      NodeFacts node;
      node.gpu_name = row.name;
      node.capability = row.capability;
      node.memory_bytes = row.mib << 20;
      node.gpus = gpus;
      return node;
    }
  const Gpu* listed = find_gpu_or_null(gpu);
  if (!listed) throw InputError("verify", 0, "input.node.gpu", "unknown '" + gpu + "'", "a GPU of `shardwise gpus`");
  auto node = node_facts(*listed, gpus);
  node.triton_usable = listed->vendor != "amd";  // recorded where Triton found no driver
  return node;
}

NodeFacts recorded_node(int compute_capability, int gpus) {
  auto node = recorded_node(compute_capability >= 100 ? "B200" : "H100", gpus);
  node.capability = compute_capability;
  return node;
}

NodeFacts recorded_node(const Json& node) {
  auto out = recorded_node(node.at("gpu").get<std::string>(), node.at("gpus").get<int>());
  out.ray_installed = node.at("ray_installed").get<bool>();
  return out;
}

ParallelConfig recorded_parallel(const Json& args) {
  Layout layout;
  for (const auto* d : dimensions()) {
    const auto value = args.find(std::string(d->name));
    if (value == args.end() || value->is_null()) continue;
    const std::string text = value->is_string() ? value->get<std::string>() : value->dump();
    const auto read = read_value(*d, text);
    if (!read) throw InputError("verify", 0, "input." + std::string(d->name), "'" + text + "' is no value of it");
    set_value(*d, layout, *read);
  }
  return layout.parallel;
}

int recorded_capability(const Json& input) {
  const std::string text = text_at(input, "compute_capability").value_or("9.0");
  const auto dot = std::min(text.find('.'), text.size());
  std::int64_t major = 0, minor = 0;
  if (!parse_number(std::string_view(text).substr(0, dot), major) ||
      (dot < text.size() && !parse_number(std::string_view(text).substr(dot + 1), minor)))
    throw InputError("verify", 0, "input.compute_capability", "unknown '" + text + "'", "as in 9.0");
  return static_cast<int>(10 * major + minor);
}

}  // namespace shardwise
