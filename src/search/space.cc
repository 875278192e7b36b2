// The space: every layout whose GPUs are there, as the product of the dimensions' values. Legality is not decided here.
#include "search/space.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <limits>

#include "search/search.h"

namespace shardwise {
namespace {

Space space_of(const SearchRequest& request, std::size_t index) {
  const NodeGroup& group = request.groups[index];
  Space space;
  space.gpus = std::min(group.total(), request.max_gpus.value_or(group.total()));
  space.engines = {0}, space.spans_nodes = {false};
  const EngineRoom room(group);
  for (int ranks = 1; ranks <= space.gpus; ++ranks) {
    space.engines.push_back(std::min(room.capacity(ranks), space.gpus / ranks));
    const auto span = room.span(ranks);
    space.spans_nodes.push_back(span && span->nodes > 1);
  }
  space.layers = request.model->num_hidden_layers();
  space.heads = request.model->num_attention_heads();
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

int number_of(const DimensionValue& value) { return std::get<int>(value); }

/// Leaves the first, the last, powers of two and every value that is `step` above the one before.
void thin(std::vector<DimensionValue>& values, double step) {
  if (values.empty() || step <= 0) return;
  double last = 0;
  const int end = number_of(values.back());
  std::erase_if(values, [&](const DimensionValue& value) {
    const int v = number_of(value);
    if (v >= last * (1 + step)) return last = v, false;
    return v != end && !std::has_single_bit(static_cast<unsigned>(v));
  });
}

class Product {
 public:
  /// `step`: how far numbers of copies lie apart, see LayoutSpace.
  Product(const Space& space, const Pins& pins, double step = 0) : space_(space), step_(step), axes_(axes_of(pins)) {
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
    if (d.role == Role::copies) thin(axis.values, step_);
  }

  bool twin_of_another(const ParallelConfig& parallel) const {
    return std::any_of(axes_.begin(), axes_.end(), [&](const Axis& a) {
      return !a.pin && a.dimension->twin && a.dimension->twin(space_, parallel);
    });
  }

  const Space& space_;
  double step_;
  std::vector<Axis> axes_;
  std::size_t copies_ = 0;   ///< first axis of copies
  std::size_t outside_ = 0;  ///< first axis outside a deployment: those before it are all of its ParallelConfig
};

/// Tried in turn until there are few enough layouts; the last one takes any number.
constexpr double kCopiesSteps[] = {0, 1.0 / 32, 1.0 / 8, 1.0 / 2, 1};

Copies copies_of(const Layout& l) { return {l.parallel.data_parallel_size, l.replicas}; }

/// nullopt: there are too many.
std::optional<std::vector<Family>> families_of(const std::vector<Space>& spaces, const SearchRequest& request,
                                               double step) {
  std::vector<Family> families;
  std::size_t layouts = 0;
  const std::size_t most =
      step == std::end(kCopiesSteps)[-1] ? std::numeric_limits<std::size_t>::max() : request.max_layouts;
  for (std::size_t g = 0; g < spaces.size() && layouts <= most; ++g) {
    Product product(spaces[g], request.pins, step);
    Layout layout;
    layout.group = static_cast<int>(g);
    product.shapes(layout, [&](Layout& shape) {
      if (layouts > most) return;
      Family family{shape, {}};
      product.copies(shape, [&](const Layout& l) { family.copies.push_back(copies_of(l)); });
      layouts += family.copies.size();
      if (!family.copies.empty()) families.push_back(std::move(family));
    });
  }
  if (layouts > most) return std::nullopt;
  return families;
}

}  // namespace

int budget_gpus(const SearchRequest& request) {
  int total = 0;
  for (const auto& group : request.groups) total = std::max(total, group.total());
  return request.max_gpus ? std::min(total, *request.max_gpus) : total;
}

LayoutSpace layout_space(const SearchRequest& request) {
  assert(std::all_of(request.pins.begin(), request.pins.end(), [](const auto& p) { return find_dimension(p.first); }));
  std::vector<Space> spaces;
  for (std::size_t g = 0; g < request.groups.size(); ++g) spaces.push_back(space_of(request, g));
  for (const double step : kCopiesSteps)
    if (auto families = families_of(spaces, request, step)) return {std::move(*families), step, std::move(spaces)};
  return {};
}

std::vector<Copies> copies_left_out(const LayoutSpace& space, const Pins& pins, const Family& family, Copies centre) {
  const double factor = 1 + space.copies_step;
  const auto near = [&](int n, int of) { return n * factor > of && of * factor > n; };
  std::vector<Copies> out;
  Layout layout = family.base;
  Product(space.groups[static_cast<std::size_t>(layout.group)], pins).copies(layout, [&](const Layout& l) {
    const auto c = copies_of(l);
    if (near(c.data_parallel_size, centre.data_parallel_size) && near(c.replicas, centre.replicas) &&
        !std::binary_search(family.copies.begin(), family.copies.end(), c))
      out.push_back(c);
  });
  return out;
}

void enumerate_layouts(const SearchRequest& request, const std::function<void(const Layout&)>& visit) {
  SearchRequest all = request;
  all.max_layouts = std::numeric_limits<std::size_t>::max();
  for (const auto& family : layout_space(all).families) {
    Layout layout = family.base;
    for (const auto& [dp, replicas] : family.copies) {
      layout.parallel.data_parallel_size = dp;
      layout.replicas = replicas;
      visit(layout);
    }
  }
}

}  // namespace shardwise
