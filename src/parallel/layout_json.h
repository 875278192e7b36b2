#pragma once
// A layout as JSON and back, from the table of dimensions.
#include "config/json_fwd.h"
#include "parallel/layout.h"

namespace shardwise {

/// Every dimension under its name; those that are not always there follow where they are not at their default.
Json layout_json(const Layout& layout);

/// The dimensions that are keys of an object; its other keys are none of a layout. Null is the default.
Layout read_layout(const Json& object);

}  // namespace shardwise
