#pragma once
// `shardwise verify startup FILE.csv`: predicts recorded vLLM starts from their launch columns alone.
#include <optional>
#include <string>

namespace shardwise {

struct StartupVerification {
  int exit_code = 0;  ///< 0 = every row was answered; 3 = some models or GPUs are unknown
  std::string text;   ///< summary; names what could not be answered and why
};

/// Reads the columns of a start-up table (docs/memory.md; measured columns are never read) and writes to `predictions`
/// one CSV row each: id, outcome, weights, KV memory with its 90 % interval, KV tokens, concurrency, activation,
/// non-torch and graph memory, then the features the fit reads. `models_dir` as in VerifyOptions. Throws InputError on
/// a file that is no such table.
StartupVerification verify_startup(const std::string& file, const std::optional<std::string>& models_dir,
                                   const std::optional<std::string>& predictions);

}  // namespace shardwise
