#pragma once
// Text that can be shown as it is: on a terminal, in a comment, on one line of a file.
#include <cstdint>
#include <string>
#include <string_view>

namespace shardwise {

/// Whether `text` is UTF-8 of one line: no control characters (C0, DEL, C1), no line or paragraph separators, no marks
/// that turn the direction of what follows.
bool is_printable(std::string_view text);

/// `text` with what is_printable refuses written out as \u001b; a byte that is not UTF-8 as `bad_byte` says. Bytes of
/// `keep` stay.
std::string escaped(std::string_view text, std::string_view keep, std::string (*bad_byte)(unsigned char byte));
/// The same for people: \xff for a byte that is not UTF-8.
std::string printable(std::string_view text, std::string_view keep = "");

/// `value` in so many lower-case hex digits.
std::string hex_text(std::uint32_t value, int digits);

}  // namespace shardwise
