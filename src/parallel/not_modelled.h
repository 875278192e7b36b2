#pragma once
// What was asked of vLLM and no figure here knows of.
#include <string>
#include <vector>

#include "parallel/engine_args.h"

namespace shardwise {

/// The given arguments that change memory or speed in vLLM and nothing that is computed here, as they are written on
/// the command line. An argument of which nothing is known is among them.
std::vector<std::string> not_modelled(const EngineArgs& args);

/// The same as one sentence for people; "" if there are none.
std::string not_modelled_note(const EngineArgs& args);

}  // namespace shardwise
