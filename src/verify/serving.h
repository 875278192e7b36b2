#pragma once
// `shardwise verify serving FILE.csv --predictions OUT.csv`: prices measured serving points from their inputs alone.
#include <optional>
#include <string>

#include "measured/serving_rows.h"

namespace shardwise {

struct ServingVerifyOptions {
  std::string file;                        ///< columns of a serving CSV; measured columns may be empty
  std::optional<std::string> predictions;  ///< file to write them to
  ServingMethod method = kDefaultServingMethod;
  unsigned threads = 0;
};

struct ServingVerifyResult {
  std::string text;   ///< summary for people
  int exit_code = 0;  ///< 0 = at least 98 % of closed-loop rows priced
};

/// Throws InputError on a file that cannot be read.
ServingVerifyResult verify_serving(const ServingVerifyOptions& options);

}  // namespace shardwise
