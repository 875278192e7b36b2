// As much of a shell as start scripts use: words and quotes, variables and arrays, arithmetic, if, case and for.
#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "config/quantity.h"
#include "launch/shell_words.h"

namespace shardwise {
namespace {

constexpr int kMaxTurns = 256;  ///< of all loops of a script together

bool is_name(std::string_view text) {
  return !text.empty() && !std::isdigit(static_cast<unsigned char>(text[0])) &&
         std::ranges::all_of(text, [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

class Shell : public ShellText {
 public:
  using ShellText::ShellText;

  std::vector<StartCommand> run() {
    while (at_ < text_.size()) statement();
    return std::move(found_);
  }

 private:
  enum class Truth { no, yes, unknown };
  struct Branch {
    bool is_case = false, runs = true, done = false;
    std::string subject;  ///< of a case
  };
  struct Loop {
    std::string name;
    std::vector<std::string> left;
    std::size_t body = 0;
    int line = 0;
  };

  bool running() const {
    return std::ranges::all_of(branches_, [](const Branch& b) { return b.runs; });
  }

  // ---- statements

  void statement() {
    if (!branches_.empty() && branches_.back().is_case && pattern_) return case_pattern();
    std::vector<ShellWord> words;
    std::string op;
    for (;;) {
      const auto before = words.size();
      if (!read_words(words)) break;
      if (words.size() == before || !words.back().is_operator) continue;
      op = words.back().text;
      if (op.find_first_of("<>") != std::string::npos) {
        redirect(op, words);
        continue;
      }
      if (op == "&" && peek() == '>') {
        words.pop_back();
        continue;
      }
      words.pop_back();
      break;
    }
    execute(std::move(words));
    if (op == ";;" && !branches_.empty() && branches_.back().is_case) pattern_ = true;
  }

  /// `words` ends with the operator; its target is dropped, a here-document skipped.
  void redirect(const std::string& op, std::vector<ShellWord>& words) {
    const bool numbered = words.back().touches;
    words.pop_back();
    if (numbered && !words.empty() && !words.back().quoted && words.back().text.size() == 1 &&
        std::isdigit(static_cast<unsigned char>(words.back().text[0])))
      words.pop_back();
    if (peek() == '&' || peek() == '-') next();
    if (peek() == '(') return;  // <(...)
    const auto before = words.size();
    read_words(words);
    const auto target = words.size() > before ? words[before].text : std::string();
    words.resize(before);
    if (op == "<<" && !target.empty()) here_document(target.starts_with('-') ? target.substr(1) : target, words);
  }

  void here_document(const std::string& end, const std::vector<ShellWord>& words) {
    const auto line_end = std::min(text_.find('\n', at_), text_.size());
    const std::string rest = text_.substr(at_, line_end - at_);
    at_ = line_end;
    if (at_ < text_.size()) next();
    const int first = line_;
    std::string body;
    while (at_ < text_.size()) {
      auto stop = std::min(text_.find('\n', at_), text_.size());
      const auto line = text_.substr(at_, stop - at_);
      at_ = std::min(stop + 1, text_.size());
      ++line_;
      if (trim(line) == end) break;
      body += line + "\n";
    }
    const bool writes = std::ranges::any_of(words, [](const auto& w) { return w.text == "cat" || w.text == "tee"; });
    if (!writes && running()) nested(body, first, words);
  }

  void execute(std::vector<ShellWord> words) {
    while (!words.empty() && !words.front().quoted) {
      const auto& first = words.front().text;
      if (first == "then" || first == "do" || first == "{" || first == "!" || first == "else" || first == "time") {
        if (first == "else" && !branches_.empty()) {
          auto& b = branches_.back();
          b.runs = !b.done;
        }
        words.erase(words.begin());
      } else if (first == "if" || first == "elif") {
        return test(words, first == "elif");
      } else if (first == "fi" || first == "esac") {
        if (!branches_.empty()) branches_.pop_back();
        pattern_ = false;
        return;
      } else if (first == "case") {
        branches_.push_back({true, running(), false, words.size() > 1 ? words[1].text : ""});
        pattern_ = true;
        return;
      } else if (first == "for" || first == "while" || first == "until") {
        return begin_loop(words);
      } else if (first == "done") {
        return end_loop();
      } else {
        break;
      }
    }
    if (running()) command(words);
  }

  void case_pattern() {
    auto& b = branches_.back();
    std::string pattern;
    skip_blank();
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(peek()))) next(), skip_blank();
    if (text_.compare(at_, 4, "esac") == 0) {
      pattern_ = false;
      return;
    }
    while (at_ < text_.size() && peek() != ')') pattern += next();
    if (at_ < text_.size()) next();
    pattern_ = false;
    bool fits = b.subject.find('$') != std::string::npos;
    for (auto& one : split(pattern, '|')) {
      auto word = std::string(trim(one));
      std::erase_if(word, [](char c) { return c == '"' || c == '\'' || c == '('; });
      fits = fits || (word == "*" ? !b.done : word == b.subject);
    }
    b.runs = fits;
    b.done = b.done || (fits && b.subject.find('$') == std::string::npos);
  }

  void test(const std::vector<ShellWord>& words, bool other) {
    if (other && branches_.empty()) return;
    if (!other) branches_.push_back({});
    auto& b = branches_.back();
    const auto truth = b.done ? Truth::no : condition(words);
    b.runs = truth != Truth::no;
    b.done = b.done || truth == Truth::yes;
  }

  Truth condition(const std::vector<ShellWord>& words) const {
    std::vector<std::string> t;
    for (std::size_t i = 1; i < words.size(); ++i)
      if (words[i].text != "[" && words[i].text != "[[" && words[i].text != "]" && words[i].text != "]]" &&
          words[i].text != "test")
        t.push_back(words[i].text);
    if (t.size() == 2 && (t[0] == "-z" || t[0] == "-n") && t[1].find('$') == std::string::npos)
      return t[1].empty() == (t[0] == "-z") ? Truth::yes : Truth::no;
    if (t.size() != 3 || t[0].find('$') != std::string::npos || t[2].find('$') != std::string::npos)
      return Truth::unknown;
    std::int64_t x = 0, y = 0;
    const bool numbers = parse_number(t[0], x) && parse_number(t[2], y);
    const auto says = [](bool v) { return v ? Truth::yes : Truth::no; };
    if (t[1] == "=" || t[1] == "==") return says(t[0] == t[2]);
    if (t[1] == "!=") return says(t[0] != t[2]);
    if (!numbers) return Truth::unknown;
    if (t[1] == "-eq") return says(x == y);
    if (t[1] == "-ne") return says(x != y);
    if (t[1] == "-gt") return says(x > y);
    if (t[1] == "-ge") return says(x >= y);
    if (t[1] == "-lt") return says(x < y);
    return t[1] == "-le" ? says(x <= y) : Truth::unknown;
  }

  /// for NAME in WORDS; `for ((...))` and unknown lists are gone through once.
  void begin_loop(const std::vector<ShellWord>& words) {
    Loop loop;
    if (words.size() > 2 && words[2].text == "in") {
      loop.name = words[1].text;
      for (std::size_t i = 3; i < words.size(); ++i) {
        const auto& w = words[i].text;
        if (w.starts_with("$(seq_") || w.starts_with("{")) {
          const auto range = numbers_of(w);
          loop.left.insert(loop.left.end(), range.begin(), range.end());
        } else if (w.find('$') == std::string::npos) {
          loop.left.push_back(w);
        }
      }
    }
    loop.body = at_;
    loop.line = line_;
    loops_.push_back(std::move(loop));
    turn();
  }

  /// "$(seq_1_3)", "{1..3}"
  std::vector<std::string> numbers_of(const std::string& text) {
    std::vector<std::int64_t> bounds;
    std::string digits;
    for (const char c : expand(text.starts_with("$(seq_") ? text.substr(6) : text) + " ")
      if (std::isdigit(static_cast<unsigned char>(c))) {
        digits += c;
      } else if (std::int64_t v = 0; !digits.empty() && parse_number(digits, v)) {
        bounds.push_back(v);
        digits.clear();
      }
    std::vector<std::string> out;
    if (bounds.size() == 1) bounds.insert(bounds.begin(), 1);
    if (bounds.size() == 2)
      for (auto i = bounds[0]; i <= bounds[1] && out.size() < kMaxTurns; ++i) out.push_back(std::to_string(i));
    return out;
  }

  void turn() {
    auto& loop = loops_.back();
    if (loop.left.empty()) return;
    variables_[loop.name] = {loop.left.front()};
    loop.left.erase(loop.left.begin());
  }

  void end_loop() {
    if (loops_.empty()) return;
    if (!loops_.back().left.empty() && ++turns_ < kMaxTurns && running()) {
      at_ = loops_.back().body;
      line_ = loops_.back().line;
      return turn();
    }
    loops_.pop_back();
  }

  // ---- commands

  void command(std::vector<ShellWord>& words) {
    std::size_t first = 0;
    static constexpr std::string_view declares[] = {"export", "local", "readonly", "declare", "set", "unset"};
    while (first < words.size() && std::ranges::find(declares, words[first].text) != std::end(declares)) ++first;
    std::map<std::string, std::string> env;
    std::size_t at = first;
    for (; at < words.size(); ++at) {
      const auto equals = words[at].text.find('=');
      if (equals == std::string::npos || !is_name(words[at].text.substr(0, equals))) break;
      if (!words[at].text.ends_with("=(...)"))
        env[words[at].text.substr(0, equals)] = words[at].text.substr(equals + 1);
    }
    if (at == words.size()) {
      for (const auto& [name, value] : env)
        if (value.size() < kLongestValue) variables_[name] = {value};
      return;
    }
    serve(words, env);
  }

  void serve(const std::vector<ShellWord>& words, std::map<std::string, std::string> env) {
    StartCommand c;
    for (std::size_t i = 0; i < words.size(); ++i) {
      const auto& w = words[i].text;
      const auto equals = w.find('=');
      if (equals != std::string::npos && is_name(w.substr(0, equals))) env[w.substr(0, equals)] = w.substr(equals + 1);
      if (w.find("vllm-openai") != std::string::npos || w.find("/vllm:") != std::string::npos) {
        c.image = w;
        if (i + 1 < words.size() && words[i + 1].text != "vllm" && !words[i + 1].text.ends_with("sh"))
          return keep(c, words, i + 1, words[i].line, env);
      }
      const bool binary = w == "vllm" || w.ends_with("/vllm");
      if (binary && i + 1 < words.size() && words[i + 1].text == "serve")
        return keep(c, words, i + 2, words[i].line, env);
      if (w == "vllm.entrypoints.openai.api_server") return keep(c, words, i + 1, words[i].line, env);
      if (w.find("vllm serve") != std::string::npos) return nested(w, words[i].line, words);
    }
  }

  void keep(StartCommand c, const std::vector<ShellWord>& words, std::size_t from, int line,
            const std::map<std::string, std::string>& env) {
    c.file = file_;
    c.line = line;
    c.form = "shell";
    c.env = env;
    for (const auto& [name, value] : variables_)
      if (name.starts_with("VLLM_") && value.size() == 1) c.env.emplace(name, value[0]);
    for (std::size_t i = from; i < words.size(); ++i) c.words.push_back({words[i].text, words[i].line});
    c.name = srun(words);
    found_.push_back(std::move(c));
  }

  /// "srun": on every node; "srun 1": on one; "": not by srun.
  static std::string srun(const std::vector<ShellWord>& words) {
    if (words.empty() || words[0].text != "srun") return "";
    for (std::size_t i = 1; i < words.size() && words[i].text != "vllm" && words[i].text != "bash"; ++i)
      for (const char* one : {"-w", "--nodelist", "-N1", "--nodes=1"})
        if (words[i].text.starts_with(one) ||
            (words[i].text == "-N" && i + 1 < words.size() && words[i + 1].text == "1"))
          return "srun 1";
    return "srun";
  }

  /// A script inside of a word or a here-document.
  void nested(const std::string& script, int line, const std::vector<ShellWord>& words) {
    if (depth_ == kDeepestScript) return;
    Shell inner(script, file_, variables_, line);
    inner.depth_ = depth_ + 1;
    for (auto& c : inner.run()) {
      c.name = srun(words);
      for (const auto& w : words)
        if (w.text.find("vllm-openai") != std::string::npos) c.image = w.text;
      found_.push_back(std::move(c));
    }
  }

  int turns_ = 0, depth_ = 0;
  bool pattern_ = false;  ///< the next thing of a case is a pattern
  std::vector<Branch> branches_;
  std::vector<Loop> loops_;
  std::vector<StartCommand> found_;
};

/// Of "#SBATCH --nodes=2", "#SBATCH -N 2"; 0 if the script is none of Slurm's.
int slurm_nodes(const std::string& text) {
  int nodes = 0;
  for (const auto& line : split(text, '\n')) {
    if (!line.starts_with("#SBATCH")) continue;
    nodes = std::max(nodes, 1);
    for (const char* flag : {"--nodes=", "--nodes ", "-N "})
      if (const auto at = line.find(flag); at != std::string::npos) {
        std::int64_t n = 0;
        const auto from = at + std::string_view(flag).size();
        if (parse_number(line.substr(from, line.find_first_not_of("0123456789", from) - from), n) && n > 0 && n <= 4096)
          nodes = static_cast<int>(n);
      }
  }
  return nodes;
}

}  // namespace

std::vector<StartCommand> read_shell(const std::string& text, const std::string& file, const Variables& variables,
                                     int first_line) {
  const int nodes = first_line == 1 ? slurm_nodes(text) : 0;
  if (!nodes) return Shell(text, file, variables, first_line).run();
  std::vector<StartCommand> all;
  int alone = 0;  // commands that srun starts on one node each
  for (int node = 0; node < nodes; ++node) {
    Variables at_node = variables;
    at_node["SLURM_NNODES"] = at_node["SLURM_JOB_NUM_NODES"] = {std::to_string(nodes)};
    at_node["SLURM_NODEID"] = at_node["SLURM_PROCID"] = {std::to_string(node)};
    for (auto& c : Shell(text, file, at_node, 1).run()) {
      if (node > 0 && c.name != "srun") continue;  // the batch script itself runs on the first node
      c.form = "Slurm";
      c.node = c.name == "srun 1" ? alone++ : node;
      c.name.clear();
      all.push_back(std::move(c));
    }
  }
  return all;
}

}  // namespace shardwise
