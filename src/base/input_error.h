#pragma once
// Bad input, as one exception: where it stands, what is wrong, and what to write instead.
#include <optional>
#include <stdexcept>
#include <string>

namespace shardwise {

/// Thrown by every reader on input that cannot be used. what() is the whole line a user sees:
/// `cluster.yaml:12: nodes[0].gpu: unknown 'h10' (did you mean 'H100'?)`. Parts that are empty are left out.
struct InputError : std::runtime_error {
  std::string file;         ///< file name or the flag ("--gpus") the text came from
  std::optional<int> line;  ///< 1-based
  std::string path;         ///< where in the document: nodes[0].gpu
  std::string message;      ///< what is wrong
  std::string hint;         ///< what to write instead
  /// `line_` 0: the place has no line.
  InputError(std::string file_, int line_, std::string path_, std::string message_, std::string hint_ = "");
};

}  // namespace shardwise
