#include "model/load.h"

#include <gtest/gtest.h>

#include <map>

#include "base/input_error.h"

namespace shardwise {
namespace {

class MemorySource : public TextSource {
 public:
  std::map<std::string, std::string> files;
  std::optional<std::string> read(const std::string& name) override {
    const auto it = files.find(name);
    return it == files.end() ? std::nullopt : std::optional(it->second);
  }
};

TEST(Bundle, EveryModelReads) {
  MemorySource none;
  for (const auto& bundled : bundled_models()) {
    SCOPED_TRACE(bundled.name);
    const Model model = load_model(bundled.name, none);
    EXPECT_EQ(model.name, bundled.name);
    EXPECT_GT(model.num_hidden_layers(), 0);
    EXPECT_GT(model.parameters(), 1e8);
  }
}

}  // namespace
}  // namespace shardwise
