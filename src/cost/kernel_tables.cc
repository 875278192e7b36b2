#include "cost/kernel_tables.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <mutex>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/quantity.h"

namespace shardwise {
namespace {

class Reader {
 public:
  Reader(std::string_view text, std::string file) : text_(text), file_(std::move(file)) {}
  bool next() {
    while (at_ < text_.size()) {
      const auto end = std::min(text_.find('\n', at_), text_.size());
      line_ = text_.substr(at_, end - at_);
      at_ = end + 1;
      ++number_;
      if (!line_.empty() && line_.front() != '#') return true;
    }
    return false;
  }
  std::string_view word() {
    const auto comma = std::min(line_.find(','), line_.size());
    const auto out = line_.substr(0, comma);
    line_.remove_prefix(std::min(comma + 1, line_.size()));
    return out;
  }
  double number() {
    const auto w = word();
    double v = 0;
    const auto r = std::from_chars(w.data(), w.data() + w.size(), v);
    if (r.ec != std::errc{} || r.ptr != w.data() + w.size())
      throw InputError(file_, number_, "", "not a number: '" + std::string(w) + "'");
    return v;
  }
  template <class T>
  void numbers(std::vector<T>& out, double scale) {
    const char *p = line_.data(), *end = p + line_.size();
    while (p < end) {
      int v = 0;
      const auto r = std::from_chars(p, end, v);
      if (r.ec != std::errc{}) throw InputError(file_, number_, "", "not an integer");
      out.push_back(static_cast<T>(v * scale));
      p = r.ptr + (r.ptr < end);
    }
    line_ = {};
  }
  std::vector<double> axis() {
    std::vector<double> out;
    while (!line_.empty()) out.push_back(number());
    return out;
  }

 private:
  std::string_view text_, line_;
  std::string file_;
  std::size_t at_ = 0;
  int number_ = 0;
};

int index_of(std::string_view name, std::initializer_list<std::string_view> names) {
  const auto it = std::find(names.begin(), names.end(), name);
  return it == names.end() ? -1 : static_cast<int>(it - names.begin());
}

/// The grid that a table name stands for; attention names look like decode_hd128_bfloat16_w128. Null: unknown.
Grid* place(KernelTables& t, std::string_view name) {
  if (name.starts_with("gemm_")) {
    const int i = index_of(name.substr(5), {"bfloat16", "fp8", "nvfp4"});
    return i < 0 ? nullptr : &t.gemm[static_cast<std::size_t>(i)];
  }
  if (name.starts_with("moe_")) {
    const int i =
        index_of(name.substr(4), {"bf16", "fp8", "fp8_block", "nvfp4", "mxfp4", "mxfp4_marlin", "mxfp4_mxfp8", "int4"});
    return i < 0 ? nullptr : &t.moe[static_cast<std::size_t>(i)];
  }
  if (!name.starts_with("decode_") && !name.starts_with("prefill_")) return &t.surfaces[std::string(name)];
  AttentionGrid a;
  a.decode = name.starts_with("decode_");
  const auto parts = split(name, '_');
  std::int64_t head_dim = 0, window = 0;  // hd128, w128
  if (parts.size() < 3 || !parse_number(std::string_view(parts[1]).substr(2), head_dim)) return nullptr;
  if (parts.size() > 3 && !parse_number(std::string_view(parts[3]).substr(1), window)) return nullptr;
  a.head_dim = static_cast<int>(head_dim), a.window = static_cast<int>(window);
  a.fp8_kv = parts[2] == "fp8";
  t.attention.push_back(std::move(a));
  return &t.attention.back().grid;
}

KernelTables read_tables(const std::string& system) {
  const std::string file = "calibration/kernels_" + system + ".csv";
  const auto text = embedded_file(file);
  if (!text) throw InputError("data/" + file, 0, "", "missing from this build");
  KernelTables t;
  t.system = system;
  t.attention.reserve(64);
  Reader in(*text, "data/" + file);
  Grid* grid = nullptr;
  Curve* curve = nullptr;
  MoeShape* shape = nullptr;
  int moe = 0, row = 0;
  while (in.next()) {
    const auto key = in.word();
    if (key == "roof") {
      t.bandwidth = in.number(), t.bf16 = in.number(), t.fp8 = in.number(), t.fp4 = in.number(), t.sms = in.number();
      t.link = in.number();
    } else if (key == "table") {
      const auto name = in.word();
      grid = place(t, name), curve = nullptr, shape = nullptr;
      if (!grid) throw InputError("data/" + file, 0, "", "unknown table '" + std::string(name) + "'");
      if (name.starts_with("moe_")) moe = static_cast<int>(grid - t.moe.data());
    } else if (key == "curve") {
      const auto which =
          static_cast<std::size_t>(index_of(in.word(), {"custom_allreduce", "nccl_all_reduce", "nccl_all_gather",
                                                        "nccl_reduce_scatter", "nccl_alltoall"}));
      in.word();
      curve = &t.collectives[which][static_cast<int>(in.number())], grid = nullptr, shape = nullptr;
    } else if (key == "shape") {
      auto& list = t.moe_shapes[static_cast<std::size_t>(moe)];
      list.emplace_back();
      shape = &list.back(), row = 0, curve = nullptr;
      shape->hidden = static_cast<int>(in.number()), shape->intermediate = static_cast<int>(in.number());
      shape->topk = static_cast<int>(in.number()), shape->experts = static_cast<int>(in.number());
    } else if (key == "axis") {
      if (curve)
        curve->first = in.number();
      else
        grid->axes.push_back(in.axis());
    } else if (key == "z" || key == "zg") {  // features of expert tables, and of GEMM tables
      const int at = key == "z" ? index_of(in.word(), {"topk", "aspect", "ep", "log2ep", "pad"})
                                : index_of(in.word(), {"wave", "pad"});
      if (at < 0 || !grid) throw InputError("data/" + file, 0, "", "unknown feature");
      grid->z[static_cast<std::size_t>(at)] = in.number();
    } else if (key == "v") {
      if (curve)
        in.numbers(curve->values, 1e-3);
      else if (shape)
        in.numbers(shape->rows[static_cast<std::size_t>(row / 5)][static_cast<std::size_t>(row % 5)], 1e-3), ++row;
      else
        in.numbers(grid->values, 1e-3);
    }
  }
  return t;
}

/// One line of kin.csv: what (name or architecture), pattern, system, widen, slowdown, reason.
struct KinRow {
  std::string field, pattern, system, reason;
  double widen = 1, slowdown = 1;
};

const std::vector<KinRow>& kin_rows() {
  static const std::vector<KinRow> rows = [] {
    std::vector<KinRow> out;
    Reader in(embedded_file("calibration/kin.csv").value_or(""), "data/calibration/kin.csv");
    while (in.next()) {
      KinRow r;
      r.field = in.word(), r.pattern = to_lower(in.word()), r.system = in.word();
      r.widen = in.number(), r.slowdown = in.number();
      r.reason = in.word();
      out.push_back(std::move(r));
    }
    return out;
  }();
  return rows;
}

/// Tables of a system that kin.csv names, read when they are first asked for.
const KernelTables* tables_of(const std::string& system) {
  struct Slot {
    std::once_flag once;
    KernelTables tables;
  };
  static std::map<std::string, Slot> slots = [] {
    std::map<std::string, Slot> out;
    for (const auto& row : kin_rows()) out.try_emplace(row.system);
    return out;
  }();
  auto& slot = slots.at(system);
  std::call_once(slot.once, [&] { slot.tables = read_tables(system); });
  return &slot.tables;
}

}  // namespace

std::size_t Grid::leading() const {
  std::size_t n = 1;
  for (std::size_t i = 0; i + 2 < axes.size(); ++i) n *= axes[i].size();
  return n;
}

std::vector<float> Grid::slice(double second_last, double last) const {
  const auto& a = axes[axes.size() - 2];
  const auto& b = axes.back();
  const auto [i, u] = hat(second_last, a);
  const auto [j, w] = hat(last, b);
  const std::size_t n = leading(), stride = a.size() * b.size();
  const float w00 = static_cast<float>((1 - u) * (1 - w)), w01 = static_cast<float>((1 - u) * w);
  const float w10 = static_cast<float>(u * (1 - w)), w11 = static_cast<float>(u * w);
  std::vector<float> out(n);
  const float* p = values.data() + i * b.size() + j;
  for (std::size_t k = 0; k < n; ++k, p += stride)
    out[k] = w00 * p[0] + w01 * p[1] + w10 * p[b.size()] + w11 * p[b.size() + 1];
  return out;
}

double Curve::seconds(double bytes) const {
  const double x = std::log2(std::max(bytes, 1.0)) - first;
  const double top = static_cast<double>(values.size() - 1);
  if (x >= top) return std::exp(values.back()) * std::exp2(x - top);
  if (x <= 0) return std::exp(values.front());
  const auto i = static_cast<std::size_t>(x);
  const double f = x - static_cast<double>(i);
  return std::exp(values[i] + f * (values[i + 1] - values[i]));
}

const AttentionGrid* KernelTables::find_attention(bool decode, int head_dim, bool fp8_kv, int window) const {
  const AttentionGrid* best = nullptr;
  double best_distance = 1e9;
  for (const auto& a : attention) {
    if (a.decode != decode) continue;
    double d = 4 * std::abs(std::log2(static_cast<double>(a.head_dim) / std::max(head_dim, 1)));
    d += (a.window > 0) != (window > 0) ? 3
         : a.window > 0                 ? 0.2 * std::abs(std::log2(static_cast<double>(a.window) / window))
                                        : 0;
    d += a.fp8_kv != fp8_kv ? 1 : 0;
    if (d < best_distance) best_distance = d, best = &a;
  }
  return best;
}

const Grid* KernelTables::find(std::string_view surface) const {
  if (const auto it = surfaces.find(surface); it != surfaces.end()) return &it->second;
  const auto* lender = tables_of("h100_sxm");
  return lender == this ? nullptr : lender->find(surface);
}

KernelKin kernel_kin(const Gpu& gpu) {
  const std::string name = to_lower(gpu.name), architecture = to_lower(gpu.architecture), vendor = to_lower(gpu.vendor);
  KernelKin kin;
  for (const auto& row : kin_rows()) {
    const bool hit = row.field == "name"           ? name.starts_with(row.pattern)
                     : row.field == "architecture" ? architecture.starts_with(row.pattern)
                     : row.field == "vendor"       ? vendor == row.pattern
                                                   : true;
    if (!hit) continue;
    kin.tables = tables_of(row.system);
    kin.widen = row.widen, kin.slowdown = row.slowdown, kin.reason = row.reason;
    kin.exact = row.reason.empty();
    break;
  }
  return kin;
}

}  // namespace shardwise
