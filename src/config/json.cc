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

Json parse_python_json(std::string_view text, const std::string& file) {
  if (text.find("Infinity") == std::string_view::npos && text.find("NaN") == std::string_view::npos)
    return parse_json(text, file);
  std::string out;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size();) {
    bool replaced = false;
    if (!quoted)
      for (const std::string_view word : {"-Infinity", "Infinity", "NaN"})
        if (text.substr(i).starts_with(word)) {
          out += "null";
          i += word.size();
          replaced = true;
          break;
        }
    if (replaced) continue;
    if (text[i] == '\\' && quoted && i + 1 < text.size())
      out += text[i++];
    else if (text[i] == '"')
      quoted = !quoted;
    out += text[i++];
  }
  return parse_json(out, file);
}

}  // namespace shardwise
