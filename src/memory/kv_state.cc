#include "memory/kv_state.h"

#include <algorithm>

namespace shardwise {

namespace {

StateTensor tensor(std::initializer_list<std::int64_t> shape, KvDType dtype) {
  StateTensor out;
  for (const auto n : shape) out.shape[static_cast<std::size_t>(out.dims++)] = n;
  out.dtype = dtype;
  return out;
}

}  // namespace

void fill_state(KvSpec& spec, const LinearAttention& a, int tp, int num_spec, KvDType conv, KvDType ssm) {
  using Kind = LinearAttention::Kind;
  spec.num_states_tensors = 2;
  const std::int64_t width = std::max(0, a.conv_kernel - 1 + num_spec);
  switch (a.kind) {
    case Kind::mamba1:
      spec.mamba_type = MambaType::mamba1;
      spec.states[0] = tensor({a.conv_kernel - 1, a.intermediate_size / tp}, conv);
      spec.states[1] = tensor({a.intermediate_size / tp, a.state_size}, ssm);
      break;
    case Kind::mamba2: {
      spec.mamba_type = MambaType::mamba2;
      const std::int64_t groups =
          a.num_key_heads % tp == 0 ? a.num_key_heads : tp;  // replicated beside the heads' shards
      const std::int64_t inner = a.intermediate_size > 0 ? a.intermediate_size : std::int64_t{a.num_heads} * a.head_dim;
      spec.states[0] = tensor({width, (inner + 2 * groups * a.state_size) / tp}, conv);
      spec.states[1] = tensor({a.num_heads / tp, a.head_dim, a.state_size}, ssm);
      spec.num_prefill_checkpoint_blocks = 1;
      break;
    }
    case Kind::gated_delta_net: {
      spec.mamba_type = MambaType::gdn_attn;
      const std::int64_t dim =
          2 * std::int64_t{a.num_key_heads} * a.key_head_dim + std::int64_t{a.num_heads} * a.head_dim;
      spec.states[0] = tensor({width, dim / tp}, conv);
      spec.states[1] = tensor({a.num_heads / tp, a.head_dim, a.key_head_dim}, ssm);
      break;
    }
    case Kind::kimi_delta: {
      spec.mamba_type = MambaType::gdn_attn;
      const std::int64_t keys = a.num_key_heads > 0 ? a.num_key_heads : a.num_heads;
      const std::int64_t key_dim = a.key_head_dim > 0 ? a.key_head_dim : a.head_dim;
      const std::int64_t dim = std::int64_t{a.num_heads} * a.head_dim + 2 * keys * key_dim;
      spec.states[0] = tensor({width, dim / tp}, conv);
      spec.states[1] = tensor({a.num_heads / tp, a.head_dim, a.head_dim}, KvDType::float32);
      spec.num_prefill_checkpoint_blocks = 1;  // FlashKDA exports its state
      break;
    }
    case Kind::lightning:
      spec.mamba_type = MambaType::linear;
      spec.num_states_tensors = 1;
      spec.states[0] = tensor({a.num_heads / tp, a.head_dim, a.head_dim}, ssm);
      break;
    case Kind::short_conv:
      spec.mamba_type = MambaType::short_conv;
      spec.num_states_tensors = 1;
      spec.states[0] = tensor({width, a.intermediate_size / tp}, conv);
      break;
  }
}

const char* state_backend(const LinearAttention& a) {
  using Kind = LinearAttention::Kind;
  switch (a.kind) {
    case Kind::mamba1:
      return "MAMBA1_ATTN";
    case Kind::mamba2:
      return "MAMBA2_ATTN";
    case Kind::gated_delta_net:
      return "GDN_ATTN";
    case Kind::kimi_delta:
      return "KIMI_K3_KDA";
    case Kind::lightning:
      return "LINEAR_ATTN";
    case Kind::short_conv:
      return "SHORT_CONV_ATTN";
  }
  return "";
}

}  // namespace shardwise
