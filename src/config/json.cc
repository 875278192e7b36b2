#include "config/json.h"

#include <algorithm>

#include "base/input_error.h"

namespace shardwise {

Json parse_json(std::string_view text, const std::string& file) {
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::parse_error& e) {
    const auto upto = text.substr(0, std::min<std::size_t>(e.byte, text.size()));
    const int line = 1 + static_cast<int>(std::count(upto.begin(), upto.end(), '\n'));
    std::string message = e.what();
    if (const auto at = message.find("syntax error"); at != std::string::npos) message = message.substr(at);
    throw InputError(file, line, "", "not JSON: " + message);
  }
}

}  // namespace shardwise
