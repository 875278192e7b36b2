// Lengths, SLOs and goals: any text is read or refused with an InputError, and what was read round-trips.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/input_error.h"
#include "workload/workload.h"

using namespace shardwise;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const LengthDistribution lengths = parse_length(text, "--isl");
    if (!(parse_length(to_string(lengths), "--isl") == lengths)) std::abort();
    Rng rng(1);
    for (int i = 0; i < 8; ++i)
      if (const auto n = lengths.sample(rng); n < 1 || n > lengths.max()) std::abort();
    if (!(lengths.second_moment() >= lengths.mean() * lengths.mean() * 0.999999)) std::abort();
  } catch (const InputError&) {
  }
  try {
    const Slo slo = parse_slo(text, "--slo");
    if (!(parse_slo(to_string(slo), "--slo") == slo)) std::abort();
  } catch (const InputError&) {
  }
  try {
    parse_goal(text, "--goal");
  } catch (const InputError&) {
  }
  return 0;
}
