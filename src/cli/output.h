#pragma once
// Standard output and standard error.
#include <string>
#include <string_view>

#include "report/table.h"

namespace shardwise {

/// `text` to standard output: what no terminal should get (base/printable.h) written out, the style's colours aside.
/// Throws OutputError.
void print(std::string_view text, const Style& style = {});
/// "shardwise: ..." to standard error.
void tell(std::string_view text);
/// Before anything else: a reader that goes away is an error of print(), not the end of the program, and what is not
/// open stays so when files are opened.
void prepare_output();

}  // namespace shardwise
