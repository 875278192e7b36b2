#include "sim/timeline.h"

#include <algorithm>

namespace shardwise {

Timeline::Slice& Timeline::slice_at(Nanoseconds now) {
  while (now / width_ >= most_) {
    for (std::size_t i = 0; i < slices_.size(); i += 2) {
      Slice merged = slices_[i];
      if (i + 1 < slices_.size()) {
        const Slice& b = slices_[i + 1];
        merged.running += b.running, merged.waiting += b.waiting, merged.kv += b.kv, merged.tokens += b.tokens;
      }
      slices_[i / 2] = merged;
    }
    slices_.resize((slices_.size() + 1) / 2);
    width_ *= 2;
  }
  const auto index = static_cast<std::size_t>(now / width_);
  if (index >= slices_.size()) slices_.resize(index + 1);
  return slices_[index];
}

void Timeline::advance(Nanoseconds now, double running, double waiting, double kv_use) {
  while (last_ < now) {
    Slice& slice = slice_at(last_);
    const Nanoseconds end = std::min(now, (last_ / width_ + 1) * width_);
    const auto span = static_cast<double>(end - last_);
    slice.running += span * running;
    slice.waiting += span * waiting;
    slice.kv += span * kv_use;
    last_ = end;
  }
}

void Timeline::add_tokens(Nanoseconds now, std::int64_t tokens) { slice_at(now).tokens += static_cast<double>(tokens); }

std::vector<TimelinePoint> Timeline::points(Nanoseconds end) const {
  std::vector<TimelinePoint> points;
  for (std::size_t i = 0; i < slices_.size(); ++i) {
    const Nanoseconds from = static_cast<Nanoseconds>(i) * width_, to = std::min(from + width_, end);
    if (to <= from) break;
    const auto span = static_cast<double>(to - from);
    const Slice& s = slices_[i];
    points.push_back({to_seconds(to), s.running / span, s.waiting / span, s.kv / span, s.tokens / (span * 1e-9)});
  }
  return points;
}

std::optional<double> Timeline::rate_half_width(Nanoseconds start, Nanoseconds end) const {
  BatchMeans batches;
  std::size_t used = 0;
  for (std::size_t i = 0; i < slices_.size(); ++i) {
    const Nanoseconds from = static_cast<Nanoseconds>(i) * width_;
    if (from < start || from + width_ > end) continue;
    batches.add(slices_[i].tokens / to_seconds(width_));
    ++used;
  }
  return used < 20 ? std::nullopt : batches.half_width();
}

}  // namespace shardwise
