#include "measured/serving_rows.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/input_error.h"
#include "base/parallel_map.h"
#include "base/text.h"
#include "config/text_source.h"
#include "hardware/catalogue.h"
#include "model/load.h"

namespace shardwise {

int ServingTable::column(std::string_view name) const {
  const auto it = std::find(header.begin(), header.end(), name);
  return it == header.end() ? -1 : static_cast<int>(it - header.begin());
}

std::string_view ServingTable::cell(std::size_t row, std::string_view name) const {
  const int c = column(name);
  return c < 0 || static_cast<std::size_t>(c) >= rows[row].size()
             ? std::string_view{}
             : std::string_view(rows[row][static_cast<std::size_t>(c)]);
}

ServingTable read_serving_csv(std::string_view text, const std::string& file) {
  ServingTable out;
  std::vector<std::string> row;
  std::string cell;
  bool quoted = false;
  const auto end_row = [&] {
    row.push_back(std::move(cell)), cell.clear();
    if (out.header.empty())
      out.header = std::move(row);
    else if (row.size() > 1 || !row[0].empty())
      out.rows.push_back(std::move(row));
    row.clear();
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"')
        cell += '"', ++i;
      else if (c == '"')
        quoted = false;
      else
        cell += c;
    } else if (c == '"') {
      quoted = true;
    } else if (c == ',') {
      row.push_back(std::move(cell)), cell.clear();
    } else if (c == '\n') {
      end_row();
    } else if (c != '\r') {
      cell += c;
    }
  }
  if (!cell.empty() || !row.empty()) end_row();
  if (quoted) throw InputError(file, static_cast<int>(out.rows.size()) + 1, "", "a quoted cell does not end");
  if (out.column("id") < 0) throw InputError(file, 1, "", "no column 'id'");
  return out;
}

namespace {

std::optional<double> number(std::string_view s) {
  if (s.empty()) return std::nullopt;
  try {
    std::size_t used = 0;
    const double v = std::stod(std::string(s), &used);
    return used == s.size() && std::isfinite(v) ? std::optional(v) : std::nullopt;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

/// GPU of a normalised system name; "" where none is named.
std::string gpu_of(std::string_view system) {
  static constexpr std::pair<std::string_view, std::string_view> rows[] = {{"h100_sxm", "H100-SXM"},
                                                                           {"h100_pcie", "H100-PCIe"},
                                                                           {"h200_sxm", "H200-SXM"},
                                                                           {"b200_sxm", "B200"},
                                                                           {"b300_sxm", "B300"},
                                                                           {"gb200", "GB200"},
                                                                           {"gb300", "GB300"},
                                                                           {"a100_sxm", "A100-SXM-80G"},
                                                                           {"a100_80gb", "A100-SXM-80G"},
                                                                           {"a100_40gb", "A100-SXM-40G"},
                                                                           {"l40s", "L40S"},
                                                                           {"l4", "L4"},
                                                                           {"rtx_pro_6000", "RTX-PRO-6000"},
                                                                           {"rtx_4090", "RTX-4090"},
                                                                           {"h20", "H20"},
                                                                           {"mi300x", "MI300X"}};
  for (const auto& [name, gpu] : rows)
    if (name == system) return std::string(gpu);
  return find_gpu_or_null(system) ? std::string(system) : "";
}

/// Checkpoints that exist under another name for a quantisation.
std::string checkpoint(const std::string& model, const std::string& quant) {
  static constexpr const char* rows[][3] = {
      {"moonshotai/Kimi-K2.5", "nvfp4", "nvidia/Kimi-K2.5-NVFP4"},
      {"MiniMaxAI/MiniMax-M2.5", "nvfp4", "nvidia/MiniMax-M2.5-NVFP4"},
      {"meta-llama/Llama-3.1-70B", "fp8", "nvidia/Llama-3.1-70B-Instruct-FP8"},
      {"meta-llama/Llama-3.1-70B", "", "meta-llama/Meta-Llama-3.1-70B"},
      {"deepseek-ai/DeepSeek-R1-0528", "", "deepseek-ai/DeepSeek-V3"},
      {"deepseek-ai/DeepSeek-R1", "", "deepseek-ai/DeepSeek-V3"},
      {"nvidia/DeepSeek-R1-NVFP4", "", "nvidia/DeepSeek-V3.1-NVFP4"},
      {"GLM-5.2-NVFP4", "", "nvidia/GLM-5.2-NVFP4"},
      {"NVIDIA Nemotron Nano 30B FP8", "", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"},
      {"nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-FP8", "", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"},
  };
  for (const auto& r : rows)
    if (model == r[0] && (quant == r[1] || r[1][0] == 0)) return r[2];
  return model;
}

/// What the row says about the weights, where the checkpoint's own scheme differs.
void apply_quantisation(Model& m, const std::string& text) {
  using M = QuantScheme::Method;
  auto& q = m.quantisation;
  const std::string want = text.ends_with('?') ? text.substr(0, text.size() - 1) : text;
  const auto all = [&](M method, int bits, bool activations) {
    QuantScheme s;
    s.method = method, s.bits = bits, s.activations = activations;
    q.attention = q.dense_mlp = q.routed_experts = q.shared_experts = s;
  };
  const bool quantised = q.routed_experts.method != M::none || q.dense_mlp.method != M::none;
  const bool fp8 = q.dense_mlp.method == M::fp8_tensor || q.dense_mlp.method == M::fp8_channel ||
                   q.dense_mlp.method == M::fp8_block || q.routed_experts.method == M::fp8_block ||
                   q.routed_experts.method == M::fp8_tensor;
  if (want == "bf16" || want == "fp16") {
    if (quantised) all(M::none, 16, false);
  } else if (want == "fp8" && !fp8) {
    all(M::fp8_channel, 8, true);
  } else if (want == "fp8_block" && q.dense_mlp.method != M::fp8_block && q.routed_experts.method != M::fp8_block) {
    all(M::fp8_block, 8, true);
  } else if (want == "nvfp4" && q.routed_experts.method != M::nvfp4 && q.dense_mlp.method != M::nvfp4) {
    all(M::nvfp4, 4, true);
  } else if (want == "awq_int4" && !quantised) {
    all(M::awq, 4, false);
  } else if (want == "int4_g32" && !quantised) {
    q.routed_experts.method = M::int4_group, q.routed_experts.bits = 4, q.routed_experts.group_size = 32;
  }
}

/// "uniform[819,1024]" or a mean.
LengthDistribution lengths(std::string_view dist, double mean) {
  LengthDistribution out;
  out.kind = LengthDistribution::Kind::constant, out.a = std::max(1.0, std::round(mean));
  if (dist.starts_with("uniform[")) {
    const auto comma = dist.find(','), end = dist.find(']');
    const auto lo = number(dist.substr(8, comma - 8)), hi = number(dist.substr(comma + 1, end - comma - 1));
    if (lo && hi) out.kind = LengthDistribution::Kind::uniform, out.a = *lo, out.b = *hi;
  } else if (to_lower(dist).find("sharegpt") != std::string::npos) {
    // Conversations: long tails, which the end of a run waits for.
    out.kind = LengthDistribution::Kind::lognormal, out.a = std::max(1.0, mean), out.b = 0.9;
  }
  return out;
}

VllmVersion version_of(std::string_view text, std::string_view date) {
  std::string digits;
  for (char c : text)
    if ((c >= '0' && c <= '9') || c == '.')
      digits += c;
    else
      break;
  try {
    if (std::count(digits.begin(), digits.end(), '.') >= 1) return parse_vllm_version(digits);
  } catch (const InputError&) {
  }
  // Not stated: the release in use on that day.
  static constexpr std::pair<std::string_view, VllmVersion> releases[] = {
      {"2026-06-01", {0, 22, 0}}, {"2026-05-01", {0, 21, 0}}, {"2026-04-10", {0, 19, 0}}, {"2026-03-15", {0, 18, 0}},
      {"2026-02-20", {0, 16, 0}}, {"2026-01-25", {0, 15, 1}}, {"2025-12-01", {0, 12, 0}}, {"2025-10-01", {0, 11, 0}},
      {"2025-08-15", {0, 10, 2}}, {"2024-06-01", {0, 8, 0}}};
  for (const auto& [from, v] : releases)
    if (date >= from) return v;
  return date.empty() ? VllmVersion{0, 19, 0} : VllmVersion{0, 5, 4};
}

std::vector<int> capture_sizes(std::int64_t largest) {
  std::vector<int> out;
  for (int b : {1, 2, 4})
    if (b <= largest) out.push_back(b);
  for (int b = 8; b <= largest; b += b < 256 ? 8 : 16) out.push_back(b);
  return out;
}

/// What the engine of this row holds; decides when requests queue.
MemoryPlan capacity(const ServingCase& c) { return plan_memory(*c.model, c.engine, c.cluster.first_gpu()); }

class Models {
 public:
  std::shared_ptr<const Model> get(const std::string& name, const std::string& quant) {
    std::lock_guard lock(mutex_);
    auto& slot = models_[name + "|" + quant];
    if (slot) return slot;
    DiskSource disk;
    Model m = load_model(checkpoint(name, quant), disk);
    apply_quantisation(m, quant);
    m.name = name;
    slot = std::make_shared<const Model>(std::move(m));
    return slot;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const Model>> models_;
};

int flag_value(std::string_view flags, std::string_view name) {
  const auto at = flags.find(name);
  return at == std::string_view::npos ? 0 : std::atoi(std::string(flags.substr(at + name.size())).c_str());
}

/// What AIConfigurator's gap analysis leaves out. Its own runs (vLLM 0.12) send prompts and outputs of one length to
/// engines that it launches with room for one prompt beside a full batch: its files set max_num_batched_tokens to the
/// batch plus the prompt (plus a margin), and the measured TTFT is that of one prompt a step, whatever the output
/// length. Rows of later versions repeat InferenceX runs, whose stated length is the largest of uniform [0.8 L, L].
void settle_gap_analysis(ServingCase& c, bool budget_stated) {
  auto& isl = c.load.isl;
  auto& osl = c.load.osl;
  if (isl.kind != LengthDistribution::Kind::constant || osl.kind != LengthDistribution::Kind::constant) return;
  if (c.engine.vllm_version < VllmVersion{0, 13, 0}) {
    if (!budget_stated)
      c.engine.max_num_batched_tokens = std::llround(isl.a) + c.load.concurrency.value_or(c.engine.max_num_seqs);
    return;
  }
  for (auto* l : {&isl, &osl}) l->kind = LengthDistribution::Kind::uniform, l->b = l->a, l->a = std::ceil(0.8 * l->b);
}

void read_row(const ServingTable& t, std::size_t i, Models& models, ServingCase& c) {
  const auto text = [&](const char* name) { return std::string(t.cell(i, name)); };
  const auto value = [&](const char* name) { return number(t.cell(i, name)); };
  c.id = text("id"), c.load_class = text("class"), c.model_name = text("model"), c.system = text("system");
  c.quantisation = text("quantisation"), c.architecture = text("arch"), c.basis = text("throughput_basis"),
  c.repeat_group = text("repeat_group"), c.campaign = text("source") + " " + text("date");
  const auto stated = [&](const char* name) { return !t.cell(i, name).empty(); };
  const auto plain = [&](const char* stat) { return text(stat).empty() || text(stat) == "mean"; };
  if (plain("ttft_stat")) c.ttft_ms = value("ttft_ms");
  if (plain("tpot_stat")) c.tpot_ms = value("tpot_ms");
  c.output_tok_s_per_gpu = value("output_tok_s_per_gpu");
  c.saturated = text("saturated") == "y";
  c.p50_statistics = text("tpot_stat") == "p50" || c.load_class == "study_p50";
  c.gpus = static_cast<int>(value("gpus").value_or(1));
  if (text("mode") == "disagg") {
    c.refusal = "prefill and decode on different workers";
    return;
  }
  if (!value("isl_mean") || !value("osl_mean")) {
    c.refusal = "prompt or output length not stated";
    return;
  }
  if (c.load_class == "prefill_only" || *value("osl_mean") < 1.5) {
    c.refusal = "no decoding to price";
    return;
  }
  const auto gpu = gpu_of(c.system);
  if (gpu.empty()) {
    c.refusal = c.system.empty() ? "GPU not stated" : "GPU '" + c.system + "' is not in the catalogue";
    return;
  }
  try {
    c.model = models.get(c.model_name, c.quantisation);
  } catch (const std::exception& e) {
    c.refusal = e.what();
    return;
  }
  // Layout. Replicas where the GPUs are a multiple of one engine.
  auto& e = c.engine;
  auto& p = e.parallel;
  const int tp = static_cast<int>(value("tp").value_or(c.gpus)), pp = static_cast<int>(value("pp").value_or(1));
  const int dp = static_cast<int>(value("dp").value_or(std::max(1, c.gpus / std::max(1, tp * pp))));
  p.tensor_parallel_size = std::max(1, tp), p.pipeline_parallel_size = std::max(1, pp),
  p.data_parallel_size = std::max(1, dp);
  p.enable_expert_parallel = value("ep").value_or(1) > 1 && c.model->is_moe();
  c.ranks = p.data_parallel_size;
  c.replicas = 1;
  e.vllm_version = version_of(text("vllm_version"), text("date"));
  const Gpu& g = find_gpu(gpu);
  const int nodes = std::max(1, static_cast<int>(value("nodes").value_or(1)));
  const int in_node = std::max(1, (p.gpus() + nodes - 1) / nodes);
  c.cluster = parse_cluster((nodes > 1 ? std::to_string(nodes) + "x" : "") + std::to_string(std::max(in_node, 1)) +
                            "x" + cluster_name_of_gpu(gpu));
  // Flags; what is not stated is the engine's default.
  const std::string flags = text("other_flags");
  const bool large = g.memory_total.value > (std::int64_t{70} << 30) && gpu.find("A100") == std::string::npos;
  e.max_num_batched_tokens = static_cast<std::int64_t>(value("max_num_batched_tokens").value_or(large ? 8192 : 2048));
  e.max_num_seqs = static_cast<std::int64_t>(value("max_num_seqs").value_or(large ? 1024 : 256));
  e.gpu_memory_utilization =
      value("gpu_memory_utilization").value_or(e.vllm_version >= VllmVersion{0, 20, 0} ? 0.92 : 0.90);
  c.load.isl = lengths(text("isl_dist"), *value("isl_mean"));
  c.load.osl = lengths(text("osl_dist"), *value("osl_mean"));
  // Not stated: room for the longest request.
  const double mean = *value("isl_mean") + *value("osl_mean");
  const auto longest = static_cast<double>(c.load.isl.max() + c.load.osl.max());
  e.max_model_len =
      static_cast<std::int64_t>(value("max_model_len").value_or(std::max(std::ceil(mean * 1.3), longest) + 256));
  const auto kv = text("kv_cache_dtype");
  e.kv_cache_dtype = kv.empty() ? "auto" : kv;
  e.enable_prefix_caching = text("prefix_caching") != "off";
  e.async_scheduling = e.vllm_version >= VllmVersion{0, 14, 0} ||
                       flags.find("async-scheduling=true") != std::string::npos ||
                       flags.find("async-scheduling") != std::string::npos;
  if (flags.find("enforce-eager") != std::string::npos) e.enforce_eager = true;
  int capture = flag_value(flags, "max-cudagraph-capture-size=");
  if (!capture) capture = flag_value(flags, "cuda-graph-sizes=");
  e.cudagraph_capture_sizes = capture_sizes(capture ? capture : 512);
  c.stream_interval = std::max(1, flag_value(flags, "stream-interval="));
  if (flags.find("allreduce+rms fusion on") != std::string::npos) c.fused_all_reduce = true;
  // Load.
  c.steady = c.load.osl.kind == LengthDistribution::Kind::constant && text("osl_dist") != "fixed";
  const auto concurrency = value("concurrency"), rate = value("request_rate"), prompts = value("num_prompts");
  if (concurrency)
    c.load.concurrency = std::max(1, static_cast<int>(*concurrency));
  else if (rate && c.load_class == "open_loop")
    c.load.request_rate = *rate;
  if (c.load_class == "burst") c.load.arrivals = Arrivals::burst;
  if (c.load_class == "open_loop" && rate) c.load.request_rate = *rate, c.load.concurrency.reset();
  if (!c.load.concurrency && !c.load.request_rate && c.load_class != "burst") {
    c.refusal = "load not stated";
    return;
  }
  if (text("source").find("gap-analysis") != std::string::npos)
    settle_gap_analysis(c, stated("max_num_batched_tokens"));
  const double n = c.load.concurrency ? 10.0 * *c.load.concurrency : 500;
  c.num_prompts = static_cast<std::int64_t>(prompts.value_or(n));
  if (c.load_class == "burst" && !prompts) {
    c.refusal = "number of prompts not stated";
    return;
  }
  c.derived_throughput = c.basis.starts_with("derived") || (c.basis.empty() && c.id.starts_with("AICV"));
  try {
    c.memory = capacity(c);
  } catch (const std::exception& x) {
    c.refusal = x.what();
  }
}

}  // namespace

std::vector<ServingCase> read_serving_rows(std::string_view csv, const std::string& file, unsigned threads) {
  const auto table = read_serving_csv(csv, file);
  std::vector<ServingCase> out(table.rows.size());
  Models models;
  parallel_for(out.size(), threads, [&](std::size_t i) { read_row(table, i, models, out[i]); });
  return out;
}

}  // namespace shardwise
