// `vllm serve` in Docker Compose files and Kubernetes objects.
#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "config/quantity.h"
#include "config/yaml.h"
#include "launch/start_commands.h"

namespace shardwise {
namespace {

/// The YAML documents of a text, each with empty lines before it, so that its values know their lines.
std::vector<std::string> documents(const std::string& text) {
  std::vector<std::string> out(1);
  std::string lines;
  for (const auto& line : split(text, '\n')) {
    lines += '\n';
    if (line.starts_with("---")) {
      out.push_back(lines);
      continue;
    }
    out.back() += line + "\n";
  }
  std::erase_if(out, [](const std::string& d) { return trim(d).empty(); });
  return out;
}

const YamlValue* find_path(const YamlValue* value, std::initializer_list<std::string_view> keys) {
  for (const auto key : keys) value = value && value->kind == YamlValue::Kind::map ? value->find(key) : nullptr;
  return value;
}

std::string text_of(const YamlValue* value) { return value ? value->scalar : std::string(); }

/// Replaces ${X}, ${X:-default}, $X and, of Kubernetes, $(X).
std::string filled(const std::string& text, const Variables& variables, bool compose) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$') {
      out += text[i];
      continue;
    }
    const char open = i + 1 < text.size() ? text[i + 1] : '\0';
    if (open == '$') {
      out += '$';
      ++i;
      continue;
    }
    const char close = open == '{' && compose ? '}' : open == '(' && !compose ? ')' : '\0';
    const auto end = close ? text.find(close, i) : std::string::npos;
    if (end == std::string::npos) {
      out += '$';
      continue;
    }
    const auto inside = text.substr(i + 2, end - i - 2);
    const auto dash = inside.find(":-");
    const auto name = inside.substr(0, dash);
    const auto it = variables.find(name);
    if (it != variables.end() && it->second.size() == 1)
      out += it->second[0];
    else
      out += dash == std::string::npos ? text.substr(i, end - i + 1) : inside.substr(dash + 2);
    i = end;
  }
  return out;
}

/// `command` or `args`: a list of words, or one text that a shell would split.
std::vector<PlacedWord> words_of(const YamlValue* value, const Variables& variables, bool compose) {
  std::vector<PlacedWord> out;
  if (!value) return out;
  if (value->kind == YamlValue::Kind::list) {
    for (const auto& item : value->list) out.push_back({filled(item.scalar, variables, compose), item.place.line});
    return out;
  }
  const auto text = "vllm serve " + filled(value->scalar, variables, compose);
  for (const auto& c : read_shell(text, value->place.file, variables, value->place.line))
    out.insert(out.end(), c.words.begin(), c.words.end());
  return out;
}

Variables with_env(Variables variables, const YamlValue* env, std::map<std::string, std::string>& own, bool compose) {
  const auto set = [&](const std::string& name, const std::string& value) {
    if (name.empty()) return;
    own[name] = filled(value, variables, compose);
    variables[name] = {own[name]};
  };
  if (env && env->kind == YamlValue::Kind::map)
    for (const auto& [name, value] : env->map) set(name, value.scalar);
  if (env && env->kind == YamlValue::Kind::list)
    for (const auto& item : env->list) {
      const auto equals = item.scalar.find('=');
      if (item.kind == YamlValue::Kind::scalar && equals != std::string::npos)
        set(item.scalar.substr(0, equals), item.scalar.substr(equals + 1));
      if (item.kind == YamlValue::Kind::map && item.find("value"))
        set(text_of(item.find("name")), text_of(item.find("value")));
    }
  return variables;
}

/// What a container starts: its entry point and arguments, a script in them, or the image's own `vllm serve`.
std::vector<StartCommand> container(const YamlValue& c, const Variables& variables, const char* form) {
  const bool compose = std::string_view(form) == "Compose";
  StartCommand command;
  command.file = c.place.file;
  command.line = c.place.line;
  command.form = form;
  if (const auto* image = c.find("image")) command.image = filled(image->scalar, variables, compose);
  for (const char* maker : {"nvidia.com/gpu", "amd.com/gpu"})
    if (const auto* gpus = find_path(&c, {"resources", "limits", maker})) {
      std::int64_t n = 0;
      if (parse_number(gpus->scalar, n) && n > 0 && n < 4096) command.gpus = static_cast<int>(n);
    }
  const auto known = with_env(variables, c.find(compose ? "environment" : "env"), command.env, compose);
  auto words = words_of(c.find(compose ? "entrypoint" : "command"), known, compose);
  const bool own = words.empty() && command.image && command.image->find("vllm") != std::string::npos;
  for (auto& w : words_of(c.find(compose ? "command" : "args"), known, compose)) words.push_back(std::move(w));
  std::vector<StartCommand> found;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto& w = words[i].text;
    if (w.find("vllm serve") != std::string::npos || w.find("openai.api_server ") != std::string::npos) {
      for (auto& inner : read_shell(w, command.file, known, words[i].line)) {
        auto one = command;
        one.line = inner.line;
        one.words = std::move(inner.words);
        one.env.insert(inner.env.begin(), inner.env.end());
        found.push_back(std::move(one));
      }
      return found;
    }
    const bool binary = (w == "vllm" || w.ends_with("/vllm")) && i + 1 < words.size() && words[i + 1].text == "serve";
    if (!binary && w != "vllm.entrypoints.openai.api_server") continue;
    command.line = words[i].line;
    command.words.assign(words.begin() + static_cast<std::ptrdiff_t>(i) + (binary ? 2 : 1), words.end());
    return {command};
  }
  if (!own || words.empty() || (!words[0].text.starts_with("-") && words[0].text.find('/') == std::string::npos))
    return {};
  command.words = words;
  return {command};
}

void add_pod(std::vector<StartCommand>& out, const YamlValue* spec, const Variables& variables, const std::string& name,
             int node) {
  const auto* all = find_path(spec, {"containers"});
  if (!all || all->kind != YamlValue::Kind::list) return;
  for (const auto& one : all->list) {
    if (one.kind != YamlValue::Kind::map) continue;
    for (auto& command : container(one, variables, "Kubernetes")) {
      command.name = name;
      command.node = node;
      out.push_back(std::move(command));
    }
  }
}

void add_object(std::vector<StartCommand>& out, const YamlValue& object, const Variables& variables) {
  const auto name = text_of(find_path(&object, {"metadata", "name"}));
  const auto* group = find_path(&object, {"spec", "leaderWorkerTemplate"});
  if (!group) {
    const auto* spec = object.find("spec");
    if (const auto* pod = find_path(spec, {"template", "spec"})) spec = pod;
    if (const auto* pod = find_path(spec, {"jobTemplate", "spec", "template", "spec"})) spec = pod;
    return add_pod(out, spec, variables, name, 0);
  }
  std::int64_t size = 1;
  if (const auto* given = group->find("size")) parse_number(given->scalar, size);
  size = std::clamp<std::int64_t>(size, 1, 4096);
  const auto* leader = group->find("leaderTemplate");
  for (int i = 0; i < size; ++i) {
    Variables at = variables;
    at["LWS_WORKER_INDEX"] = {std::to_string(i)};
    at["LWS_GROUP_SIZE"] = {std::to_string(size)};
    at["LWS_LEADER_ADDRESS"] = {name + "-0." + name};
    const auto* pod = i == 0 && leader ? leader : group->find("workerTemplate");
    add_pod(out, find_path(pod, {"spec"}), at, name + "-" + std::to_string(i), i);
  }
}

}  // namespace

std::vector<StartCommand> read_containers(const std::string& text, const std::string& file,
                                          const Variables& variables) {
  std::vector<StartCommand> out;
  for (const auto& document : documents(text)) {
    const auto root = parse_yaml(document, file);
    if (root.kind != YamlValue::Kind::map) continue;
    if (const auto* services = root.find("services"); services && services->kind == YamlValue::Kind::map) {
      for (const auto& [name, service] : services->map)
        for (auto& command : container(service, variables, "Compose")) {
          command.name = name;
          out.push_back(std::move(command));
        }
      continue;
    }
    if (const auto* items = root.find("items"); items && items->kind == YamlValue::Kind::list) {
      for (const auto& item : items->list) add_object(out, item, variables);
      continue;
    }
    add_object(out, root, variables);
  }
  return out;
}

std::optional<std::string> version_of_image(const std::string& image) {
  const auto slash = image.rfind('/'), colon = image.rfind(':');
  if (colon == std::string::npos || (slash != std::string::npos && colon < slash)) return std::nullopt;
  auto tag = std::string_view(image).substr(colon + 1);
  if (const auto v = tag.find('v');
      v != std::string_view::npos && v + 1 < tag.size() && std::isdigit(static_cast<unsigned char>(tag[v + 1])))
    tag.remove_prefix(v + 1);
  std::string out;
  int dots = 0;
  for (const char c : tag) {
    if (c == '.' && ++dots > 2) break;
    if (c != '.' && !std::isdigit(static_cast<unsigned char>(c))) break;
    out += c;
  }
  return dots >= 2 && out.back() != '.' ? std::optional(out) : std::nullopt;
}

}  // namespace shardwise
