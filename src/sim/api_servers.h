#pragma once
// The processes between clients and engines: what they add to a request on its way in and out. Each does some of its
// work one request after the other.
#include <algorithm>
#include <optional>
#include <vector>

#include "sim/simulate.h"

namespace shardwise {

class ApiServers {
 public:
  explicit ApiServers(const SimulationConfig& c)
      : request_(to_nanoseconds(c.api_request_time.value)),
        output_(to_nanoseconds(c.api_output_time.value)),
        serial_request_(to_nanoseconds(c.api_serial_time.value)),
        serial_output_(to_nanoseconds(c.api_serial_output_time.value)),
        first_token_(to_nanoseconds(c.api_first_token_time.value)),
        streaming_(to_nanoseconds(c.api_streaming_time.value)),
        serial_prompt_token_(c.api_serial_prompt_token_time.value),
        free_(static_cast<std::size_t>(c.replicas) * static_cast<std::size_t>(c.api_server_count)) {}

  /// Requests go to the servers in turn.
  int server_of(std::int64_t request) const {
    return static_cast<int>(request % static_cast<std::int64_t>(free_.size()));
  }
  /// When a request that its client sends at `now` reaches the engines.
  Nanoseconds request_arrives(int server, Nanoseconds now, int prompt_tokens) {
    return serve(server, now, serial_request_ + to_nanoseconds(serial_prompt_token_ * prompt_tokens)) + request_;
  }
  /// When the client has a chunk of an answer that the engine gave at `now`.
  Nanoseconds output_arrives(int server, Nanoseconds now) { return serve(server, now, serial_output_) + output_; }
  /// The same where no chunk waits for another one: nullopt if servers have work for each.
  std::optional<Nanoseconds> output_arrives(Nanoseconds now) const {
    if (serial_output_ > 0) return std::nullopt;
    return now + output_;
  }
  /// What a first token waits on top, given how many answers' chunks go out with it.
  Nanoseconds first_token_wait(std::int64_t streaming) const { return first_token_ + streaming_ * streaming; }
  bool counts_streaming() const { return streaming_ > 0; }

 private:
  Nanoseconds serve(int server, Nanoseconds now, Nanoseconds work) {
    if (work == 0) return now;
    Nanoseconds& free = free_[static_cast<std::size_t>(server)];
    return free = std::max(free, now) + work;
  }
  Nanoseconds request_, output_, serial_request_, serial_output_, first_token_, streaming_;
  double serial_prompt_token_;     ///< s
  std::vector<Nanoseconds> free_;  ///< by server: when its queue is empty
};

}  // namespace shardwise
