#include "parallel/layout_json.h"

#include "config/json.h"
#include "parallel/dimensions.h"

namespace shardwise {

Json layout_json(const Layout& layout) {
  Json out = Json::object();
  for (const bool pass : {true, false})
    for (const auto& d : layout_fields())
      if (d.always == pass && (pass || !at_default(d, layout)))
        out[std::string(d.name)] = std::visit([](const auto& v) { return Json(v); }, value_of(d, layout));
  return out;
}

Layout read_layout(const Json& object) {
  Layout layout;
  for (const auto* d : dimensions()) {
    const auto at = object.find(std::string(d->name));
    if (at == object.end() || at->is_null()) continue;
    auto value = value_of(*d, layout);
    std::visit([&](auto& v) { at->get_to(v); }, value);
    set_value(*d, layout, value);
  }
  return layout;
}

}  // namespace shardwise
