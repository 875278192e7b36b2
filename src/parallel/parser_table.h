#pragma once
// vLLM's own parser as data, by version: data/vllm/arguments.csv and data/vllm/config_fields.csv, read off every
// release by tools/oracle/ask_parser.py.
#include <string>
#include <string_view>
#include <vector>

#include "parallel/engine_args.h"

namespace shardwise {

/// One form of one argument.
struct ArgumentRow {
  std::string name;                       ///< tensor_parallel_size
  std::vector<std::string> spelled, off;  ///< what names it, and what says no
  char words = '1';                       ///< that follow it: 0, 1, ? (none or one), + (one or more)
  std::string reads;                      ///< how a word becomes a value: text, int, config ...
  bool optional = false;                  ///< "" and None are no value
  std::string type;                       ///< what the parser takes (value_type.h); empty = anything
  std::string field;                      ///< what the field that it becomes takes, where that is less
  FlagPart part = FlagPart::other;
  FlagVersions versions;
};

/// Oldest form first within a name.
const std::vector<ArgumentRow>& argument_rows();
/// The newest version whose parser was read.
VllmVersion newest_read_version();

/// One field of a configuration.
struct ConfigFieldRow {
  std::string config, field, type;
  std::string default_json;  ///< "" where it is no number, word or truth value
  bool required = false;
  FlagVersions versions;
};

std::vector<const ConfigFieldRow*> config_fields(std::string_view config, VllmVersion version);
/// Whether keys that are no fields are let through.
bool config_is_open(std::string_view config, VllmVersion version);
/// "vLLM has it from 0.20.0 on, until before 0.30.0"; empty if no version that was read has it.
std::string versions_with_field(std::string_view config, std::string_view field);

}  // namespace shardwise
