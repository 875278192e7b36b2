#include "base/sha256.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace shardwise {
namespace {

using Word = std::uint32_t;

struct Constants {
  std::array<Word, 64> k;
  std::array<Word, 8> h;
};

/// The standard's constants: the first 32 fractional bits of cube and square roots of the first primes.
Constants make_constants() {
  Constants c{};
  int n = 0;
  for (int candidate = 2; n < 64; ++candidate) {
    bool prime = true;
    for (int d = 2; d * d <= candidate; ++d) prime = prime && candidate % d != 0;
    if (!prime) continue;
    const auto fraction = [](long double x) { return static_cast<Word>((x - std::floor(x)) * 4294967296.0L); };
    c.k[n] = fraction(std::cbrt(static_cast<long double>(candidate)));
    if (n < 8) c.h[n] = fraction(std::sqrt(static_cast<long double>(candidate)));
    ++n;
  }
  return c;
}

void compress(std::array<Word, 8>& h, const unsigned char* block, const std::array<Word, 64>& k) {
  std::array<Word, 64> w{};
  for (int i = 0; i < 16; ++i)
    w[i] =
        Word{block[4 * i]} << 24 | Word{block[4 * i + 1]} << 16 | Word{block[4 * i + 2]} << 8 | Word{block[4 * i + 3]};
  for (int i = 16; i < 64; ++i) {
    const Word s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const Word s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, x] = h;
  for (int i = 0; i < 64; ++i) {
    const Word t1 = x + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
    const Word t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    x = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  h = {h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e, h[5] + f, h[6] + g, h[7] + x};
}

}  // namespace

std::string sha256_hex(std::string_view text) {
  static const Constants constants = make_constants();
  std::array<Word, 8> h = constants.h;
  std::string padded(text);
  padded += '\x80';
  padded.append((120 - padded.size() % 64) % 64, '\0');
  const std::uint64_t bits = static_cast<std::uint64_t>(text.size()) * 8;
  for (int i = 7; i >= 0; --i) padded += static_cast<char>(bits >> (8 * i) & 0xFF);
  for (std::size_t i = 0; i < padded.size(); i += 64)
    compress(h, reinterpret_cast<const unsigned char*>(padded.data()) + i, constants.k);
  std::string hex;
  for (const Word word : h)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 0xF];
  return hex;
}

}  // namespace shardwise
