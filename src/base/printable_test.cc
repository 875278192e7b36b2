#include "base/printable.h"

#include <gtest/gtest.h>

namespace shardwise {
namespace {

TEST(Printable, WhatIs) {
  for (const char* text :
       {"", "H100-SXM", "gr\xc3\xbc\xc3\x9f", "\xe6\xbc\xa2\xe5\xad\x97", "\xf0\x9f\x98\x80", "a\xc2\xa0z"})
    EXPECT_TRUE(is_printable(text)) << text;
  for (const char* text :
       {"a\nb", "\t", "\r", "\x1b[2J", "\x7f", "\xc2\x9b", "\xe2\x80\xa8", "\xe2\x80\xae", "\xef\xbb\xbf", "\xff",
        "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x80", "caf\xe9"})
    EXPECT_FALSE(is_printable(text)) << text;
}

TEST(Printable, WrittenOut) {
  EXPECT_EQ(printable("a\x1b[2J\n\xc2\x9b\xff z", "\n"), "a\\u001b[2J\n\\u009b\\xff z");
  EXPECT_EQ(printable("\xe2\x80\xa8\xf0\x9f\x98\x80"), "\\u2028\xf0\x9f\x98\x80");
}

}  // namespace
}  // namespace shardwise
