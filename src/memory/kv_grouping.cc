// Which layers share blocks: get_kv_cache_groups and the functions below it in v1/core/kv_cache_utils.py.
#include <algorithm>
#include <map>

#include "memory/kv_plan.h"

namespace shardwise {

namespace {

using Group = KvGrouping::Group;

/// The fields that FullAttentionSpec.merge and MLAAttentionSpec.merge demand to be equal (those of AttentionSpec).
bool same_attention(const KvSpec& a, const KvSpec& b) {
  return a.block_size == b.block_size && a.dcp_sharded == b.dcp_sharded && a.stride_alignment == b.stride_alignment &&
         a.stride_multiple_of == b.stride_multiple_of && a.max_tp_shards == b.max_tp_shards &&
         a.num_kv_heads == b.num_kv_heads && a.head_size == b.head_size && a.dtype == b.dtype &&
         a.head_size_v == b.head_size_v && a.quant_mode == b.quant_mode && a.page_size_padded == b.page_size_padded &&
         a.num_head_slots == b.num_head_slots && a.state_content_bytes == b.state_content_bytes &&
         a.tokens_per_state == b.tokens_per_state;
}

/// Folds `next` into `merged` as the `merge` of merged's class would; false where that raises.
bool merge_into(KvSpec& merged, const KvSpec& next) {
  if (merged.type != next.type) return false;
  switch (merged.type) {
    case KvSpecType::full_attention: {
      if (!same_attention(merged, next)) return false;
      if (merged.sliding_window && next.sliding_window && merged.sliding_window != next.sliding_window) return false;
      if (merged.attention_chunk_size && next.attention_chunk_size &&
          merged.attention_chunk_size != next.attention_chunk_size)
        return false;
      if (next.sliding_window) merged.sliding_window = next.sliding_window;
      if (next.attention_chunk_size) merged.attention_chunk_size = next.attention_chunk_size;
      merged.non_causal = merged.non_causal || next.non_causal;
      return !(merged.sliding_window && merged.attention_chunk_size);
    }
    case KvSpecType::mla:
      return same_attention(merged, next) && merged.cache_dtype_str == next.cache_dtype_str &&
             merged.deepseek_v4 == next.deepseek_v4 && merged.index_group_leader == next.index_group_leader;
    case KvSpecType::sliding_window_mla:
      return merged.dcp_sharded == next.dcp_sharded && merged.max_tp_shards == next.max_tp_shards &&
             merged.cache_dtype_str == next.cache_dtype_str && merged.tokens_per_state == next.tokens_per_state &&
             merged.deepseek_v4 == next.deepseek_v4 && merged.sliding_window == next.sliding_window &&
             merged.extra_retained_tokens == next.extra_retained_tokens &&
             merged.stride_alignment == next.stride_alignment && merged.stride_multiple_of == next.stride_multiple_of;
    default:
      return merged == next;
  }
}

/// KVCacheSpec.is_uniform_with_collection for one other spec.
bool same_type(const KvSpec& first, const KvSpec& other) {
  switch (first.type) {
    case KvSpecType::full_attention:
    case KvSpecType::mla:
      return other.is_full();
    case KvSpecType::sliding_window:
      return other.is_sliding() && other.sliding_window == first.sliding_window;
    case KvSpecType::sliding_window_mla:
      return other.type == first.type && other.sliding_window == first.sliding_window;
    case KvSpecType::chunked_local:
      return other.type == first.type && other.attention_chunk_size == first.attention_chunk_size;
    case KvSpecType::mamba:
      return other.type == first.type && other.num_speculative_blocks == first.num_speculative_blocks &&
             other.num_prefill_checkpoint_blocks == first.num_prefill_checkpoint_blocks &&
             other.page_size() == first.page_size();
    case KvSpecType::circular_buffer:
    case KvSpecType::cross:
      return other.type == first.type;
  }
  return false;
}

/// Chunk length in [lower, max] that pads the counts least; ties to the larger (_approximate_gcd).
std::int64_t approximate_gcd(const std::vector<std::int64_t>& values, std::int64_t lower) {
  const auto largest = *std::max_element(values.begin(), values.end());
  lower = std::max<std::int64_t>(1, lower);
  std::int64_t best = lower, least = -1;
  for (std::int64_t d = lower; d <= largest; ++d) {
    std::int64_t pad = 0;
    for (const auto v : values) pad += (d - v % d) % d;
    if (least < 0 || pad <= least) least = pad, best = d;
  }
  return best;
}

}  // namespace

KvGrouping::KvGrouping(const KvLayers& layers, const KvPlanOptions& options)
    : options_(options), specs_(layers.specs), stages_(static_cast<int>(layers.stages.size())) {
  for (auto& spec : specs_)
    if (spec.is_sliding()) spec.extra_retained_tokens = options_.extra_retained_tokens;
  for (std::size_t s = 0; s < layers.stages.size(); ++s)
    for (const auto& layer : layers.stages[s]) {
      layer_spec_.push_back(layer.spec);
      layer_stage_.push_back(static_cast<int>(s));
    }
  group();
  // A block shorter than what DeepSeek-V4 compresses into one entry: vLLM divides by its empty page, unless it stops at
  // the windows first.
  const auto any = [&](auto&& is) {
    return std::any_of(layer_spec_.begin(), layer_spec_.end(), [&](int s) { return is(spec(s)); });
  };
  if (!failure_ && any([](const KvSpec& s) { return s.page_size() == 0; })) {
    const bool windows = options_.decode_context_parallel_size > 1 &&
                         any([](const KvSpec& s) { return s.is_sliding() && s.dcp_sharded; });
    failure_ = windows ? KvRefusal{"AssertionError", "DCP not support sliding window.", std::nullopt}
                       : KvRefusal{"ZeroDivisionError", "integer division or modulo by zero", std::nullopt};
  }
  if (!failure_) project();
}

int KvGrouping::add_spec(const KvSpec& spec) {
  for (std::size_t i = 0; i < specs_.size(); ++i)
    if (specs_[i] == spec) return static_cast<int>(i);
  specs_.push_back(spec);
  return static_cast<int>(specs_.size()) - 1;
}

std::vector<int> KvGrouping::all_layers() const {
  std::vector<int> all(layer_spec_.size());
  std::iota(all.begin(), all.end(), 0);
  return all;
}

bool KvGrouping::uniform(const std::vector<int>& layers) const {
  if (layers.empty()) return true;
  const int first = layer_spec_[static_cast<std::size_t>(layers.front())];
  if (std::all_of(layers.begin(), layers.end(),
                  [&](int l) { return layer_spec_[static_cast<std::size_t>(l)] == first; }))
    return true;
  KvSpec merged = spec(first);
  int last = first;
  for (const int l : layers) {
    const int here = layer_spec_[static_cast<std::size_t>(l)];
    if (here == last) continue;
    if (!merge_into(merged, spec(here))) return false;
    last = here;
  }
  return true;
}

bool KvGrouping::uniform_type(const std::vector<int>& layers) const {
  const auto& first = spec(layer_spec(layers.front()));
  int last = layer_spec(layers.front());
  return std::all_of(layers.begin(), layers.end(), [&](int l) {
    if (layer_spec(l) == last) return true;
    last = layer_spec(l);
    const auto& other = spec(last);
    return other.block_size == first.block_size && other.dcp_sharded == first.dcp_sharded && same_type(first, other);
  });
}

/// Local attention allocates like full attention (unify_hybrid_kv_cache_specs, _promote_local_kv_cache_specs).
void KvGrouping::promote_local_specs() {
  for (const bool replicated : {false, true}) {
    std::vector<int> part;
    for (const int l : all_layers())
      if ((spec(layer_spec(l)).is_attention() && !spec(layer_spec(l)).dcp_sharded) == replicated) part.push_back(l);
    if (part.empty() || uniform(part) || uniform_type(part)) continue;
    bool full = false, local = false;
    std::optional<int> block;
    bool one_block = true;
    for (const int l : part) {
      const auto& s = spec(layer_spec(l));
      local = local || s.is_sliding() || s.type == KvSpecType::chunked_local;
      if (!s.is_full()) continue;
      full = true;
      one_block = one_block && (!block || *block == s.block_size);
      block = s.block_size;
    }
    const auto before = layer_spec_;
    if (full && local)
      for (const int l : part) {
        KvSpec s = spec(layer_spec(l));
        if (!s.is_sliding() && s.type != KvSpecType::chunked_local) continue;
        if (s.type == KvSpecType::sliding_window_mla) {  // vLLM's own promotion fails on DeepSeek-V4's windows
          layer_spec_ = before;
          failure_ =
              KvRefusal{"TypeError", "MLAAttentionSpec.__init__() got an unexpected keyword argument 'bounded_replay'",
                        std::nullopt};
          return;
        }
        const int size = one_block && block ? *block : s.block_size;
        if (s.page_size_padded)
          s.page_size_padded = std::max(*s.page_size_padded, s.unpadded_page_size() * size / s.block_size);
        s.type = s.type == KvSpecType::sliding_window_mla ? KvSpecType::mla : KvSpecType::full_attention;
        s.extra_retained_tokens = 0;
        layer_spec_[static_cast<std::size_t>(l)] = add_spec(s.with_block_size(size));
      }
    if (!uniform(part) && !uniform_type(part)) {
      layer_spec_ = before;
      failure_ = KvRefusal{"ValueError", "Failed to promote local KV cache specs to one unified type.", std::nullopt};
      return;
    }
  }
}

void KvGrouping::group() {
  if (options_.disable_hybrid_kv_cache_manager) promote_local_specs();
  if (failure_ || layer_spec_.empty()) return;
  const auto all = all_layers();
  if (uniform(all)) {
    KvSpec merged = spec(layer_spec(0));
    for (const int l : all) merge_into(merged, spec(layer_spec(l)));
    groups_.push_back({false, all, {}, add_spec(merged)});
  } else if (uniform_type(all)) {
    groups_.push_back({true, all, {}, layer_spec(0)});
  } else if (!group_packed()) {
    if (unify_page_sizes())
      group_uniform_pages();
    else if (!group_full_allocation())
      failure_ = KvRefusal{
          "NotImplementedError",
          "page size is not divisible by the maximum page size and cannot be padded. Padding is only supported "
          "for non-MLA attention layers.",
          std::nullopt};
  }
}

/// Mixed page sizes side by side inside each block, for block-outermost layouts (_get_packed_kv_cache_groups).
bool KvGrouping::group_packed() {
  if (!is_block_outermost(options_.layout)) return false;
  const auto first_page = spec(layer_spec(0)).page_size();
  const auto all = all_layers();
  if (std::all_of(all.begin(), all.end(), [&](int l) { return spec(layer_spec(l)).page_size() == first_page; }))
    return false;

  struct Bucket {
    std::vector<int> layers;
    std::vector<std::pair<std::int64_t, std::vector<int>>> by_page;  // in order of first appearance
    bool balanced = true;
    std::int64_t most = 0;  // layers of the commonest page size
  };
  std::vector<Bucket> buckets;
  for (const int l : all) {
    const auto at = std::find_if(buckets.begin(), buckets.end(), [&](Bucket& bucket) {
      const auto& first = spec(layer_spec(bucket.layers.front()));
      const auto& other = spec(layer_spec(l));
      if (other.block_size != first.block_size || other.dcp_sharded != first.dcp_sharded || !same_type(first, other))
        return false;
      bucket.layers.push_back(l);
      return true;
    });
    if (at == buckets.end()) buckets.push_back({{l}, {}, true, 0});
  }
  std::int64_t floor_repeats = 0;
  for (auto& bucket : buckets) {
    for (const int l : bucket.layers) {
      const auto page = spec(layer_spec(l)).page_size();
      auto it =
          std::find_if(bucket.by_page.begin(), bucket.by_page.end(), [&](const auto& e) { return e.first == page; });
      if (it == bucket.by_page.end()) it = bucket.by_page.insert(bucket.by_page.end(), {page, {}});
      it->second.push_back(l);
    }
    for (const auto& [page, of_page] : bucket.by_page) {
      bucket.balanced = bucket.balanced && of_page.size() == bucket.by_page.front().second.size();
      bucket.most = std::max<std::int64_t>(bucket.most, static_cast<std::int64_t>(of_page.size()));
    }
    if (bucket.balanced && bucket.by_page.size() > 1) floor_repeats = std::max(floor_repeats, bucket.most);
  }
  std::optional<std::int64_t> repeats;
  if (floor_repeats > 0) {
    std::vector<std::int64_t> counts;
    for (const auto& bucket : buckets)
      if (bucket.balanced) counts.push_back(bucket.most);
    repeats = approximate_gcd(counts, floor_repeats);
  }
  const auto split = [&](const Bucket& b) {
    return b.balanced && repeats ? ceil_div(b.most, *repeats) : std::int64_t{1};
  };
  const auto is_state = [&](const Bucket& b) {
    const auto& s = spec(layer_spec(b.layers.front()));
    if (s.type == KvSpecType::mamba || s.type == KvSpecType::circular_buffer) return true;
    return !repeats && s.is_sliding();
  };
  std::int64_t anchor = 0;
  for (const auto& bucket : buckets) {
    const auto n = is_state(bucket) ? static_cast<std::int64_t>(bucket.layers.size()) : split(bucket);
    std::int64_t bytes = 0;
    for (const auto& [page, of_page] : bucket.by_page)
      bytes += ceil_div(static_cast<std::int64_t>(of_page.size()), n) * page;
    anchor = std::max(anchor, bytes);
  }
  for (const auto& bucket : buckets) {
    auto n = split(bucket);
    if (anchor > 0 && is_state(bucket)) {
      const auto per_block = std::max<std::int64_t>(anchor / spec(layer_spec(bucket.layers.front())).page_size(), 1);
      n = std::max(n, ceil_div(static_cast<std::int64_t>(bucket.layers.size()), per_block));
    }
    if (n == 1) {
      groups_.push_back({true, bucket.layers, {}, layer_spec(bucket.layers.front())});
      continue;
    }
    std::size_t rounds = bucket.by_page.front().second.size();
    for (const auto& e : bucket.by_page) rounds = std::min(rounds, e.second.size());
    for (std::int64_t i = 0; i < n; ++i) {
      Group g{true, {}, {}, 0};
      for (auto r = static_cast<std::size_t>(i); r < rounds; r += static_cast<std::size_t>(n))
        for (const auto& e : bucket.by_page) g.layers.push_back(e.second[r]);
      g.spec = layer_spec(g.layers.front());
      groups_.push_back(std::move(g));
    }
  }
  return true;
}

/// Equal bytes per block for all layers: larger blocks for small pages, else padding (unify_kv_cache_spec_page_size).
bool KvGrouping::unify_page_sizes() {
  std::int64_t widest = 0;
  for (const int s : layer_spec_) widest = std::max(widest, spec(s).page_size());
  std::vector<int> to(specs_.size(), -1);
  const auto known = specs_.size();
  for (std::size_t l = 0; l < layer_spec_.size(); ++l) {
    const auto i = static_cast<std::size_t>(layer_spec_[l]);
    if (i >= known) continue;
    if (to[i] < 0) {
      KvSpec s = specs_[i];
      const auto page = s.page_size();
      if (page == widest) {
      } else if (s.type == KvSpecType::mamba) {
        s.page_size_padded = widest;
      } else if (widest % page == 0) {
        s = s.with_block_size(static_cast<int>(s.block_size * (widest / page)));
        if (s.page_size() != widest) return false;
      } else if (s.type != KvSpecType::mla) {
        s.page_size_padded = widest;
      } else {
        return false;
      }
      to[i] = add_spec(s);
    }
    layer_spec_[l] = to[i];
  }
  return true;
}

/// Groups of equal layer count, one block table each (_get_kv_cache_groups_uniform_page_size).
void KvGrouping::group_uniform_pages() {
  struct Bucket {
    KvSpec merged;
    std::vector<int> specs, layers;
  };
  std::vector<std::pair<int, std::vector<int>>> same;  // spec -> layers, in order of first appearance
  for (const int l : all_layers()) {
    auto it = std::find_if(same.begin(), same.end(), [&](const auto& e) { return e.first == layer_spec(l); });
    if (it == same.end()) it = same.insert(same.end(), {layer_spec(l), {}});
    it->second.push_back(l);
  }
  std::vector<Bucket> buckets;
  for (const auto& [s, layers] : same) {
    const auto at = std::find_if(buckets.begin(), buckets.end(), [&, id = s](Bucket& b) {
      KvSpec merged = b.merged;
      if (!merge_into(merged, spec(id))) return false;
      b.merged = merged;
      return true;
    });
    auto& bucket = at == buckets.end() ? buckets.emplace_back(Bucket{spec(s), {}, {}}) : *at;
    bucket.layers.insert(bucket.layers.end(), layers.begin(), layers.end());
  }
  std::size_t fewest = buckets.front().layers.size(), most = 0;
  for (const auto& b : buckets) fewest = std::min(fewest, b.layers.size()), most = std::max(most, b.layers.size());
  // A few layers more of one kind (a drafter beside a hybrid model) are padded rather than halving the group.
  const std::size_t size = static_cast<double>(most) < static_cast<double>(fewest) * 1.5 ? most : fewest;
  for (const auto& b : buckets) {
    const auto count =
        static_cast<std::size_t>(ceil_div(static_cast<std::int64_t>(b.layers.size()), static_cast<std::int64_t>(size)));
    const int merged = add_spec(b.merged);
    for (std::size_t i = 0; i < count; ++i) {
      Group g{false, {}, {}, merged};
      for (std::size_t l = i; l < b.layers.size(); l += count) g.layers.push_back(b.layers[l]);
      groups_.push_back(std::move(g));
    }
  }
}

/// Sliding windows beside MLA whose pages cannot be made equal: all layers keep every token.
bool KvGrouping::group_full_allocation() {
  bool mla = false, sliding = false;
  for (const int s : layer_spec_) {
    if (spec(s).type == KvSpecType::sliding_window_mla || spec(s).type == KvSpecType::chunked_local) return false;
    mla = mla || spec(s).type == KvSpecType::mla;
    sliding = sliding || spec(s).type == KvSpecType::sliding_window;
  }
  if (!mla || !sliding) return false;
  promote_local_specs();
  if (failure_ || !uniform_type(all_layers())) {
    failure_.reset();
    return false;
  }
  groups_.push_back({true, all_layers(), {}, layer_spec(0)});
  return true;
}

/// Each stage's part of every group, and the bytes one block takes there (_get_kv_cache_bytes_per_block).
void KvGrouping::project() {
  bytes_per_block_.assign(static_cast<std::size_t>(stages_), 0);
  for (auto& g : groups_) {
    g.per_stage.resize(static_cast<std::size_t>(stages_));
    for (const int l : g.layers)
      g.per_stage[static_cast<std::size_t>(layer_stage_[static_cast<std::size_t>(l)])].push_back(l);
  }
  const bool outer = is_block_outermost(options_.layout);
  for (int s = 0; s < stages_; ++s) {
    std::int64_t widest = 0, alignment = 1;
    for (const auto& g : groups_) {
      std::int64_t bytes = 0;
      int last = -1;
      std::int64_t stride = 0;
      for (const int l : g.per_stage[static_cast<std::size_t>(s)]) {
        const int id = g.uniform_type ? layer_spec(l) : g.spec;
        if (id != last) {
          const auto a = spec(id).block_stride_alignment();
          stride = outer ? spec(id).page_size() : round_up(spec(id).page_size(), a);
          alignment = std::lcm(alignment, a);
          last = id;
        }
        bytes += stride;
      }
      widest = std::max(widest, bytes);
    }
    bytes_per_block_[static_cast<std::size_t>(s)] = outer ? round_up(widest, alignment) : widest;
  }
}

}  // namespace shardwise
