#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/input_error.h"
#include "config/csv.h"
#include "config/json.h"
#include "config/quantity.h"
#include "config/yaml.h"

namespace shardwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_of(auto&& f) {
  try {
    f();
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

const TextPlace kPlace{"f.yaml", 3, "a.b"};
constexpr Range<Bytes> kSizes{Bytes(0), Bytes(1'000'000'000'000'000'000)};
constexpr Range<BytesPerSecond> kRates{BytesPerSecond(0), BytesPerSecond(1e18)};
constexpr Range<Seconds> kTimes{Seconds(0), Seconds(1e9)};
constexpr Range<FlopsPerSecond> kPeaks{FlopsPerSecond(0), FlopsPerSecond(1e21)};
constexpr Range<Watts> kPowers{Watts(0), Watts(1e9)};
constexpr Range<Dollars> kPrices{Dollars(0), Dollars(1e9)};

TEST(Quantity, UnitsOfEachKind) {
  EXPECT_EQ(parse_bytes("80 GiB", kPlace, kSizes), gib(80));
  EXPECT_EQ(parse_bytes("81559MiB", kPlace, kSizes), mib(81559));
  EXPECT_EQ(parse_bytes("80 GB", kPlace, kSizes), Bytes(80'000'000'000));
  EXPECT_DOUBLE_EQ(parse_bandwidth("400 Gbit/s", kPlace, kRates).value, 50e9);
  EXPECT_DOUBLE_EQ(parse_bandwidth("3.35 TB/s", kPlace, kRates).value, 3.35e12);
  EXPECT_DOUBLE_EQ(parse_seconds("5 us", kPlace, kTimes).value, 5e-6);
  EXPECT_DOUBLE_EQ(parse_flops("4.5 PFLOPS", kPlace, kPeaks).value, 4.5e15);
  EXPECT_DOUBLE_EQ(parse_watts("0.7 kW", kPlace, kPowers).value, 700);
  EXPECT_DOUBLE_EQ(parse_price_per_hour("$2.5/h", kPlace, kPrices).value, 2.5);
  EXPECT_DOUBLE_EQ(parse_price_per_hour("2.5 USD/h", kPlace, kPrices).value, 2.5);
}

TEST(Quantity, TextReadsBack) {
  for (const double gbs : {450.0, 0.3, 53.125, 1.0 / 3, 12.5, 1e-9})
    EXPECT_EQ(parse_bandwidth(bandwidth_text(gb_per_second(gbs)), kPlace, kRates), gb_per_second(gbs))
        << bandwidth_text(gb_per_second(gbs));
  for (const double us : {1.0, 0.1, 2.7, 1.0 / 7, 123456.789})
    EXPECT_EQ(parse_seconds(seconds_text(microseconds(us)), kPlace, kTimes), microseconds(us))
        << seconds_text(microseconds(us));
  for (const std::int64_t b : {0LL, 1LL, 80'000'000'000LL, 85'030'076'416LL, 123'456'789LL})
    EXPECT_EQ(parse_bytes(bytes_text(Bytes(b)), kPlace, kSizes), Bytes(b)) << bytes_text(Bytes(b));
  EXPECT_EQ(bytes_text(gib(80)), "80 GiB");
  EXPECT_EQ(bandwidth_text(gb_per_second(50)), "50 GB/s");
}

TEST(Quantity, Errors) {
  EXPECT_EQ(error_of([] { parse_bytes("80", kPlace, kSizes); }),
            "f.yaml:3: a.b: '80' has no unit (write for example '80 GiB')");
  EXPECT_EQ(error_of([] { parse_bytes("80 GIB", kPlace, kSizes); }),
            "f.yaml:3: a.b: unknown unit 'GIB' (did you mean 'GiB'?)");
  EXPECT_EQ(error_of([] { parse_seconds("-1 us", kPlace, kTimes); }),
            "f.yaml:3: a.b: '-1 us' is out of range (from 0 s to 1e+09 s)");
  EXPECT_THAT(error_of([] { parse_flops("fast", kPlace, kPeaks); }), HasSubstr("'fast' is not a peak rate"));
  EXPECT_THAT(error_of([] { parse_bytes("1e300 GiB", kPlace, kSizes); }), HasSubstr("is out of range"));
}

TEST(Yaml, ValuesKnowLineAndPath) {
  const YamlValue root = parse_yaml("a:\n  - b: 1\n    c: \"x\"\n  - {b: 2.5, d: true}\ne:\n", "f.yaml");
  const YamlValue& first = root.at("a").items()[0];
  EXPECT_EQ(first.at("b").integer(0, 9), 1);
  EXPECT_EQ(first.at("c").text(), "x");
  EXPECT_EQ(first.at("c").place.line, 3);
  EXPECT_EQ(first.at("c").place.path, "a[0].c");
  EXPECT_EQ(root.at("a").items()[1].at("b").number(0, 9), 2.5);
  EXPECT_TRUE(root.at("a").items()[1].at("d").boolean());
  EXPECT_EQ(root.at("e").kind, YamlValue::Kind::null);
  EXPECT_EQ(root.find("z"), nullptr);
}

TEST(Yaml, Errors) {
  auto error = [](const std::string& text) { return error_of([&] { parse_yaml(text, "f"); }); };
  EXPECT_EQ(error("a: 1\nb: 2\na: 3\n"), "f:3: key 'a' is given twice (first on line 1)");
  EXPECT_THAT(error("a: *x"), HasSubstr("f:1: "));
  EXPECT_THAT(error("a: !!int 3"), HasSubstr("tags"));
  EXPECT_THAT(error("a: [1, 2\n"), HasSubstr("not YAML"));
  EXPECT_THAT(error("a: 1\n---\nb: 2\n"), HasSubstr("more than one YAML document"));
  EXPECT_THAT(error(std::string(100'000, '[')), HasSubstr("nested too deeply"));
  EXPECT_THAT(error(std::string(60, '[') + std::string(60, ']')), HasSubstr("nested deeper than 32"));
  EXPECT_THAT(error_of([] { parse_yaml("a: \"8\"", "f").at("a").integer(0, 9); }),
              HasSubstr("f:1: a: must be a whole number"));
}

TEST(Yaml, ScalarsReadBack) {
  for (const char* text : {"plain", "8000",       "80 GB",       "true", "",      "a: b",      "- x",         "# no",
                           "it's",  "say \"hi\"", "back\\slash", "null", "~",     "tab\there", "line\nbreak", "{a}",
                           "*x",    "&x",         "!x",          "@x",   " lead", "3.0",       "no",          "grün"}) {
    const YamlValue root = parse_yaml("k: " + yaml_scalar(text), "f");
    EXPECT_EQ(root.at("k").kind, YamlValue::Kind::scalar) << yaml_scalar(text);
    EXPECT_EQ(root.at("k").scalar, text) << yaml_scalar(text);
    std::int64_t number = 0;
    EXPECT_TRUE(root.at("k").quoted || !parse_number(text, number)) << yaml_scalar(text);
  }
}

TEST(Csv, QuotesLinesAndErrors) {
  const CsvTable table = parse_csv("a,b\r\n\"x, \"\"y\"\"\",2\n\n\"two\nlines\",3\n", "f.csv");
  EXPECT_THAT(table.header, ElementsAre("a", "b"));
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_THAT(table.rows[0].cells, ElementsAre("x, \"y\"", "2"));
  EXPECT_EQ(table.rows[1].line, 4);
  EXPECT_EQ(table.column("b"), 1u);
  EXPECT_EQ(error_of([] { parse_csv("a,b\n1\n", "f.csv"); }), "f.csv:2: 1 cells, but the header has 2");
  EXPECT_EQ(error_of([] { parse_csv("a\n\"x\n", "f.csv"); }), "f.csv:2: a quoted cell is not closed");
  EXPECT_EQ(error_of([&] { table.column("c"); }), "f.csv:1: no column 'c' (did you mean 'a'?)");
}

TEST(Json, KeepsTheOrderOfKeysAndTheLastOfEqualOnes) {
  EXPECT_EQ(parse_json(R"({"b":1,"a":{"x":[1,2.5,"s",null,true,{}]},"b":[7]})", "f").dump(),
            R"({"b":[7],"a":{"x":[1,2.5,"s",null,true,{}]}})");
  std::string many = "{";
  for (int i = 0; i < 40; ++i) many += "\"k" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  const Json read = parse_json(many + R"("k3":"again"})", "f");
  EXPECT_EQ(read.size(), 40u);
  EXPECT_EQ(read["k3"], "again");
  EXPECT_EQ(read.begin().key(), "k0");
}

TEST(Json, ErrorsNameTheLine) {
  EXPECT_THAT(error_of([] { parse_json("{\n\"a\":}", "f.json"); }), StartsWith("f.json:2: not JSON: syntax error"));
  EXPECT_THAT(error_of([] { parse_json("[\n\n1e999]", "f.json"); }), StartsWith("f.json:3: not JSON: number overflow"));
}

}  // namespace
}  // namespace shardwise
