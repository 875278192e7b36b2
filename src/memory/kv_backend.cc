#include "memory/kv_backend.h"

#include <algorithm>
#include <array>

namespace shardwise {

namespace {

bool quantised(const std::string& cache_dtype) {
  return cache_dtype.starts_with("fp8") || cache_dtype.starts_with("nvfp4");
}

AttentionBackend plain(const char* name, KernelBlockSizes sizes, std::vector<KvLayout> layouts = {}) {
  AttentionBackend out;
  out.name = name;
  out.block_sizes = std::move(sizes);
  out.layouts = std::move(layouts);
  return out;
}

AttentionBackend flashinfer(const AttentionQuery& q) {
  // Pages of 128 and more only run on trtllm-gen's kernel for grouped heads.
  const bool trtllm = q.generation->trtllm_attention;
  const bool large =
      trtllm && q.num_kv_heads > 0 && q.num_heads / q.num_kv_heads > 1 && q.num_heads % q.num_kv_heads == 0;
  std::vector<int> sizes = {16, 32, 64};
  if (large) sizes.insert(sizes.end(), {128, 256, 512, 1024});
  return plain("FLASHINFER", {sizes, {}},
               trtllm ? std::vector{KvLayout::LBHNC, KvLayout::BLHNC} : std::vector<KvLayout>{});
}

/// FlashAttention 4 on Hopper reads quantised pages of heads of 512 elements 64 tokens at a time
/// (flash_attn.py:_get_sm90_fa4_fp8_kv_block_size).
constexpr int kHopperFp8Page = 64;
bool pages_of_64(const AttentionQuery& q, int head_size) {
  return q.generation->flash_attn_fp8 && quantised(q.cache_dtype) && head_size == 512;
}

bool flash_attention_fp8(const AttentionQuery& q) { return q.cache_dtype == "fp8" || q.cache_dtype == "fp8_e4m3"; }

bool hopper_block_fits(const AttentionQuery& q) {
  return !pages_of_64(q, q.model_head_size) || !q.block_size || *q.block_size % kHopperFp8Page == 0;
}

AttentionBackend hopper_flash_attention(const char* name, const AttentionQuery& q) {
  auto out =
      plain(name, pages_of_64(q, q.head_size) ? KernelBlockSizes{{kHopperFp8Page}, {}} : KernelBlockSizes{{}, 16});
  if (pages_of_64(q, q.model_head_size)) out.preferred = kHopperFp8Page;
  return out;
}

AttentionBackend choose_mla(const AttentionQuery& q) {
  const auto& g = *q.generation;
  const bool fp8 = quantised(q.cache_dtype);
  if (q.sparse) {
    const bool flashinfer_sparse = g.sparse_mla == SparseMlaBackend::FLASHINFER_MLA_SPARSE;
    if (g.sparse_mla == SparseMlaBackend::FLASHINFER_MLA_SPARSE_SM120) {
      auto out = plain("FLASHINFER_MLA_SPARSE_SM120", {{}, 64});
      out.align_rows = true, out.rows = 64;
      return out;
    }
    if (flashinfer_sparse) {
      const bool flashinfer_fits =
          (q.qk_nope_head_dim == 128 || q.qk_nope_head_dim == 192) && q.cache_dtype != "fp8_ds_mla";
      if (flashinfer_fits && (fp8 || q.num_heads <= 16)) {
        auto out = plain("FLASHINFER_MLA_SPARSE", {{}, 32});
        out.align_rows = true, out.rows = 32;
        return out;
      }
    } else if (!fp8) {
      auto out = plain("FLASH_ATTN_MLA_SPARSE", {{}, 64});
      out.align_rows = true;
      return out;
    } else if (g.flashinfer_mla_sparse_sm90 && q.cache_dtype == "fp8_e4m3" && q.kv_lora_rank == 512 &&
               (q.qk_rope_head_dim == 0 || q.qk_rope_head_dim == 64)) {
      // FlashMLA takes "fp8" for its own packed form; a checkpoint's fp8_e4m3 is a plain one.
      auto out = plain("FLASHINFER_MLA_SPARSE_SM90", {{}, 64});
      out.align_rows = true;
      return out;
    }
    auto out = plain("FLASHMLA_SPARSE", {{}, 64});
    if (fp8 && flashinfer_sparse) out.block_sizes = {{64}, {}};
    if (fp8 && !flashinfer_sparse)
      out.stride_multiple_of = 64;  // the quantised kernel reads pages of 64 tokens
    else
      out.align_rows = true;
    return out;
  }
  if (g.mla == MlaBackend::FLASHINFER_MLA) {
    const bool fits = q.qk_nope_head_dim == 64 || q.qk_nope_head_dim == 128 || q.qk_nope_head_dim == 192;
    return fits ? plain("FLASHINFER_MLA", {{32, 64}, {}}) : plain("TRITON_MLA", {{}, 16});
  }
  if (g.mla == MlaBackend::FLASH_ATTN_MLA && !fp8) return plain("FLASH_ATTN_MLA", {{}, 16});
  return plain("TRITON_MLA", {{}, 16});
}

}  // namespace

int KernelBlockSizes::smallest() const {
  int out = multiple_of ? *multiple_of : fixed.empty() ? 1 : fixed.front();
  for (const int s : fixed) out = std::min(out, s);
  return out;
}

bool KernelBlockSizes::supports(int block_size) const {
  if (fixed.empty() && !multiple_of) return true;
  if (multiple_of && block_size % *multiple_of == 0) return true;
  return std::any_of(fixed.begin(), fixed.end(), [&](int s) { return block_size % s == 0; });
}

AttentionBackend choose_backend(const AttentionQuery& q) {
  if (q.mla) return choose_mla(q);
  const auto& g = *q.generation;
  const bool fp8 = quantised(q.cache_dtype);
  if (q.head_size != q.head_size_v) return plain(g.flash_attn_3 ? "FLASH_ATTN_DIFFKV" : "TRITON_ATTN_DIFFKV", {{}, 16});
  const bool wide = q.head_size == 256 || q.head_size == 512;
  if (q.mm_prefix) {
    if (g.trtllm_attention && wide) return plain("TRITON_FLASHINFER", {{64}, {}}, {KvLayout::LBHNC, KvLayout::BLHNC});
    if (g.flash_attn_fp8 && wide && (!fp8 || (flash_attention_fp8(q) && hopper_block_fits(q))))
      return hopper_flash_attention("TRITON_FLASH_ATTN", q);
    // FlashAttention 4, Blackwell's own, masks images itself.
    const bool masks = g.trtllm_attention && q.head_size <= g.flash_attn_head_size && !fp8;
    return plain(masks ? "FLASH_ATTN" : "TRITON_ATTN", {{}, 16});
  }
  const auto sizes = std::array{64, 128, 256, 512};
  const bool flashinfer_fits = g.flashinfer && !q.float32 &&
                               std::find(sizes.begin(), sizes.end(), q.head_size) != sizes.end() &&
                               (!q.has_sinks || g.flashinfer_sinks);
  const bool flash_fits = q.head_size <= g.flash_attn_head_size && !q.float32 && q.head_size % 8 == 0 &&
                          (!fp8 || (g.flash_attn_fp8 && flash_attention_fp8(q) && hopper_block_fits(q))) &&
                          (!q.has_sinks || g.flash_attn_3);
  if (g.trtllm_attention && flashinfer_fits) return flashinfer(q);
  if (flash_fits) return hopper_flash_attention("FLASH_ATTN", q);
  if (flashinfer_fits) return flashinfer(q);
  return plain("TRITON_ATTN", {{}, 16});
}

int preferred_block_size(const std::vector<AttentionBackend>& backends) {
  constexpr int kDefault = 16;
  if (backends.empty()) return kDefault;
  if (backends.size() == 1) {
    const auto& b = backends.front();
    if (b.preferred) return *b.preferred;
    return b.block_sizes.supports(kDefault) ? kDefault : b.block_sizes.smallest();
  }
  const auto all = [&](int size) {
    return std::all_of(backends.begin(), backends.end(), [&](const auto& b) { return b.block_sizes.supports(size); });
  };
  if (all(kDefault)) return kDefault;
  std::vector<int> candidates = {1};
  for (const auto& b : backends) {
    auto sizes = b.block_sizes.fixed;
    if (b.block_sizes.multiple_of) sizes.push_back(*b.block_sizes.multiple_of);
    if (sizes.empty()) sizes.push_back(1);
    std::vector<int> next;
    for (const int c : candidates)
      for (const int s : sizes) next.push_back(std::lcm(c, s));
    candidates = std::move(next);
  }
  std::sort(candidates.begin(), candidates.end());
  for (const int c : candidates)
    if (all(c)) return c;
  return candidates.front();
}

std::optional<KvLayout> resolve_layout(const std::vector<AttentionBackend>& backends,
                                       const std::vector<KvSpec>& specs) {
  constexpr std::array kDefault = {KvLayout::LBNHC, KvLayout::LBHNC, KvLayout::BLNHC,
                                   KvLayout::BLHNC, KvLayout::BHLNC, KvLayout::LHBNC};
  constexpr std::array kEnum = {KvLayout::LBHNC, KvLayout::LBNHC, KvLayout::LHBNC,
                                KvLayout::BLHNC, KvLayout::BLNHC, KvLayout::BHLNC};
  std::vector<std::vector<KvLayout>> declared;
  for (const auto& b : backends)
    if (!b.layouts.empty()) declared.push_back(b.layouts);
  std::vector<KvLayout> candidates;
  if (declared.empty()) {
    candidates.assign(kDefault.begin(), kDefault.end());
  } else if (std::all_of(declared.begin(), declared.end(), [&](const auto& l) { return l == declared.front(); })) {
    candidates = declared.front();
  } else {
    for (const auto l : kEnum)
      if (std::all_of(declared.begin(), declared.end(),
                      [&](const auto& d) { return std::find(d.begin(), d.end(), l) != d.end(); }))
        candidates.push_back(l);
    const auto votes = [&](KvLayout l) {
      return std::count_if(declared.begin(), declared.end(), [&](const auto& d) { return d.front() == l; });
    };
    std::stable_sort(candidates.begin(), candidates.end(), [&](KvLayout a, KvLayout b) { return votes(a) > votes(b); });
  }
  const auto shape = [](const KvSpec& s) {
    const bool state = s.type == KvSpecType::mamba;
    return std::array<std::int64_t, 3>{state ? 1 : s.num_head_slots.value_or(s.num_kv_heads),
                                       state ? 1 : s.block_size / s.tokens_per_state, s.page_size()};
  };
  const bool mixed =
      std::any_of(specs.begin(), specs.end(), [&](const KvSpec& s) { return shape(s) != shape(specs.front()); });
  for (const auto l : candidates)
    if (!mixed || is_block_compact(l)) return l;
  return std::nullopt;
}

void customize_spec(const AttentionBackend& backend, KvSpec& spec) {
  if (backend.align_rows) {
    spec.stride_alignment =
        backend.rows *
        static_cast<int>(spec.state_content_bytes.value_or((spec.head_size + spec.head_size_v) * bytes_of(spec.dtype)));
  } else if (backend.stride_multiple_of) {
    spec.stride_multiple_of = backend.stride_multiple_of;
  } else if (!backend.block_sizes.multiple_of && !backend.block_sizes.fixed.empty()) {
    spec.stride_multiple_of = *std::max_element(backend.block_sizes.fixed.begin(), backend.block_sizes.fixed.end());
  }
}

int sliding_window_block_size(const AttentionBackend& backend, int block_size) {
  const auto& sizes = backend.block_sizes;
  std::vector<int> candidates = sizes.fixed;
  if (const auto unit = sizes.multiple_of) candidates.push_back(std::max(*unit, block_size / *unit * *unit));
  if (candidates.empty()) return block_size;
  int best = 0;
  for (const int c : candidates)
    if (c <= block_size) best = std::max(best, c);
  return best > 0 ? best : *std::min_element(candidates.begin(), candidates.end());
}

}  // namespace shardwise
