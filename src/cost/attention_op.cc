#include "cost/attention_op.h"

#include <algorithm>
#include <cmath>

#include "cost/constants.h"

namespace shardwise {
namespace {

double entries(const AttentionOp& op, double context) {
  const double far = op.padded ? op.cap : std::min(op.far * context, op.cap);
  return far + std::min(context, op.window);
}

Surface surface_at(const Grid* grid, double second_last, double last) {
  Surface out;
  if (!grid || grid->empty()) return out;
  const auto v = grid->slice(second_last, last);
  std::copy_n(v.begin(), std::min(v.size(), out.values.size()), out.values.begin());
  out.first = &grid->axes[0];
  if (grid->axes.size() > 3) out.second = &grid->axes[1];
  return out;
}

/// Surfaces NAME_decode and NAME_prefill; of their four axes the last two are the layer's own shape.
void find_surfaces(AttentionOp& op, const Chip& chip, const std::string& name, double second_last, double last) {
  op.decode = surface_at(chip.tables->find(name + "_decode"), second_last, last);
  op.prefill = surface_at(chip.tables->find(name + "_prefill"), second_last, last);
  op.lent = !chip.tables->surfaces.contains(name + "_decode");
}

void token_wise(AttentionOp& op, const Chip& chip, bool fp8_index) {
  op.token_wise = true;
  op.decode_floor = fixed::sparse_decode_floor.value, op.prefill_floor = fixed::sparse_prefill_floor.value;
  if (fp8_index && chip.fp8 > 0) op.index_peak = chip.fp8;
}

void set_grouped(AttentionOp& op, const FullAttention& a, const Chip& chip, int tp, int dcp, double kv_bytes) {
  const double heads = std::ceil(static_cast<double>(a.num_heads) / tp) * dcp;
  const double kv_heads = std::max(1.0, static_cast<double>(a.num_kv_heads) * dcp / tp);
  const double dims = a.head_dim + (a.v_head_dim > 0 ? a.v_head_dim : a.head_dim);
  op.decode_flops = op.prefill_flops = 2 * heads * dims;
  op.entry_bytes = kv_heads * dims * kv_bytes;
  op.token_bytes = (2 * heads + 2 * kv_heads) * a.head_dim * 2;
  if (const auto& index = a.indexer) {  // MiniMax-M3: blocks of keys, chosen for each key head
    token_wise(op, chip, false);
    op.cap = index->topk;
    op.index_flops = 2 * kv_heads * index->head_dim, op.index_bytes = 2.0 * index->head_dim;
    find_surfaces(op, chip, "msa", std::log2(heads), std::log2(kv_bytes));
    return;
  }
  op.query_bytes = 4 * heads * a.head_dim;
  op.decode_floor = fixed::decode_floor.value, op.prefill_floor = fixed::prefill_floor.value;
  if (const int window = a.sliding_window.value_or(a.attention_chunk_size.value_or(0)); window > 0)
    op.far = 0, op.window = window;
  const double group = std::max(1.0, heads / kv_heads);
  const auto surface = [&](bool decode, double x) {
    const auto* g = chip.tables->find_attention(decode, a.head_dim, kv_bytes < 2, static_cast<int>(op.window));
    return surface_at(&g->grid, std::log2(x), std::log2(group));
  };
  op.decode = surface(true, kv_heads), op.prefill = surface(false, heads);
}

void set_latent(AttentionOp& op, const MlaAttention& a, const Chip& chip, int tp, int dcp, double kv_bytes) {
  const double heads = std::ceil(static_cast<double>(a.num_heads) / tp) * dcp;
  const double latent = a.kv_lora_rank, rope = a.qk_rope_head_dim, width = latent + rope;
  const auto set_index = [&] {
    if (!a.indexer || a.indexer->shared) return;
    op.index_flops = 2.0 * a.indexer->num_heads * a.indexer->head_dim;
    op.index_bytes = a.indexer->head_dim + 4;  // fp8 keys and a scale
  };
  if (a.compress_ratio) {  // DeepSeek-V4: keys are values, one entry for `ratio` tokens, and a window of single ones
    token_wise(op, chip, true);
    op.far = *a.compress_ratio > 0 ? 1.0 / *a.compress_ratio : 0.0;
    if (a.indexer) op.cap = a.indexer->topk;
    op.window = a.sliding_window.value_or(0);
    op.decode_flops = op.prefill_flops = 4 * padded_query_heads(heads) * width;
    op.entry_bytes = latent + 2 * rope + 8;  // fp8, rotary part in 16 bits, scales
    op.token_bytes = 8 * padded_query_heads(heads) * width * 2;
    set_index();
    find_surfaces(op, chip, a.indexer ? "csa" : "hca", std::log2(heads), 0);
    return;
  }
  op.entry_bytes = width * kv_bytes;
  if (a.indexer) {
    token_wise(op, chip, true);
    op.cap = a.indexer->topk, op.padded = true;
    op.decode_flops = op.prefill_flops = 2 * padded_query_heads(heads) * (latent + width);
    set_index();
    // The surface holds the scan of the index too, which layers that share one skip: as of a context too short to
    // matter.
    if (a.indexer->shared) op.surface_context = 256;
    find_surfaces(op, chip, "dsa", std::log2(heads), std::log2(kv_bytes));
    return;
  }
  op.decode_flops = 2 * heads * (latent + width);
  op.prefill_flops = 2 * heads * (a.qk_nope_head_dim + rope + a.v_head_dim);
  op.decode_floor = op.prefill_floor = fixed::mla_floor.value;
  find_surfaces(op, chip, "mla", std::log2(heads), std::log2(kv_bytes));
}

/// Kernel tables by kind of state. Kinds without a name or a table take the constants of constants.h.
const char* state_surfaces(LinearAttention::Kind kind) {
  using Kind = LinearAttention::Kind;
  switch (kind) {
    case Kind::gated_delta_net:
      return "gdn";
    case Kind::kimi_delta:
      return "kda";
    case Kind::mamba1:
    case Kind::mamba2:
    case Kind::lightning:
    case Kind::short_conv:
      break;
  }
  return nullptr;
}

/// vLLM ships tuned launch shapes for states of this size alone (mamba/ops/configs/selective_state_update).
bool tuned_launch(const LinearAttention& l) { return l.head_dim == 64 && l.state_size == 128; }

/// Mamba2 scans prompts in chunks, whose states go through memory in fp32; tokens pass five kernels.
void set_mamba(AttentionOp& op, const LinearAttention& l, const Chip& chip, double elements, double inner,
               double groups, double element_bytes) {
  op.decode = surface_at(chip.tables->find("mamba2_decode"), std::log2(element_bytes), tuned_launch(l) ? 1 : 0);
  op.lent = !chip.tables->surfaces.contains("mamba2_decode");
  op.decode_work = elements;
  if (l.kind == LinearAttention::Kind::mamba1) return;
  op.prefill = surface_at(chip.tables->find("mamba2_prefill"), std::log2(elements), std::log2(l.chunk_size));
  op.chunk = l.chunk_size;
  op.chunk_bytes = elements * (8 + 2 * element_bytes) + 8 * groups * op.chunk * op.chunk;
  op.conv_bytes = 10 * (inner + 2 * groups * l.state_size) + 4 * inner;
  op.state_flops = 4 * elements + (inner + 2 * groups * l.state_size) * op.chunk;
}

void set_state(AttentionOp& op, const LinearAttention& l, const Chip& chip, int tp, double element_bytes,
               double hidden) {
  using Kind = LinearAttention::Kind;
  op.state = true;
  if (l.kind == Kind::kimi_delta) element_bytes = 4;  // fp32 always (mamba_utils.py)
  const double heads = std::ceil(static_cast<double>(std::max(1, l.num_heads)) / tp);
  const double key_heads = std::max(1.0, static_cast<double>(std::max(1, l.num_key_heads)) / tp);
  const double inner =
      l.intermediate_size > 0 ? static_cast<double>(l.intermediate_size) / tp : heads * std::max(1, l.head_dim);
  const double key = l.key_head_dim > 0 ? l.key_head_dim : std::max(1, l.state_size);
  const double elements = l.kind == Kind::short_conv ? hidden / tp : inner * key;
  const double channels = inner + 2 * key_heads * key;
  // Read and written: the state, and the 16-bit window of the convolution.
  op.state_bytes = 2 * element_bytes * elements + 2 * 2 * channels * std::max(1, l.conv_kernel);
  op.state_flops = 8 * elements;
  if (l.kind == Kind::gated_delta_net || l.kind == Kind::kimi_delta) op.copy_bytes = 4 * element_bytes * elements;
  op.decode_floor = fixed::state_decode_floor.value, op.prefill_floor = fixed::state_prompt_floor.value;
  if (const char* name = state_surfaces(l.kind))
    find_surfaces(op, chip, name, std::log2(heads), std::log2(heads / key_heads));
  op.conv_bytes =
      (op.prefill ? 8 : 4) * channels;  // in and out of the convolution; of the recurrence where it is measured
  if (l.kind == Kind::mamba1 || l.kind == Kind::mamba2)
    set_mamba(op, l, chip, elements, inner, key_heads, element_bytes);
}

OpTime state_decode(const AttentionOp& op, double sequences) {
  OpTime t;
  t.memory = sequences * op.state_bytes / op.bandwidth;
  t.seconds = op.decode
                  ? (t.memory + op.decode_floor) * std::exp(op.decode.at(std::log2(sequences * op.decode_work), 0))
                  : t.memory / fixed::state_bandwidth.value + fixed::state_floor.value;
  t.seconds *= op.slowdown;
  return t;
}

OpTime state_prefill(const AttentionOp& op, double chunks, double tokens) {
  OpTime t;
  const double total = chunks * tokens;
  t.compute = total * op.state_flops / op.peak;
  const double scans = op.chunk > 0 ? chunks * std::max(1.0, tokens / op.chunk) : 0;
  t.memory = (chunks * op.state_bytes + scans * op.chunk_bytes + total * op.conv_bytes) / op.bandwidth;
  t.seconds = op.prefill ? (std::max(t.compute, t.memory) + op.prefill_floor) *
                               std::exp(op.prefill.at(std::log2(chunks), std::log2(std::max(tokens, 1.0))))
                         : t.compute / fixed::state_prefill_flops.value +
                               t.memory / fixed::state_prefill_bandwidth.value + fixed::state_prefill_floor.value;
  t.seconds = (t.seconds + chunks * op.copy_bytes / (fixed::stream.value * op.bandwidth)) * op.slowdown;
  return t;
}

}  // namespace

double Surface::at(double x, double y) const {
  const auto [i, u] = hat(x, *first);
  if (!second) return values[i] + u * (values[i + 1] - values[i]);
  const auto [j, w] = hat(y, *second);
  const std::size_t width = second->size();
  const float* p = values.data() + i * width + j;
  const double low = p[0] + w * (p[1] - p[0]);
  const double high = p[width] + w * (p[width + 1] - p[width]);
  return low + u * (high - low);
}

double padded_query_heads(double heads) { return heads <= 64 ? 64 : std::ceil(heads / 128) * 128; }

OpTime AttentionOp::decode_time(double sequences, double context) const {
  OpTime t;
  if (sequences <= 0) return t;
  if (state) return state_decode(*this, sequences);
  const double s = std::max(1.0, context * context_share), seen = entries(*this, s);
  t.compute = sequences * seen * decode_flops / peak;
  t.memory = sequences * (seen * entry_bytes + query_bytes) / bandwidth;
  double roof = std::max(t.compute, t.memory) + decode_floor;
  if (index_flops > 0) {
    const double scanned = sequences * s * far, compute = scanned * index_flops / index_peak,
                 memory = scanned * index_bytes / bandwidth;
    t.compute += compute, t.memory += memory;
    roof += std::max(compute, memory);
  }
  t.seconds = roof * std::exp(decode.at(std::log2(sequences), std::log2(std::min(s, surface_context)))) * slowdown;
  return t;
}

OpTime AttentionOp::decode_time_beside_prompts(double sequences, double context) const {
  return decodes_as_prompts ? prefill_time(sequences, 1, context) : decode_time(sequences, context);
}

OpTime AttentionOp::prefill_time(double chunks, double tokens, double pairs) const {
  OpTime t;
  if (chunks <= 0) return t;
  if (state) return state_prefill(*this, chunks, tokens);
  const double context = pairs / std::max(tokens, 1.0);
  t.compute = chunks * tokens * entries(*this, context) * prefill_flops / peak;
  if (!token_wise) {
    const double s = std::sqrt(2 * pairs);  // an uncached prompt with as many pairs
    t.memory = chunks * s * token_bytes / bandwidth;
    t.seconds = (std::max(t.compute, t.memory) + prefill_floor) *
                std::exp(prefill.at(std::log2(chunks), std::log2(std::max(s, 1.0)))) * slowdown;
    return t;
  }
  t.memory = chunks * tokens * token_bytes / bandwidth;
  const double index = chunks * pairs * far * index_flops / index_peak;
  t.compute += index;
  t.seconds = (t.compute + t.memory + prefill_floor) *
              std::exp(prefill.at(std::log2(chunks * tokens), std::log2(std::clamp(context, 0.5, surface_context)))) *
              slowdown;
  return t;
}

AttentionOp attention_op(const Attention& attention, const Chip& chip, int tp, int dcp, const CacheTypes& types,
                         double hidden) {
  AttentionOp op;
  op.bandwidth = chip.bandwidth, op.peak = op.index_peak = chip.bf16, op.slowdown = chip.slowdown;
  op.context_share = 1.0 / dcp;
  if (const auto* a = std::get_if<FullAttention>(&attention)) set_grouped(op, *a, chip, tp, dcp, types.kv_bytes);
  if (const auto* a = std::get_if<CrossAttention>(&attention)) set_grouped(op, a->shape, chip, tp, dcp, types.kv_bytes);
  if (const auto* a = std::get_if<MlaAttention>(&attention)) set_latent(op, *a, chip, tp, dcp, types.kv_bytes);
  if (const auto* l = std::get_if<LinearAttention>(&attention))
    set_state(op, *l, chip, tp, types.state_element_bytes, hidden);
  return op;
}

}  // namespace shardwise
