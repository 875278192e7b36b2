#pragma once
// The layouts of a search, in families.
#include <vector>

#include "search/search.h"

namespace shardwise {

/// How many engines: the dimensions of Role::copies.
struct Copies {
  int data_parallel_size = 1, replicas = 1;
};

/// Layouts that differ only in the number of copies: they share memory and step time where the model is dense.
struct Family {
  Layout base;                 ///< one copy
  std::vector<Copies> copies;  ///< ascending, at least one
};

std::vector<Family> layout_families(const SearchRequest& request);

}  // namespace shardwise
