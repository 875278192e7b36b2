#include "hardware/host_name.h"

#include <gtest/gtest.h>

#include "base/input_error.h"
#include "config/quantity.h"

namespace shardwise {
namespace {

TEST(HostName, NamesAndAddresses) {
  for (const char* text : {"node0", "node-1.lab", "a.b.c.example", "gpu_01", "10.0.0.1", "::1", "fe80::1",
                           "2001:db8::2:1", "lab.", "3com", "xn--bcher-kva.example", "A"})
    EXPECT_TRUE(HostName::parse(text)) << text;
  for (const char* text :
       {"",  ".",   "a..b",         "-a",    "a-",  "a b",  "a;b",       "$(x)",     "a\n", "10.0.0.256", "10.0.0",
        "1", "::g", "fe80::1%eth0", "[::1]", "a/b", "a:80", "node[1-2]", "\xc3\xbc", "a,b", "a\"b"})
    EXPECT_FALSE(HostName::parse(text)) << text;
  EXPECT_FALSE(HostName::parse(std::string(64, 'a')));
  EXPECT_FALSE(HostName::parse(std::string("a\0b", 3)));
}

TEST(HostName, InFrontOfAPort) {
  EXPECT_EQ(HostName::parse("node0")->before_port(), "node0");
  EXPECT_EQ(HostName::parse("::1")->before_port(), "[::1]");
  EXPECT_TRUE(HostName::parse("::1")->is_ip());
  EXPECT_FALSE(HostName::parse("node0")->is_ip());
}

TEST(HostName, SaysWhereAndWhatInstead) {
  try {
    parse_host_name("$(touch x)\n", {"cluster.yaml", 7, "nodes[0].addresses[1]"});
    FAIL();
  } catch (const InputError& e) {
    EXPECT_STREQ(
        e.what(),
        "cluster.yaml:7: nodes[0].addresses[1]: '$(touch x)\\u000a' is no host name and no IP address (letters, "
        "digits, '-' and '.', as in node-1.lab or 10.0.0.1)");
  }
}

}  // namespace
}  // namespace shardwise
