#pragma once
// The dimensions of a layout as one table: pins, enumeration, ties, a plan's text, JSON, launch arguments, the ladder
// and --why-not go over its rows. A new dimension is a field of ParallelConfig and one row in dimension_rows.cc.
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/version.h"
#include "parallel/engine_args.h"
#include "parallel/layout.h"

namespace shardwise {

/// What a dimension is set to: words as vLLM writes them, a list as one number a pipeline stage.
using DimensionValue = std::variant<bool, int, std::string, std::vector<int>>;

/// Where the value is, or how it follows from the others.
using DimensionMember = std::variant<int ParallelConfig::*, bool ParallelConfig::*, ExpertPlacement ParallelConfig::*,
                                     std::string ParallelConfig::*, std::vector<int> ParallelConfig::*, int Layout::*,
                                     int (*)(const Layout&)>;

/// What a search makes of a dimension. Those above vary slower than those below.
enum class Role {
  given,    ///< as pinned, else at vLLM's default
  shape,    ///< another way to use the GPUs
  detail,   ///< a variation of a shape
  copies,   ///< how many engines there are
  derived,  ///< follows from the others
  total     ///< follows from the others, and the best plan for each of its values is of interest
};

/// What there is to choose from.
struct Space {
  int gpus = 0;                   ///< on offer
  std::vector<int> engines;       ///< by ranks of an engine: how many fit side by side (0 ranks: none)
  std::vector<bool> spans_nodes;  ///< by ranks of an engine: one needs several nodes
  int layers = 0;                 ///< of the model
  int heads = 0;                  ///< of its attention; 0: it has none
  bool moe = false;
  bool allow_replicas = false;          ///< of a dense model on one node, too
  std::optional<int> num_expert_group;  ///< of the model's router
  VllmVersion version = kDefaultVllmVersion;
};

struct Dimension {
  std::string_view name;             ///< vLLM's: the argument, the JSON key
  std::string_view short_name = {};  ///< in --why-not
  std::string_view label = {};       ///< in sentences: "TP 8"
  DimensionMember member;
  Role role = Role::given;
  int complexity = 0;       ///< of a layout where it is not at its default
  int rung = 0;             ///< place in the ladder and among the curves
  bool always = false;      ///< JSON has it at its default, too
  bool multiplies = false;  ///< the GPUs of a layout are the product of all that do
  /// What a plan's text says of it; null: its label and value where it is not at its default.
  std::string (*text)(const Dimension&, const Layout&) = nullptr;
  bool of_deployment = true;  ///< its text is part of to_string(ParallelConfig)
  /// Whether a launch command needs it; null: where it is not at its default.
  bool (*needed)(const Layout&) = nullptr;
  /// Values to try, ascending, given those of slower dimensions; null: none but the default. `pin` may be null.
  void (*values)(const Space&, const Layout&, const DimensionValue* pin, std::vector<DimensionValue>&) = nullptr;
  /// True where the plan is the same as with the default, so that only a pin asks for it. Sees the whole deployment.
  bool (*twin)(const Space&, const ParallelConfig&) = nullptr;
  std::string_view variable = {};  ///< environment variable that carries it, where it is no argument
};

/// Every row, derived ones too, in the order of JSON and of a plan's text.
std::span<const Dimension> layout_fields();
/// Those that can be set.
const std::vector<const Dimension*>& dimensions();
/// Those that a search varies and the totals, by rung.
const std::vector<const Dimension*>& rungs();
/// A row that can be set by its name or short form; null if there is none.
const Dimension* find_dimension(std::string_view name);

/// Whether the best plan for each value is of interest.
inline bool has_curve(const Dimension& d) {
  return d.role == Role::shape || d.role == Role::copies || d.role == Role::total;
}

DimensionValue value_of(const Dimension& d, const Layout& layout);
/// `value` holds the kind of value that the dimension has.
void set_value(const Dimension& d, Layout& layout, const DimensionValue& value);
void copy_value(const Dimension& d, const Layout& from, Layout& to);
bool same_value(const Dimension& d, const Layout& a, const Layout& b);
/// The same shape, with as many or other numbers of copies.
bool same_but_copies(const Layout& a, Layout b);
bool lower_value(const Dimension& d, const Layout& a, const Layout& b);
bool at_default(const Dimension& d, const Layout& layout);
/// "TP 4 x PP 1 x DP 2 x 2 replicas": the product that a layout's GPUs are.
std::string gpu_factors(const Layout& layout);

/// "8", "1" (on), "round_robin", "41+39"; read_value reads it back.
std::string value_text(const DimensionValue& value, std::string_view separator = "+");
/// Also on, off, true, false, yes, no and nothing at all (on) for what is on or off; nullopt for what is no value of
/// it.
std::optional<DimensionValue> read_value(const Dimension& d, std::string_view text);

/// The words that it takes; empty: other kinds of value, or any word.
std::vector<std::string> words_of(const Dimension& d);

/// Parts of a layout that are fixed, by name of their rows; what is not there is free.
using Pins = std::map<std::string_view, DimensionValue>;

/// --tensor-parallel-size
std::string flag_of(const Dimension& d);
/// The value that the arguments give to a dimension. Throws InputError on a word that it does not know.
std::optional<DimensionValue> argument(const EngineArgs& args, const Dimension& d);
/// Every dimension that a command needs or that was given, as the layout has it.
void lay_over(EngineArgs& args, const Layout& layout);
/// Environment variables that the layout needs.
std::map<std::string, std::string> environment(const Layout& layout);

}  // namespace shardwise
