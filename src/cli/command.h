#pragma once
// A command's options and what it does. CLI11 reads the command line; only cli.cc includes it, since its header takes
// longer to compile than all commands together.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace shardwise {

// Exit codes; docs/exit_codes.md.
inline constexpr int kExitFound = 0;  ///< a plan stands; the command starts; all cases agree
inline constexpr int kExitNo = 1;     ///< a clear no: nothing fits, vLLM refuses, SLO or rate not kept, cases disagree
inline constexpr int kExitBadInput = 2;     ///< the question itself cannot be read
inline constexpr int kExitInternal = 70;    ///< a bug
inline constexpr int kExitNotWritten = 74;  ///< an answer is lost: a full disk, a pipe that nobody reads

/// What the counts of options may be: more than anybody has, less than an int holds.
inline constexpr double kMostCopies = 65536, kMostRequests = 1e8;

/// An option that was just added; each call narrows what it takes or says how --help shows it.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  Option& required();
  Option& group(const std::string& heading);  ///< of --help
  Option& shown_default(const std::string& text);
  Option& between(double least, double most);  ///< a number, both included
  Option& one_of(const std::vector<std::string>& words);
  Option& existing_file();
  Option& comma_separated();  ///< 2,0 is two values
  Option& one_value_each();   ///< a list option takes one value each time it is given

 private:
  CLI::Option* option_;
};

/// A subcommand while its options are added. Values are filled before the handler runs and must live until then.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}
  /// T: std::string (also optional), a number (integers also optional), or a vector of std::string or int. A name
  /// without dashes is positional.
  template <class T>
  Option option(const std::string& names, T& value, const std::string& doc);
  Option flag(const std::string& names, bool& value, const std::string& doc);
  void footer(const std::string& text);
  /// Words that no option takes are kept for others() instead of being refused.
  void take_others();
  std::vector<std::string> others() const;

 private:
  CLI::App* app_;
};

using Handler = std::function<int()>;  ///< returns the exit code

/// A row of commands(): its options are added, and what then runs is returned. `vllm`: what stands behind `--`.
struct CommandRow {
  std::string_view name, about;
  Handler (*add)(Command command, const std::vector<std::string>& vllm);
};

/// In the order of --help. To add a command, write src/cli/NAME_command.cc and a row in commands.cc.
std::span<const CommandRow> commands();

}  // namespace shardwise
