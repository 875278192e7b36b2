#pragma once
// `shardwise verify TOPIC FILE`: predicts recorded cases from their id and input alone and counts agreement per field.
#include <functional>
#include <iosfwd>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "config/json_fwd.h"
#include "model/model.h"

namespace shardwise {

struct VerifyOptions {
  std::string topic, file;
  std::string models_dir;   ///< holds NAME/config.json for models that the cases name; "" = the bundle only
  std::string predictions;  ///< where to write {"id","predict"} lines; "" = nowhere
  bool json = false;        ///< summary as JSON
  unsigned threads = 0;     ///< 0 = one per core
};

/// Models by the name that a case uses: models_dir first, then the bundle. Thread-safe; each is read once.
class VerifyModels {
 public:
  explicit VerifyModels(std::string dir) : dir_(std::move(dir)) {}
  const std::string& dir() const { return dir_; }
  std::shared_ptr<const Model> get(const std::string& name);  ///< throws InputError if it cannot be found or read
 private:
  std::string dir_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const Model>> models_;
};

/// One topic that reads JSON lines. `predict` gets a case ({"id","input"}, never "expect") and returns the fields of
/// "expect". Called from several threads. `aside` fields of expect are not compared (recorded timings).
struct VerifyTopic {
  std::string name;
  std::string doc;
  std::vector<std::string> aside;
  std::function<Json(const std::string& id, const Json& input, VerifyModels& models)> predict;
};

/// Topics of JSON-lines form. To add one: write src/verify/NAME.cc and a line in topics.cc.
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

VerifySummary verify(const VerifyOptions& options);
std::string to_text(const VerifySummary& summary);
std::string to_json_text(const VerifySummary& summary);

/// Deep equality: key order is ignored, numbers compare as numbers (1 == 1.0, doubles within 1e-9 relative).
bool same_json(const Json& a, const Json& b);

}  // namespace shardwise
