#include "memory/weight_program.h"

#include <algorithm>
#include <numeric>

#include "base/units.h"

namespace shardwise {
namespace {

using Method = QuantScheme::Method;
using Kind = WeightModule::Kind;

struct Sum {
  RankWeights& out;
  const WeightLayout& layout;
  std::optional<WeightRefusal>* refusal;
  std::int64_t times = 1;
  std::vector<std::int64_t>* tensors = nullptr;  // bytes of each, where asked for

  void refuse(const char* where, std::string message) {
    if (refusal && !*refusal) *refusal = WeightRefusal{where, std::move(message)};
  }
  void tensor(WeightClass cls, StoredType type, std::int64_t elements, std::int64_t count = 1) {
    out.present |= 1u << static_cast<unsigned>(cls);
    if (elements <= 0) return;
    const std::int64_t bytes = elements * bytes_of(type), n = count * times;
    if (tensors) tensors->insert(tensors->end(), static_cast<std::size_t>(count), bytes);
    const auto c = static_cast<std::size_t>(cls);
    out.bytes[c] += bytes * n;
    out.elements[c] += elements * n;
    out.by_type[static_cast<std::size_t>(type)] += bytes * n;
    out.rounded_512 += round_up(bytes, 512) * n;
  }
  void buffer(BufferKind kind, std::int64_t bytes, std::int64_t count = 1) {
    out.buffers[static_cast<std::size_t>(kind)] += bytes * count * times;
    out.rounded_512 += round_up(bytes, 512) * count * times;
  }
  std::int64_t divide(std::int64_t units, std::int64_t ranks) {
    if (units % ranks != 0)
      refuse("vllm/distributed/utils.py", std::to_string(units) + " is not divisible by " + std::to_string(ranks));
    return units / ranks;
  }
};

// Sizes of one linear layer on this rank.
struct Local {
  std::int64_t in = 0, out = 0, full_in = 0, full_out = 0;
  std::array<std::int64_t, 6> parts{};
  int num_parts = 0;
  int tp = 1;
  bool row = false, split = false;
};

void check_fp8_block(Sum& sum, const QuantScheme& s, const Local& l) {
  // fp8_utils.py validate_fp8_block_shape
  const int tp = l.tp;
  // Fused layers with a part that is no multiple of the block are let through (linear.py
  // _maybe_allow_fp8_block_shape_mismatch).
  if (l.num_parts > 1 && !l.row)
    for (int i = 0; i < l.num_parts; ++i)
      if (l.parts[static_cast<std::size_t>(i)] % s.block_n != 0) return;
  if (l.row && tp > 1 && l.full_in / std::max<std::int64_t>(l.in, 1) == tp && l.in % s.block_k != 0)
    sum.refuse("vllm/model_executor/layers/quantization/utils/fp8_utils.py",
               "Weight input_size_per_partition = " + std::to_string(l.in) +
                   " is not divisible by weight quantization block_k = " + std::to_string(s.block_k) + ".");
  const bool tp_split = tp > 1 && l.split && l.full_out / std::max<std::int64_t>(l.out, 1) == tp,
             merged = l.num_parts > 1;
  if (!tp_split && !merged) return;
  const int check = !tp_split && merged ? l.num_parts - 1 : l.num_parts;
  for (int i = 0; i < check; ++i)
    if (l.parts[static_cast<std::size_t>(i)] % s.block_n != 0)
      sum.refuse("vllm/model_executor/layers/quantization/utils/fp8_utils.py",
                 "Weight output_partition_size = " + std::to_string(l.parts[static_cast<std::size_t>(i)]) +
                     " is not divisible by weight quantization block_n = " + std::to_string(s.block_n) + ".");
}

void linear_storage(Sum& sum, const WeightModule& m, const Local& l, std::int64_t count) {
  const QuantScheme& s = m.scheme;
  const auto put = [&](StoredType type, std::int64_t elements) { sum.tensor(m.cls, type, elements, count); };
  const std::int64_t group = s.group_size > 0 ? s.group_size : l.full_in;
  switch (s.method) {
    case Method::none:
      put(m.type, l.in * l.out);
      break;
    case Method::fp8_tensor:
      put(StoredType::float8_e4m3fn, l.in * l.out);
      put(StoredType::float32, l.num_parts);
      if (s.static_activations) put(StoredType::float32, l.num_parts);
      break;
    case Method::fp8_channel:
      put(StoredType::float8_e4m3fn, l.in * l.out);
      put(StoredType::float32, l.out);
      if (s.static_activations) put(StoredType::float32, l.num_parts);
      break;
    case Method::fp8_block:
      check_fp8_block(sum, s, l);
      put(StoredType::float8_e4m3fn, l.in * l.out);
      put(s.e8m0_scales ? StoredType::float8_e8m0fnu : StoredType::float32,
          ceil_div(l.out, s.block_n) * ceil_div(l.in, s.block_k));
      break;
    case Method::int8_channel:
      put(StoredType::int8, l.in * l.out);
      put(StoredType::float32, l.out);
      if (s.static_activations) put(StoredType::float32, 1);
      break;
    case Method::nvfp4:
      put(StoredType::uint8, l.out * (l.in / 2));
      // The kernels' swizzled layout pads scales to 128 rows and 4 columns when loading ends.
      put(StoredType::float8_e4m3fn, sum.layout.after_loading ? round_up(l.out, 128) * round_up(l.in / s.group_size, 4)
                                                              : l.out * (l.in / s.group_size));
      put(StoredType::float32, l.num_parts);
      // W4A16 drops the input scale, but older checkpoints have one: it is registered in the model's type.
      put(s.activations ? StoredType::float32 : m.type, l.num_parts);
      break;
    case Method::mxfp4:
      put(StoredType::uint8, l.out * (l.in / 2));
      put(StoredType::uint8, l.out * (l.in / 32));
      break;
    case Method::mxfp8:
      put(StoredType::float8_e4m3fn, l.in * l.out);
      put(StoredType::uint8, l.out * (l.in / 32));
      break;
    case Method::awq: {
      const int pack = 32 / std::max(1, s.bits);
      put(StoredType::int32, l.in * (l.out / pack));
      put(StoredType::int32, l.in / group * (l.out / pack));
      put(m.type, l.in / group * l.out);
      break;
    }
    case Method::gptq: {
      const int pack = 32 / std::max(1, s.bits);
      // A row-parallel layer with one group for the whole input (or act-order) keeps all scales on every rank.
      const bool repeat = l.row && (s.group_size <= 0 || s.desc_act);
      const std::int64_t groups = (repeat ? l.full_in : l.in) / group;
      put(StoredType::int32, l.in / pack * l.out);
      if (s.desc_act) put(StoredType::int32, l.in);  // g_idx
      put(m.type, groups * l.out);
      put(StoredType::int32, groups * (l.out / pack));
      break;
    }
    case Method::int4_group: {
      const int pack = 32 / std::max(1, s.bits);
      const std::int64_t groups = l.in / (s.group_size > 0 ? s.group_size : l.in);
      put(StoredType::int32, l.out * (l.in / pack));
      put(m.type, l.out * groups);
      put(StoredType::int64, 2);  // weight_shape
      if (s.zero_points) put(StoredType::int32, l.out / pack * groups);
      if (s.desc_act) put(StoredType::int32, l.in);
      break;
    }
    case Method::other:
      put(StoredType::uint8, l.in * l.out * std::max(1, s.bits) / 8);
      break;
  }
}

Local local_linear(Sum& sum, const WeightModule& m) {
  Local l;
  int tp = sum.layout.tp;
  if ((m.vit_heads && m.vit_heads % tp != 0) ||
      (sum.layout.sequence_parallel_moe &&
       (m.sequence_parallel == 1 || (m.sequence_parallel == 2 && sum.layout.first_stage && sum.layout.last_stage))))
    tp = 1;
  l.tp = tp;
  l.num_parts = m.num_parts;
  l.split = m.kind == Kind::column;
  l.row = m.kind == Kind::row;
  const auto padded = [&](std::int64_t width) {  // DeepSeek-V4's shared experts (models/deepseek_v4/nvidia/model.py)
    return m.whole_blocks && tp > 1 ? ceil_div(width / m.whole_blocks, std::int64_t{tp}) * m.whole_blocks * tp : width;
  };
  l.full_in = l.row ? padded(m.in) : m.in;
  l.in = l.row ? sum.divide(l.full_in, tp) : m.in;
  for (int i = 0; i < m.num_parts; ++i) {
    const auto& part = m.parts[static_cast<std::size_t>(i)];
    const std::int64_t stated = static_cast<std::int64_t>(part.units) * part.unit;
    const std::int64_t full = l.split ? padded(stated) : stated;
    std::int64_t local = full;
    if (l.split && m.whole_blocks) {
      local = full / tp;
    } else if (l.split && part.kv && part.units < tp) {
      if (tp % part.units != 0)
        sum.refuse("vllm/model_executor/layers/linear.py",
                   std::to_string(tp) + " is not divisible by " + std::to_string(part.units));
      local = part.unit;
    } else if (l.split) {
      local = part.units % tp == 0 ? part.units / tp * static_cast<std::int64_t>(part.unit)
                                   : sum.divide(part.unit == 1 || part.kv ? part.units : full, tp);
    }
    l.parts[static_cast<std::size_t>(i)] = local;
    l.out += local;
    l.full_out += full;
  }
  return l;
}

void linear(Sum& sum, const WeightModule& m) {
  const Local l = local_linear(sum, m);
  linear_storage(sum, m, l, m.count);
  if (m.bias) sum.tensor(m.cls, m.type, l.out, m.count);
}

// Kernel-dependent rounding of MXFP4 experts: fused_moe/oracle/mxfp4.py
// mxfp4_round_up_hidden_size_and_intermediate_size.
void round_mxfp4(const WeightLayout& layout, bool gpt_oss, std::int64_t& hidden, std::int64_t& inter) {
  const bool triton = layout.triton_mxfp4_moe && gpt_oss;  // else Marlin or FlashInfer
  hidden = round_up(hidden, triton ? 64 : 256);
  inter = round_up(inter, triton ? 64 : 128);
}

void experts(Sum& sum, const WeightModule& m) {
  const WeightLayout& layout = sum.layout;
  const QuantScheme& s = m.scheme;
  if (layout.enable_eplb && s.method == Method::mxfp4 && m.bias)
    sum.refuse("vllm/model_executor/layers/fused_moe/routed_experts.py", "EPLB is not supported GptOssMxfp4MoEMethod.");
  const std::int64_t total = m.num_experts + (m.no_eplb ? 0 : layout.redundant_experts);
  const std::int64_t local = total / layout.ep_size + (layout.ep_rank < total % layout.ep_size ? 1 : 0);
  if (layout.redundant_experts && total % layout.ep_size != 0)
    sum.refuse("vllm/model_executor/layers/fused_moe",
               std::to_string(total) + " physical experts are not divisible by EP " + std::to_string(layout.ep_size));
  std::int64_t inter = sum.divide(m.intermediate, layout.moe_tp), hidden = m.in;
  const auto put = [&](StoredType type, std::int64_t elements) { sum.tensor(m.cls, type, elements); };
  std::int64_t up = m.shards * inter;
  switch (s.method) {
    case Method::none:
      // FlashInfer's TRT-LLM kernel, the first choice on Blackwell, wants multiples of 128
      // (fused_moe/oracle/unquantized.py).
      if (layout.generation->trtllm_unquantized_moe && !m.bias && layout.redundant_experts == 0)
        inter = round_up(inter, 128), up = m.shards * inter;
      put(m.type, local * up * hidden);
      put(m.type, local * hidden * inter);
      break;
    case Method::fp8_block: {
      // A shard that cuts through blocks keeps finer scales if a block of 32 or more fits (fused_moe/oracle/fp8.py).
      std::int64_t block_n = s.block_n, block_k = s.block_k;
      const std::int64_t finer = std::gcd(std::gcd<std::int64_t>(s.block_n, s.block_k), std::gcd(inter, hidden));
      if (inter % s.block_n != 0 && finer >= 32)
        block_n = block_k = finer;
      else if (inter % s.block_n != 0)
        sum.refuse("vllm/model_executor/layers/quantization/utils/fp8_utils.py",
                   "The output_size of gate's and up's weight = " + std::to_string(inter) +
                       " is not divisible by weight quantization block_n = " + std::to_string(s.block_n) + ".");
      put(StoredType::float8_e4m3fn, local * up * hidden);
      put(StoredType::float8_e4m3fn, local * hidden * inter);
      put(StoredType::float32, local * m.shards * ceil_div(inter, block_n) * ceil_div(hidden, block_k));
      put(StoredType::float32, local * ceil_div(hidden, block_n) * ceil_div(inter, block_k));
      break;
    }
    case Method::fp8_tensor:
      put(StoredType::float8_e4m3fn, local * up * hidden);
      put(StoredType::float8_e4m3fn, local * hidden * inter);
      put(StoredType::float32, local * m.shards);
      put(StoredType::float32, local);
      if (s.static_activations) put(StoredType::float32, local), put(StoredType::float32, local);
      break;
    case Method::fp8_channel:
    case Method::int8_channel: {
      const auto type = s.method == Method::int8_channel ? StoredType::int8 : StoredType::float8_e4m3fn;
      put(type, local * up * hidden);
      put(type, local * hidden * inter);
      put(StoredType::float32, local * up);
      put(StoredType::float32, local * hidden);
      break;
    }
    case Method::nvfp4: {
      put(StoredType::uint8, local * up * (hidden / 2));
      put(StoredType::uint8, local * hidden * (inter / 2));
      const auto scale = [&](std::int64_t rows, std::int64_t columns) {
        return layout.after_loading ? round_up(rows, 128) * round_up(columns, 4) : rows * columns;
      };
      put(StoredType::float8_e4m3fn, local * scale(up, hidden / s.group_size));
      put(StoredType::float8_e4m3fn, local * scale(hidden, inter / s.group_size));
      put(StoredType::float32, local * m.shards);
      put(StoredType::float32, local);
      const std::int64_t scales = s.activations && layout.generation->nvfp4_moe
                                      ? total
                                      : local;  // one scale for all experts of the model where the kernel takes it
      put(StoredType::float32, scales * m.shards);
      put(StoredType::float32, scales);
      break;
    }
    case Method::mxfp4:
      round_mxfp4(layout, m.bias, hidden, inter);
      // Hopper's swizzled layout of Triton's kernel pads both widths to 256 when loading ends (start-up logs: 2880 ->
      // 3072).
      if (layout.after_loading && m.bias && layout.triton_mxfp4_moe) hidden = round_up(hidden, 256);
      put(StoredType::uint8, local * m.shards * inter * (hidden / 2));
      put(StoredType::uint8, local * hidden * (inter / 2));
      put(StoredType::uint8, local * m.shards * inter * (hidden / 32));
      put(StoredType::uint8, local * hidden * (inter / 32));
      break;
    case Method::mxfp8:
      put(StoredType::float8_e4m3fn, local * up * hidden);
      put(StoredType::float8_e4m3fn, local * hidden * inter);
      put(StoredType::uint8, local * up * (hidden / 32));
      put(StoredType::uint8, local * hidden * (inter / 32));
      break;
    case Method::awq:
    case Method::gptq:
    case Method::int4_group: {
      const int pack = 32 / std::max(1, s.bits);
      const std::int64_t g13 = s.group_size > 0 ? hidden / s.group_size : 1,
                         g2 = s.group_size > 0 ? inter / s.group_size : 1;
      put(StoredType::int32, local * (s.method == Method::awq ? hidden * (up / pack) : hidden / pack * up));
      put(StoredType::int32, local * (s.method == Method::awq ? inter * (hidden / pack) : inter / pack * hidden));
      put(m.type, local * g13 * up);
      put(m.type, local * g2 * hidden);
      if (s.method == Method::int4_group) {
        put(m.type, local * 2), put(m.type, local * 2);  // weight_shape
        if (s.desc_act)
          for (int twice = 0; twice < 2; ++twice)
            put(StoredType::int32, local * hidden), put(StoredType::int32, local * inter);  // g_idx and its order
      } else {
        put(StoredType::int32, local * g13 * (up / pack));
        put(StoredType::int32, local * g2 * (hidden / pack));
      }
      if (s.method == Method::gptq && s.desc_act)
        for (int twice = 0; twice < 2; ++twice)
          put(StoredType::int32, local * hidden), put(StoredType::int32, local * inter);
      break;
    }
    case Method::other:
      put(StoredType::uint8, local * (up * hidden + hidden * inter) * std::max(1, s.bits) / 8);
      break;
  }
  if (m.bias) {
    put(m.type, local * m.shards * inter);
    put(m.type, local * hidden);
  }
}

// v1/attention/backends/mla: W_UK_T and W_UV in the model's type. Copies if kv_b_proj is quantised, else views; a
// sparse model keeps the storage but only the W_UV part of the parameter.
void absorb(Sum& sum, const WeightModule& m) {
  const std::int64_t heads = m.parts[0].units / sum.layout.tp;
  if (m.scheme.method != Method::none) {
    sum.out.bare_tensors += heads * m.parts[0].unit * m.in * bytes_of(m.type) * sum.times;
  } else if (m.sparse_mla) {
    sum.out.elements[static_cast<std::size_t>(m.cls)] -= heads * m.absorbed_from * m.in * sum.times;
  }
}

void run(Sum& sum, const WeightModule& m) {
  if (sum.layout.after_loading && m.until_loaded) return;
  switch (m.kind) {
    case Kind::replicated:
      sum.tensor(m.cls, m.type, m.in, m.count);
      break;
    case Kind::sharded:
      sum.tensor(m.cls, m.type, sum.divide(m.in, sum.layout.tp), m.count);
      break;
    case Kind::kv_sharded: {
      const auto& p = m.parts[0];
      const std::int64_t units = p.units < sum.layout.tp ? 1 : sum.divide(p.units, sum.layout.tp);
      sum.tensor(m.cls, m.type, units * p.unit, m.count);
      break;
    }
    case Kind::column:
    case Kind::row:
    case Kind::full:
      linear(sum, m);
      if (m.absorbed_from && sum.layout.after_loading) absorb(sum, m);
      break;
    case Kind::vocabulary: {
      const std::int64_t padded = round_up(m.parts[0].units, 64);
      Local l;
      l.in = l.full_in = m.in;
      l.full_out = padded;
      l.out = l.parts[0] = sum.divide(padded, sum.layout.tp);
      l.num_parts = 1;
      l.split = true;
      linear_storage(sum, m, l, m.count);
      if (m.bias) sum.tensor(m.cls, m.type, l.out, m.count);
      break;
    }
    case Kind::experts:
      experts(sum, m);
      break;
    case Kind::buffer:
      sum.buffer(m.buffer, m.in, m.count);
      break;
    case Kind::expert_map:
      if (sum.layout.expert_parallel && sum.layout.ep_size > 1)
        sum.buffer(BufferKind::expert_map,
                   4 * (static_cast<std::int64_t>(m.num_experts) + (m.no_eplb ? 0 : sum.layout.redundant_experts)));
      break;
    case Kind::bare:
      sum.out.bare_tensors += m.in * m.count * sum.times;
      break;
    case Kind::padded_heads: {
      const std::int64_t local = sum.divide(m.in, sum.layout.tp);
      sum.tensor(m.cls, StoredType::float32, local <= 64 ? 64 : round_up(local, 128));
      break;
    }
    case Kind::kda_in: {
      const std::int64_t wide = sum.divide(m.parts[0].units, sum.layout.tp) * m.parts[0].unit + m.intermediate +
                                sum.divide(m.num_experts, sum.layout.tp);
      sum.tensor(m.cls, m.type, m.in * (m.bias ? round_up(wide, 16) : wide));
      break;
    }
    case Kind::kda_decode:
      // The fused decode kernel wants 12 heads or more on a rank.
      if (m.num_experts / sum.layout.tp >= 12)
        sum.buffer(BufferKind::other, m.in / sum.layout.tp * 4),
            sum.buffer(BufferKind::other, static_cast<std::int64_t>(m.intermediate) * 4);
      break;
    case Kind::must_divide:
      if (m.in % sum.layout.tp == 0) break;
      if (m.bias)
        sum.refuse("vllm/model_executor/layers/attention/attention.py",
                   std::to_string(m.in) + " KV heads are not divisible by TP " + std::to_string(sum.layout.tp));
      else
        sum.refuse("vllm/model_executor/layers/mamba/mamba_mixer2.py",
                   "If tensor parallel world size does not divide num_groups, then num_groups must equal 1.");
      break;
    case Kind::mtp_buffer:
      if (sum.layout.mtp) sum.out.bare_tensors += sum.layout.max_num_batched_tokens * m.in * bytes_of(m.type);
      break;
    case Kind::topk_buffer:
      sum.out.bare_tensors += sum.layout.max_num_batched_tokens * m.in * 4 *
                              (m.num_parts ? std::max(1, m.parts[0].units / sum.layout.tp) : 1);
      break;
  }
}

void run(Sum& sum, const LayerProgram& program) {
  for (const auto& module : program.modules) run(sum, module);
}

/// Names of a module's parameters: the weights of experts come first, scales behind the weight that they belong to.
std::string parameter_name(const WeightModule& m, std::size_t i) {
  if (m.kind == Kind::experts) {
    const std::string which = i % 2 == 0 ? ".w13_weight" : ".w2_weight";
    return m.name + which + (i < 2 ? "" : "_scale");
  }
  return m.name + (i == 0 ? ".weight" : ".weight_scale");
}

}  // namespace

LinearWidths linear_widths(const WeightModule& module, const WeightLayout& layout) {
  RankWeights unused;
  Sum sum{unused, layout, nullptr};
  const Local l = local_linear(sum, module);
  return {l.in, l.out, l.tp};
}

std::vector<StoredTensor> stored_tensors(const LayerProgram& layer, const WeightLayout& layout) {
  std::vector<StoredTensor> out;
  RankWeights unused;
  std::vector<std::int64_t> sizes;
  Sum sum{unused, layout, nullptr, 1, &sizes};
  for (std::size_t i = 0; i < layer.modules.size(); ++i) {
    sizes.clear();
    run(sum, layer.modules[i]);
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      auto name = parameter_name(layer.modules[i], t);
      if (const auto n = std::ranges::count(out, name, &StoredTensor::kind); n > 0) name += "." + std::to_string(n);
      out.push_back({i, layer.modules[i].cls, parameter_name(layer.modules[i], t), std::move(name), sizes[t]});
    }
  }
  return out;
}

std::size_t WeightProgram::kind_of(int layer) const {
  const auto at = static_cast<std::size_t>(layer);
  return static_cast<std::size_t>(std::ranges::find_if(upto, [&](const auto& n) { return n[at + 1] > n[at]; }) -
                                  upto.begin());
}

RankWeights run_weights(const WeightProgram& program, const WeightLayout& layout,
                        std::optional<WeightRefusal>* refusal) {
  RankWeights out;
  Sum sum{out, layout, refusal};
  run(sum, program.every);
  if (!layout.language_model_only) run(sum, program.vision);
  if (layout.first_stage) run(sum, program.first);
  if (layout.first_stage || (layout.last_stage && program.tied)) run(sum, program.embedding);
  if (program.full_attention && layout.prefill_context_parallel > 1)
    sum.refuse("vllm/platforms/cuda.py", "no attention backend supports prefill context parallelism for this model");
  std::uint64_t shared = 0;
  for (std::size_t kind = 0; kind < program.kinds.size(); ++kind) {
    const auto& upto = program.upto[kind];
    sum.times = upto[static_cast<std::size_t>(layout.last_layer)] - upto[static_cast<std::size_t>(layout.first_layer)];
    if (sum.times <= 0) continue;
    run(sum, program.kinds[kind]);
    for (const int i : program.kinds[kind].shared) shared |= std::uint64_t{1} << i;
  }
  sum.times = 1;
  if (program.every_stage_needs_experts && !(out.present >> static_cast<unsigned>(WeightClass::routed_experts) & 1))
    sum.refuse("vllm/model_executor/models", "No MoE layer found in model.layers: a pipeline stage has none.");
  for (std::size_t i = 0; i < program.shared.size(); ++i)
    if (shared >> i & 1) sum.buffer(program.shared[i].kind, program.shared[i].bytes);
  if (layout.last_stage) run(sum, program.last);
  return out;
}

}  // namespace shardwise
