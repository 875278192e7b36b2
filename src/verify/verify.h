#pragma once
// `shardwise verify TOPIC FILE`: predicts recorded cases from their id and input alone and counts agreement per field.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/input_error.h"
#include "base/version.h"
#include "config/json_fwd.h"
#include "verify/models.h"

namespace shardwise {

/// The version whose answers a recording holds if neither its cases ("vllm_version" of the input) nor the options say.
inline constexpr VllmVersion kRecordedVllmVersion{0, 32, 0};
VllmVersion recorded_version(const Json& input);

struct VerifyOptions {
  std::string topic, file;
  std::optional<std::string> models_dir;   ///< holds NAME/config.json for models that the bundle lacks
  std::optional<std::string> predictions;  ///< file for {"id","predict"} lines
  bool json = false;                       ///< summary as JSON
  unsigned threads = 0;                    ///< 0 = one per core
  std::optional<VllmVersion> version;      ///< of cases that do not name theirs
};

/// One topic that reads JSON lines. `predict` gets a case ({"id","input"}, never "expect") and returns the fields of
/// "expect". Called from several threads. `aside` fields of expect are not compared (recorded timings).
struct VerifyTopic {
  std::string name;
  std::string doc;
  std::vector<std::string> aside;
  std::function<Json(const std::string& id, const Json& input, VerifyModels& models)> predict;
};

/// Topics of JSON-lines form. To add one: write src/verify/NAME.cc, its line in topics.h and one in topics.cc.
const std::vector<VerifyTopic>& verify_topics();

struct VerifySummary {
  std::size_t cases = 0, compared = 0, agreed = 0;
  double seconds = 0;
  struct Field {
    std::string name;
    std::size_t compared = 0, agreed = 0;
  };
  std::vector<Field> fields;
  std::vector<std::string> disagreements;  ///< the first ones, in words
  bool all_agree() const { return agreed == compared; }
};

/// Throws InputError on a file without a case, or, where no predictions are wanted, without a recorded answer.
VerifySummary verify(const VerifyOptions& options);
/// What a file without a case is answered with.
InputError no_cases(const std::string& file);
std::string to_text(const VerifySummary& summary);
std::string to_json_text(const VerifySummary& summary);

/// Deep equality: key order is ignored, numbers compare as numbers (1 == 1.0, doubles within 1e-9 relative).
bool same_json(const Json& a, const Json& b);

}  // namespace shardwise
