#pragma once
// A workload as people write it: a table of named parts, each a key of a workload file and an option of the command
// line (dashes for underscores). docs/formats/workload.md.
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/quantity.h"
#include "workload/workload.h"

namespace shardwise {

struct WorkloadOption {
  const char* name;
  const char* doc;
  bool repeatable = false;     ///< several values add up; otherwise the last one counts
  double least = 0, most = 0;  ///< of one that is a number, both included
};
std::span<const WorkloadOption> workload_options();

/// One part as written, and where.
struct WorkloadPart {
  std::string name;  ///< of a WorkloadOption
  std::string value;
  TextPlace place;
};

/// The parts of a workload file (YAML: one key a part, a list for repeatable ones). Strict. A trace's path is meant
/// from the file's folder.
std::vector<WorkloadPart> read_workload_parts(std::string_view text, const std::string& file);

/// The workload that the parts describe: 1,024 tokens in and 256 out where they name no lengths and no trace; no load
/// where they name none. Reads the trace file. Throws InputError on values out of range and parts that contradict.
Workload build_workload(std::span<const WorkloadPart> parts);

}  // namespace shardwise
