#pragma once
// What cmake/embed.cmake generates; use base/embedded.h.
namespace shardwise {
struct EmbeddedEntry {
  const char* name;
  const char* begin;
  const char* end;
};
extern const EmbeddedEntry embedded_table[];
extern const unsigned long embedded_table_size;
}  // namespace shardwise
