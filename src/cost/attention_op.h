#pragma once
// Attention over a cache, or the step of a recurrent state: what grows with batch and context, one kind of layer on one
// rank. The projections around it are GEMMs of operators.h.
#include <array>
#include <limits>
#include <vector>

#include "cost/operators.h"

namespace shardwise {

/// A kernel surface at the shape of one layer: ln(measured / roof) over one or two log2 axes.
struct Surface {
  std::array<float, 128> values{};
  const std::vector<double>*first = nullptr, *second = nullptr;  ///< knots; second null: one axis
  explicit operator bool() const { return first != nullptr; }
  double at(double x, double y) const;
};

/// All shapes per rank. A token attends to min(far x context, cap) entries, or to `cap` always where the kernel pads to
/// it, and to the `window` entries before it.
struct AttentionOp {
  double far = 1, cap = std::numeric_limits<double>::infinity(), window = 0;
  bool padded = false;
  double context_share = 1;                    ///< of the context on this rank (decode context parallel)
  double decode_flops = 0, prefill_flops = 0;  ///< per token and entry
  double entry_bytes = 0, query_bytes = 0;     ///< decode: per sequence and entry; per sequence
  double token_bytes = 0;                      ///< prompts: per token
  double index_flops = 0, index_bytes = 0;     ///< indexer: per token and far entry, before the best are chosen
  double decode_floor = 0, prefill_floor = 0;  ///< s
  /// Kernels that take the tokens of prompts one by one: surface over all tokens and their mean context, small kernels
  /// beside the core; else over chunks and the length of an uncached prompt with as many pairs.
  bool token_wise = false;

  bool state = false;                                       ///< a recurrent state instead of a cache
  double state_bytes = 0, state_flops = 0, conv_bytes = 0;  ///< read and written per sequence; per token
  double chunk = 0, chunk_bytes = 0;  ///< tokens of a prompt scanned at once, and what each chunk moves; 0: none
  double decode_work = 1;             ///< the decode surface is over sequences times this
  double copy_bytes = 0;  ///< per chunk of a prompt: its state is gathered before the kernel, scattered after it
  bool decodes_as_prompts = false;  ///< beside prompts, decodes run through their kernel as chunks of one token

  double bandwidth = 1, peak = 1, index_peak = 1, slowdown = 1;
  double surface_context = std::numeric_limits<double>::infinity();  ///< longest context to look the surface up at
  Surface decode, prefill;                                           ///< empty: only of states that nobody measured
  bool lent = false;                                                 ///< they are of another system's tables
  double layers = 0, layers_busiest = 0;  ///< how many of them: all stages, and the busiest stage

  /// `sequences` sequences of one new token, `context` tokens each (mean).
  OpTime decode_time(double sequences, double context) const;
  OpTime decode_time_beside_prompts(double sequences, double context) const;
  /// `chunks` chunks of `tokens` new tokens each (mean) with `pairs` attended pairs each.
  OpTime prefill_time(double chunks, double tokens, double pairs) const;
};

/// `kv_bytes`: of a cached element; `state_element_bytes`: of an element of the recurrent state.
struct CacheTypes {
  double kv_bytes = 2, state_element_bytes = 2;
};
AttentionOp attention_op(const Attention& attention, const Chip& chip, int tp, int dcp, const CacheTypes& types,
                         double hidden);

/// Query heads that FlashMLA's sparse kernels run: 64 or 128 (vllm/v1/attention/backends/mla/flashmla_sparse.py).
double padded_query_heads(double heads);

}  // namespace shardwise
