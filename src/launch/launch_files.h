#pragma once
// The files of a launch directory.
#include <map>
#include <string>

#include "launch/launch.h"

namespace shardwise {

/// File name -> text, of every target that applies (the table in launch_files.cc); empty if the plan cannot be placed
/// (launch_commands says why). Names that end in .sh are meant to be executable.
std::map<std::string, std::string> launch_files(const LaunchRequest& request);

}  // namespace shardwise
