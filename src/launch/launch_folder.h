#pragma once
// The folder that launch files are written to.
#include <map>
#include <string>

namespace shardwise {

/// Writes `files` (of launch_files) to `folder`, which is made if it is not there. One that has other things in it and
/// no manifest of an earlier plan is refused (InputError) unless `force`; files of that manifest that this plan has not
/// are removed. Links in it are replaced, never followed. OutputError where something cannot be written.
void write_launch_folder(const std::string& folder, const std::map<std::string, std::string>& files, bool force);

}  // namespace shardwise
