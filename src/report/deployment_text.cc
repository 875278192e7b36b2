// Text and JSON of `check --from`.
#include <fmt/format.h>

#include "config/json.h"
#include "report/deployment.h"

namespace shardwise {
namespace {

std::string name_of(const DeploymentCheck& check) {
  const int count = check.deployments();
  return fmt::format("{}: {} command{}, {}", check.form, check.nodes.size(), check.nodes.size() == 1 ? "" : "s",
                     count == 1 ? "one deployment" : fmt::format("{} deployments", count));
}

std::string nodes_table(const DeploymentCheck& check, const Style& style) {
  Table t;
  t.column("command", Table::Align::left);
  t.column("does", Table::Align::left);
  t.column("of", Table::Align::left);
  for (const auto& node : check.nodes)
    t.row({place_text(node.command.file, node.command.line), node.args ? node.role : "cannot be read",
           node.command.image.value_or("vLLM " + to_string(node.version))});
  return t.text(style);
}

}  // namespace

std::string deployment_text(const DeploymentAnswer& answer, const Style& style) {
  std::string out;
  for (const auto& check : answer.checks) {
    out += (out.empty() ? "" : "\n") + style.bold(name_of(check)) + "\n" + nodes_table(check, style);
    out += "  Do they work together: " + (check.problems.empty() ? style.good("yes") : style.bad("no")) + "\n";
    for (const auto& p : check.problems)
      out += "  " + wrap(place_text(p.file, p.line) + ": " + p.message, style.width - 4, "    ") + "\n    " +
             wrap("Instead: " + p.instead, style.width - 4, "      ") + "\n";
  }
  for (const auto& note : answer.notes) out += "note: " + note + "\n";
  return out;
}

std::string deployment_json(const DeploymentAnswer& answer) {
  Json j = {{"schema", "shardwise.deployment/1"},
            {"works", answer.works()},
            {"notes", answer.notes},
            {"forms", Json::array()}};
  for (const auto& check : answer.checks) {
    Json form = {{"form", check.form},
                 {"deployments", check.deployments()},
                 {"works", check.problems.empty()},
                 {"commands", Json::array()},
                 {"problems", Json::array()}};
    for (const auto& node : check.nodes) {
      Json command = {{"file", node.command.file},
                      {"line", node.command.line},
                      {"node", node.command.node},
                      {"deployment", node.deployment},
                      {"vllm_version", to_string(node.version)},
                      {"read", node.args.has_value()}};
      if (node.args) command["role"] = node.role;
      if (node.command.image) command["image"] = *node.command.image;
      form["commands"].push_back(std::move(command));
    }
    for (const auto& p : check.problems)
      form["problems"].push_back({{"file", p.file}, {"line", p.line}, {"message", p.message}, {"instead", p.instead}});
    j["forms"].push_back(std::move(form));
  }
  return j.dump(2) + "\n";
}

}  // namespace shardwise
