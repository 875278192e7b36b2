// The space: every layout whose GPUs are there, as the product of the dimensions' values. Legality is not decided here.
#include "search/space.h"

#include <algorithm>
#include <cassert>

#include "search/search.h"

namespace shardwise {
namespace {

Space space_of(const SearchRequest& request, std::size_t index) {
  const NodeGroup& group = request.groups[index];
  Space space;
  space.gpus = std::min(group.total(), request.max_gpus.value_or(group.total()));
  space.engines = {0}, space.spans_nodes = {false};
  for (int ranks = 1; ranks <= space.gpus; ++ranks) {
    space.engines.push_back(std::min(engine_capacity(group, ranks), space.gpus / ranks));
    const auto span = engine_span(group, ranks);
    space.spans_nodes.push_back(span && span->nodes > 1);
  }
  space.layers = request.model->num_hidden_layers();
  space.moe = request.model->is_moe();
  space.allow_replicas = request.allow_replicas;
  space.num_expert_group = request.num_expert_group;
  space.version = request.base[index].vllm_version;
  return space;
}

/// A dimension as one search varies it.
struct Axis {
  const Dimension* dimension;
  const DimensionValue* pin;           ///< null: free
  std::vector<DimensionValue> values;  ///< those of the layout that is being enumerated
};

/// Slowest first.
std::vector<Axis> axes_of(const Pins& pins) {
  std::vector<Axis> axes;
  for (const auto* d : dimensions()) {
    const auto pin = pins.find(d->name);
    axes.push_back({d, pin == pins.end() ? nullptr : &pin->second, {}});
  }
  std::stable_sort(axes.begin(), axes.end(),
                   [](const Axis& a, const Axis& b) { return a.dimension->role < b.dimension->role; });
  return axes;
}

class Product {
 public:
  Product(const Space& space, const Pins& pins) : space_(space), axes_(axes_of(pins)) {
    const auto first = [&](auto is) {
      return static_cast<std::size_t>(std::find_if(axes_.begin(), axes_.end(), is) - axes_.begin());
    };
    copies_ = first([](const Axis& a) { return a.dimension->role == Role::copies; });
    outside_ = first([](const Axis& a) { return std::holds_alternative<int Layout::*>(a.dimension->member); });
  }

  /// Visits `layout` with every combination of values of the axes that are not copies.
  template <class Visit>
  void shapes(Layout& layout, const Visit& visit) {
    vary(0, copies_, layout, visit);
  }
  /// The same of those that are.
  template <class Visit>
  void copies(Layout& layout, const Visit& visit) {
    vary(copies_, axes_.size(), layout, visit);
  }

 private:
  template <class Visit>
  void vary(std::size_t from, std::size_t end, Layout& layout, const Visit& visit) {
    if (from == outside_ && twin_of_another(layout.parallel)) return;
    if (from == end) return visit(layout);
    Axis& axis = axes_[from];
    find_values(axis, layout);
    for (const auto& value : axis.values) {
      set_value(*axis.dimension, layout, value);
      vary(from + 1, end, layout, visit);
    }
    copy_value(*axis.dimension, Layout{}, layout);
  }

  void find_values(Axis& axis, const Layout& layout) const {
    const Dimension& d = *axis.dimension;
    axis.values.clear();
    if (!d.values) {
      axis.values.push_back(axis.pin ? *axis.pin : value_of(d, Layout{}));
      return;
    }
    d.values(space_, layout, axis.pin, axis.values);
    if (axis.pin) std::erase_if(axis.values, [&](const DimensionValue& v) { return v != *axis.pin; });
  }

  bool twin_of_another(const ParallelConfig& parallel) const {
    return std::any_of(axes_.begin(), axes_.end(), [&](const Axis& a) {
      return !a.pin && a.dimension->twin && a.dimension->twin(space_, parallel);
    });
  }

  const Space& space_;
  std::vector<Axis> axes_;
  std::size_t copies_ = 0;   ///< first axis of copies
  std::size_t outside_ = 0;  ///< first axis outside a deployment: those before it are all of its ParallelConfig
};

}  // namespace

int budget_gpus(const SearchRequest& request) {
  int total = 0;
  for (const auto& group : request.groups) total = std::max(total, group.total());
  return request.max_gpus ? std::min(total, *request.max_gpus) : total;
}

std::vector<Family> layout_families(const SearchRequest& request) {
  assert(std::all_of(request.pins.begin(), request.pins.end(), [](const auto& p) { return find_dimension(p.first); }));
  std::vector<Family> families;
  for (std::size_t g = 0; g < request.groups.size(); ++g) {
    const Space space = space_of(request, g);
    Product product(space, request.pins);
    Layout layout;
    layout.group = static_cast<int>(g);
    product.shapes(layout, [&](Layout& shape) {
      Family family{shape, {}};
      product.copies(shape, [&](const Layout& l) {
        family.copies.push_back({l.parallel.data_parallel_size, l.replicas});
      });
      if (!family.copies.empty()) families.push_back(std::move(family));
    });
  }
  return families;
}

void enumerate_layouts(const SearchRequest& request, const std::function<void(const Layout&)>& visit) {
  for (const auto& family : layout_families(request)) {
    Layout layout = family.base;
    for (const auto& [dp, replicas] : family.copies) {
      layout.parallel.data_parallel_size = dp;
      layout.replicas = replicas;
      visit(layout);
    }
  }
}

}  // namespace shardwise
