#pragma once
// One function a format: text that its reader takes back as exactly that text, whatever is in it. Every writer of
// launch files puts in what is not its own through one of these. Not for other layers.
#include <string>

#include "launch/launch.h"

namespace shardwise {

/// "${VARIABLE:-word}" for a POSIX shell: the variable where it is set, else `word`.
std::string shell_default(const std::string& variable, const std::string& word);
/// A double-quoted YAML text where the reader expands $ (Compose).
std::string compose_text(const std::string& text);
/// Text inside args and env of a pod, where Kubernetes expands $(NAME).
std::string pod_text(const std::string& text);
/// A string literal of Python. Bytes that are not UTF-8 are what os.fsdecode makes of them.
std::string python_string(const std::string& text);
/// Text inside a line or a table cell of Markdown.
std::string markdown_text(const std::string& text);
/// A fenced block of Markdown.
std::string markdown_code(const std::string& text);

}  // namespace shardwise
