#pragma once
// The layouts of a search, in families.
#include <vector>

#include "search/search.h"

namespace shardwise {

/// How many engines: the dimensions of Role::copies.
struct Copies {
  int data_parallel_size = 1, replicas = 1;
  auto operator<=>(const Copies&) const = default;
};

/// Layouts that differ only in the number of copies: they share memory and step time where the model is dense.
struct Family {
  Layout base;                 ///< one copy
  std::vector<Copies> copies;  ///< ascending, at least one
};

struct LayoutSpace {
  std::vector<Family> families;
  /// Above 0: there are more layouts than `request.max_layouts`, and a number of copies is at least by this share above
  /// the one before it (the lowest, the highest and powers of two are always there). 0: every number is there.
  double copies_step = 0;
  std::vector<Space> groups;  ///< what there is to choose from on each
};

LayoutSpace layout_space(const SearchRequest& request);

/// The numbers of copies of `family` that the space has left out and that lie within a step of `centre`.
std::vector<Copies> copies_left_out(const LayoutSpace& space, const Pins& pins, const Family& family, Copies centre);

}  // namespace shardwise
