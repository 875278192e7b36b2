#include <functional>

#include "base/input_error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/output.h"
#include "config/text_source.h"
#include "hardware/hardware.h"
#include "model/load.h"
#include "parallel/rules.h"
#include "report/catalogue.h"

namespace shardwise {
namespace {

/// What the commands of catalogues take.
struct CatalogueOptions {
  std::string name;
  bool json = false, instances = false;
  bool asks(const std::string& text) const { return to_lower(text).find(to_lower(name)) != std::string::npos; }
};

Style wide(int width) {
  Style style;
  style.width = width;
  return style;
}

int show(const std::string& text) {
  print(text);
  return kExitFound;
}

/// Items whose text has what was asked for.
template <class T, class F>
std::vector<T> asked(const CatalogueOptions& o, const std::vector<T>& items, F&& text) {
  std::vector<T> out;
  for (const auto& item : items)
    if (o.asks(text(item))) out.push_back(item);
  return out;
}

int list_models(const CatalogueOptions& o) {
  DiskSource disk;
  std::vector<Model> models;
  for (const auto& m : bundled_models())
    if (o.asks(m.name)) models.push_back(load_model(m.name, disk));
  return show(o.json ? models_json(models) : models_text(models, wide(160)));
}

int list_gpus(const CatalogueOptions& o) {
  const auto gpus = asked(o, gpu_catalogue(), [](const Gpu& g) { return g.name; });
  return show(o.json ? gpus_json(gpus) : gpus_text(gpus, wide(240)));
}

int list_instances(const CatalogueOptions& o) {
  const auto found = asked(o, instances(), [](const Instance& i) { return i.name + " " + i.gpu; });
  return show(o.json ? instances_json(found) : instances_text(found, wide(240)));
}

int list_rules(const CatalogueOptions& o) {
  std::vector<const Rule*> found;
  std::vector<std::string> ids;
  for (const auto* r : rules()) {
    if (o.name.empty() || r->id == o.name) found.push_back(r);
    ids.emplace_back(r->id);
  }
  if (found.empty()) throw InputError("rules", 0, "", "unknown rule '" + o.name + "'", did_you_mean(o.name, ids));
  if (o.json) return show(rules_json(found));
  if (o.name.empty()) return show(rules_text(found, wide(160)));
  std::string text;
  for (const auto* r : found) text += rule_text(*r, wide(160));
  return show(text);
}

std::shared_ptr<CatalogueOptions> catalogue_options(Command& command, const char* name, const char* doc) {
  auto o = std::make_shared<CatalogueOptions>();
  command.option(name, o->name, doc);
  command.flag("--json", o->json, "as JSON (docs/formats/plan.md)");
  return o;
}

}  // namespace

Handler add_rules(Command command, const std::vector<std::string>&) {
  auto o = catalogue_options(command, "id", "one rule in full");
  return [o] { return list_rules(*o); };
}

Handler add_models(Command command, const std::vector<std::string>&) {
  auto o = catalogue_options(command, "name", "part of a name");
  return [o] { return list_models(*o); };
}

Handler add_gpus(Command command, const std::vector<std::string>&) {
  auto o = catalogue_options(command, "name", "part of a name");
  command.flag("--instances", o->instances, "the instances of clouds instead");
  return [o] { return o->instances ? list_instances(*o) : list_gpus(*o); };
}

}  // namespace shardwise
