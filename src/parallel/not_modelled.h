#pragma once
// What was asked of vLLM and no figure here knows of.
#include <string>

#include "parallel/engine_args.h"

namespace shardwise {

/// The given arguments that change memory or speed in vLLM and not, or not both, what is computed here, as they are
/// written on the command line; "" if there are none. An argument of which nothing is known is among them.
std::string not_modelled_note(const EngineArgs& args);

}  // namespace shardwise
