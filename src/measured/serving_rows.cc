#include "measured/serving_rows.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <unordered_map>

#include "base/input_error.h"
#include "base/parallel_map.h"
#include "base/text.h"
#include "config/csv.h"
#include "config/quantity.h"
#include "config/text_source.h"
#include "hardware/catalogue.h"
#include "model/load.h"
#include "model/requantise.h"

namespace shardwise {

namespace {

std::optional<double> number(std::string_view text) {
  double value = 0;
  return parse_number(text, value) ? std::optional(value) : std::nullopt;
}

/// GPU of a normalised system name.
std::optional<std::string> gpu_of(std::string_view system) {
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
  return find_gpu_or_null(system) ? std::optional<std::string>(system) : std::nullopt;
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

/// The model as the row says its weights are stored, where the checkpoint's own scheme differs.
Model stored_as(const Model& m, const std::string& text) {
  using M = QuantScheme::Method;
  const auto& q = m.quantisation;
  const std::string want = text.ends_with('?') ? text.substr(0, text.size() - 1) : text;
  const auto either = [&](M method) { return q.dense_mlp.method == method || q.routed_experts.method == method; };
  const bool quantised = q.routed_experts.method != M::none || q.dense_mlp.method != M::none;
  const bool fp8 = either(M::fp8_tensor) || either(M::fp8_block) || q.dense_mlp.method == M::fp8_channel;
  if ((want == "bf16" || want == "fp16") && quantised) return requantised(m, WeightFormat::unquantised);
  if (want == "fp8" && !fp8) return requantised(m, WeightFormat::fp8_channel);
  if (want == "fp8_block" && !either(M::fp8_block)) return requantised(m, WeightFormat::fp8_block);
  if (want == "nvfp4" && !either(M::nvfp4)) return requantised(m, WeightFormat::nvfp4);
  if (want == "awq_int4" && !quantised) return requantised(m, WeightFormat::awq);
  if (want == "int4_g32" && !quantised) return requantised(m, WeightFormat::int4_experts_group);
  return m;
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
    Model m = stored_as(load_recorded_model(checkpoint(name, quant), disk), quant);
    m.name = name;
    slot = std::make_shared<const Model>(std::move(m));
    return slot;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const Model>> models_;
};

/// The whole number behind `name` among the flags.
std::optional<int> flag_value(std::string_view flags, std::string_view name) {
  const auto at = flags.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  const auto rest = flags.substr(at + name.size());
  std::int64_t value = 0;
  const auto digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  return parse_number(rest.substr(0, digits), value) ? std::optional(static_cast<int>(value)) : std::nullopt;
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

/// A row's cells as text and numbers; a column that the table lacks is an empty cell.
struct Cells {
  const CsvCells& row;
  std::string text(std::string_view name) const { return std::string(row.text_or_empty(name)); }
  bool stated(std::string_view name) const { return !row.text_or_empty(name).empty(); }
  std::optional<double> value(std::string_view name) const { return number(row.text_or_empty(name)); }
  std::int64_t whole(std::string_view name, std::int64_t otherwise) const {
    return static_cast<std::int64_t>(value(name).value_or(static_cast<double>(otherwise)));
  }
};

void read_names(const Cells& t, ServingCase& c) {
  c.id = t.text("id"), c.load_class = t.text("class"), c.model_name = t.text("model"), c.system = t.text("system");
  c.quantisation = t.text("quantisation"), c.architecture = t.text("arch"), c.basis = t.text("throughput_basis");
  c.repeat_group = t.text("repeat_group"), c.campaign = t.text("source") + " " + t.text("date");
  c.gpus = static_cast<int>(t.whole("gpus", 1));
}

void read_measurements(const Cells& t, ServingCase& c) {
  const auto plain = [&](const char* stat) { return !t.stated(stat) || t.text(stat) == "mean"; };
  if (plain("ttft_stat")) c.ttft_ms = t.value("ttft_ms");
  if (plain("tpot_stat")) c.tpot_ms = t.value("tpot_ms");
  c.output_tok_s_per_gpu = t.value("output_tok_s_per_gpu");
  c.saturated = t.text("saturated") == "y";
  c.p50_statistics = t.text("tpot_stat") == "p50" || c.load_class == "study_p50";
  c.derived_throughput = c.basis.starts_with("derived") || (c.basis.empty() && c.id.starts_with("AICV"));
}

/// Layout and nodes. Replicas where the GPUs are a multiple of one engine.
void read_layout(const Cells& t, const std::string& gpu, ServingCase& c) {
  auto& p = c.engine.parallel;
  const int tp = static_cast<int>(t.whole("tp", c.gpus)), pp = static_cast<int>(t.whole("pp", 1));
  const int dp = static_cast<int>(t.whole("dp", std::max(1, c.gpus / std::max(1, tp * pp))));
  p.tensor_parallel_size = std::max(1, tp), p.pipeline_parallel_size = std::max(1, pp);
  p.data_parallel_size = c.ranks = std::max(1, dp);
  p.enable_expert_parallel = t.value("ep").value_or(1) > 1 && c.model->is_moe();
  const int nodes = static_cast<int>(std::max<std::int64_t>(1, t.whole("nodes", 1)));
  const int in_node = std::max(1, (p.gpus() + nodes - 1) / nodes);
  c.cluster = parse_cluster((nodes > 1 ? std::to_string(nodes) + "x" : "") + std::to_string(in_node) + "x" +
                            cluster_name_of_gpu(gpu));
}

/// Flags; what is not stated is the engine's default on that GPU.
void read_engine(const Cells& t, const std::string& gpu, ServingCase& c) {
  auto& e = c.engine;
  const std::string flags = t.text("other_flags"), kv = t.text("kv_cache_dtype");
  const auto mentions = [&](std::string_view what) { return flags.find(what) != std::string::npos; };
  const bool large =
      find_gpu(gpu).memory_total.value > (std::int64_t{70} << 30) && gpu.find("A100") == std::string::npos;
  e.max_num_batched_tokens = t.whole("max_num_batched_tokens", large ? 8192 : 2048);
  e.max_num_seqs = t.whole("max_num_seqs", large ? 1024 : 256);
  e.gpu_memory_utilization =
      t.value("gpu_memory_utilization").value_or(e.vllm_version >= VllmVersion{0, 20, 0} ? 0.92 : 0.90);
  e.kv_cache_dtype = kv.empty() ? "auto" : kv;
  e.enable_prefix_caching = t.text("prefix_caching") != "off";
  e.async_scheduling = e.vllm_version >= VllmVersion{0, 14, 0} || mentions("async-scheduling");
  if (mentions("enforce-eager")) e.enforce_eager = true;
  const auto capture = flag_value(flags, "max-cudagraph-capture-size=");
  e.cudagraph_capture_sizes = capture_sizes(capture ? *capture : flag_value(flags, "cuda-graph-sizes=").value_or(512));
  c.stream_interval = std::max(1, flag_value(flags, "stream-interval=").value_or(1));
  if (mentions("allreduce+rms fusion on")) c.fused_all_reduce = true;
}

void read_lengths(const Cells& t, ServingCase& c) {
  const double isl = t.value("isl_mean").value(), osl = t.value("osl_mean").value();
  c.load.isl = lengths(t.text("isl_dist"), isl);
  c.load.osl = lengths(t.text("osl_dist"), osl);
  c.steady = c.load.osl.kind == LengthDistribution::Kind::constant && t.text("osl_dist") != "fixed";
  // Not stated: room for the longest request.
  const auto longest = static_cast<double>(c.load.isl.max() + c.load.osl.max());
  c.engine.max_model_len =
      t.whole("max_model_len", static_cast<std::int64_t>(std::max(std::ceil((isl + osl) * 1.3), longest) + 256));
}

void read_load(const Cells& t, ServingCase& c) {
  const auto concurrency = t.value("concurrency"), rate = t.value("request_rate");
  const bool open = c.load_class == "open_loop" && rate;
  if (open)
    c.load.request_rate = *rate;
  else if (concurrency)
    c.load.concurrency = std::max(1, static_cast<int>(*concurrency));
  if (c.load_class == "burst") c.load.arrivals = Arrivals::burst;
  c.num_prompts = t.whole("num_prompts", c.load.concurrency ? 10 * *c.load.concurrency : 500);
}

/// What a row lacks for a prediction; nullopt: nothing.
std::optional<std::string> missing_lengths(const Cells& t, const ServingCase& c) {
  const auto isl = t.value("isl_mean"), osl = t.value("osl_mean");
  if (t.text("mode") == "disagg") return "prefill and decode on different workers";
  if (!isl || !osl) return "prompt or output length not stated";
  if (c.load_class == "prefill_only" || *osl < 1.5) return "no decoding to price";
  return std::nullopt;
}

std::optional<std::string> missing_load(const Cells& t, const ServingCase& c) {
  if (c.load_class == "burst") {
    if (!t.value("num_prompts")) return "number of prompts not stated";
  } else if (!c.load.concurrency && !c.load.request_rate) {
    return "load not stated";
  }
  return std::nullopt;
}

ServingRow read_row(const Cells& t, Models& models) {
  ServingCase c;
  read_names(t, c);
  read_measurements(t, c);
  const auto unpriced = [&](const std::string& why) { return UnpricedRow{c.id, c.load_class, why}; };
  if (const auto why = missing_lengths(t, c)) return unpriced(*why);
  const auto gpu = gpu_of(c.system);
  if (!gpu) return unpriced(c.system.empty() ? "GPU not stated" : "GPU '" + c.system + "' is not in the catalogue");
  try {
    c.model = models.get(c.model_name, c.quantisation);
    c.engine.vllm_version = version_of(t.text("vllm_version"), t.text("date"));
    read_layout(t, *gpu, c);
    read_engine(t, *gpu, c);
    read_lengths(t, c);
    read_load(t, c);
    if (const auto why = missing_load(t, c)) return unpriced(*why);
    if (t.text("source").find("gap-analysis") != std::string::npos)
      settle_gap_analysis(c, t.stated("max_num_batched_tokens"));
    c.memory = capacity(c);
  } catch (const std::exception& e) {
    return unpriced(e.what());
  }
  return c;
}

}  // namespace

std::vector<ServingRow> read_serving_rows(std::string_view csv, const std::string& file, unsigned threads) {
  const auto table = parse_csv(csv, file);
  table.column("id");
  std::vector<ServingRow> out(table.rows.size());
  Models models;
  parallel_for(out.size(), threads, [&](std::size_t i) {
    const CsvCells row(table, table.rows[i]);
    out[i] = read_row({row}, models);
  });
  return out;
}

std::vector<ServingCase> priced(std::vector<ServingRow> rows) {
  std::vector<ServingCase> out;
  for (auto& row : rows)
    if (auto* c = std::get_if<ServingCase>(&row)) out.push_back(std::move(*c));
  return out;
}

}  // namespace shardwise
