#include "report/table.h"

#include <gtest/gtest.h>

#include <sstream>

namespace shardwise {
namespace {

Table ranked() {
  Table t;
  t.column("#");
  t.column("plan", Table::Align::left);
  for (const auto& [name, rank] :
       {std::pair{"GPUs", 4}, {"tokens/s", 3}, {"per GPU", 9}, {"TPOT ms", 1}, {"TTFT ms", 2}})
    t.column(name, Table::Align::right, static_cast<std::size_t>(rank));
  t.row({"1", "TP4 x PP2", "8", "1,234", "154.2", "12.3", "456"});
  return t;
}

TEST(Table, DropsTheHighestRanksFirst) {
  const auto t = ranked();
  Style style;
  for (style.width = 10; style.width < 80; ++style.width) {
    std::istringstream lines(t.text(style));
    std::string header;
    std::getline(lines, header);
    const auto dropped = t.dropped_rank(style);
    for (const auto& [name, rank] :
         {std::pair{"GPUs", 4}, {"tokens/s", 3}, {"per GPU", 9}, {"TPOT ms", 1}, {"TTFT ms", 2}})
      EXPECT_EQ(header.find(name) != std::string::npos, !dropped || static_cast<std::size_t>(rank) < *dropped)
          << name << " at " << style.width << "\n"
          << t.text(style);
    EXPECT_NE(header.find("plan"), std::string::npos);
    if (header.size() > 20) {
      EXPECT_LE(header.size(), static_cast<std::size_t>(style.width));
    }
  }
}

TEST(Table, WithoutRanksDropsFromTheRight) {
  Table t;
  for (const char* name : {"aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd"}) t.column(name);
  t.row({"1", "2", "3", "4"});
  Style style;
  style.width = 40;
  EXPECT_EQ(t.text(style),
            "  aaaaaaaaaa  bbbbbbbbbb  cccccccccc\n"
            "           1           2           3\n"
            "  (a wider terminal also shows: dddddddddd)\n");
}

}  // namespace
}  // namespace shardwise
