#include "parallel/checked_versions.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <tuple>
#include <vector>

#include "base/text.h"
#include "parallel/engine_args.h"
#include "parallel/rules.h"

namespace shardwise {
namespace {

constexpr std::array kChecked = {
    CheckedRow{{0, 16, 0}, true, false},
    CheckedRow{{0, 20, 0}, false, true},
    CheckedRow{{0, 20, 2}},
    CheckedRow{{0, 24, 0}},
    CheckedRow{{0, 26, 0}},
    CheckedRow{{0, 28, 0}},
    CheckedRow{{0, 30, 0}},
    CheckedRow{{0, 32, 0}},
    CheckedRow{{0, 33, 0},
               true,
               true,
               "EAGLE and MTP keep the last block of a prefix hit, n-gram speculation schedules asynchronously, state "
               "caches follow prefix caching, a GB10 counts as a small GPU"},
};

// Minor releases bring changes of rules, patches rarely: a patch counts as a hundredth of a minor release.
long on_a_line(VllmVersion v) { return 1'000'000L * v.major_ + 100L * v.minor_ + v.patch_; }

/// ", a, b" of the rows that a version brought or dropped.
template <class Rows, class Named>
std::string bounded_by(VllmVersion version, const Rows& rows, Named&& named) {
  std::vector<std::string> names;
  for (const auto& row : rows) {
    const auto [name, since, gone] = named(row);
    if ((since == version || gone == version) && std::find(names.begin(), names.end(), name) == names.end())
      names.emplace_back(name);
  }
  return join(names, ", ");
}

std::string changes_of(const CheckedRow& row) {
  std::vector<std::string> parts;
  if (!row.changed.empty()) parts.emplace_back(row.changed);
  const auto add = [&](const char* what, const std::string& names) {
    if (!names.empty()) parts.push_back(what + names);
  };
  add("rules ",
      bounded_by(row.version, rules(), [](const Rule* r) { return std::tuple(r->id, r->when.since, r->when.until); }));
  add("arguments ", bounded_by(row.version, flag_rows(),
                               [](const FlagRow& f) { return std::tuple(f.name, f.versions.since, f.versions.gone); }));
  return parts.empty() ? "" : "; changed in " + to_string(row.version) + ": " + join(parts, "; ");
}

}  // namespace

std::span<const CheckedRow> checked_versions() { return kChecked; }

CheckedVersion checked_version(VllmVersion version) {
  CheckedVersion best;
  long least = -1;
  for (const auto& row : kChecked) {
    if (!row.rules) continue;
    const long distance = std::labs(on_a_line(row.version) - on_a_line(version));
    if (least < 0 || distance <= least) {
      least = distance;
      best = {row.version, row.version == version};
    }
  }
  return best;
}

std::optional<std::string> unchecked_version_note(VllmVersion version) {
  const auto [nearest, exact] = checked_version(version);
  if (exact) return std::nullopt;
  const std::string head = "vLLM " + to_string(version);
  const std::string near = "nearest checked version " + to_string(nearest);
  if (version < kChecked.front().version)
    return head +
           " is older than every version that was checked against recordings: answered by the oldest rules known, " +
           near;
  if (kChecked.back().version < version)
    return head +
           " is newer than every version that was checked against recordings: answered by the newest rules known, " +
           near + changes_of(kChecked.back());
  return head + " was not checked against recordings: answered by the rules known for it, " + near;
}

}  // namespace shardwise
