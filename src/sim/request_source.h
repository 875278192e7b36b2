#pragma once
// The requests of a workload, one after the other, in constant memory.
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/rng.h"
#include "sim/prefix_tree.h"
#include "sim/statistics.h"
#include "workload/workload.h"

namespace shardwise {

struct OfferedRequest {
  std::int64_t index = 0;         ///< in order of issue
  int prompt = 0, output = 0;     ///< tokens
  std::vector<TokenRun> text;     ///< the prompt's tokens
  std::int64_t output_first = 0;  ///< first token id of the answer
  std::uint64_t affinity = 0;     ///< identifies the longest shared part (group, session, prefix blocks); 0 = none
};

/// Token ids: shared prefixes, trace blocks, own text and answers lie in ranges of their own, so texts are equal
/// exactly where the workload says so.
class RequestSource {
 public:
  /// `given`: lengths in order instead of draws, if any.
  RequestSource(const Workload& workload, std::span<const RequestLengths> given, std::int64_t num_requests,
                std::uint64_t seed);

  /// Next session's first request, in order. False when all are out.
  bool next(OfferedRequest& request);
  /// Open loop: when the next session arrives that was not announced yet; nullopt = no more.
  std::optional<Nanoseconds> next_arrival();
  /// The turn that follows a finished one (its text, then its answer, then new tokens).
  void follow(const OfferedRequest& before, OfferedRequest& request);
  bool open_loop() const { return open_loop_; }

 private:
  /// Until the arrival of session `index`.
  double gap(std::int64_t index);
  void own_text(OfferedRequest& request, std::int64_t tokens);
  RequestLengths draw();

  const Workload& workload_;
  std::span<const RequestLengths> given_;
  std::int64_t drawn_ = 0;
  std::int64_t sessions_, announced_ = 0, issued_sessions_ = 0, issued_ = 0;
  bool open_loop_ = false;
  Rng arrivals_, lengths_, groups_;
  double clock_ = 0, rescale_ = 1;
};

}  // namespace shardwise
