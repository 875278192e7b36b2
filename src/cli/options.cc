#include "cli/options.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/input_error.h"
#include "cli/output.h"
#include "config/hub.h"
#include "config/ranges.h"
#include "config/text_source.h"
#include "hardware/prices.h"
#include "model/load.h"
#include "workload/options.h"

namespace shardwise {
namespace {

/// prefix_groups -> --prefix-groups
std::string flag_of(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

/// Lengths that nobody gave, in the same proportion, are as long as the model takes at most.
void bend_lengths(Workload& w, bool isl_given, bool osl_given, std::int64_t longest) {
  const auto isl = w.isl.max(), osl = w.osl.max();
  if (longest < 2 || isl + osl <= longest || (isl_given && osl_given)) return;
  const auto tokens = [](std::int64_t n) { return parse_length(std::to_string(n), "model"); };
  if (isl_given && longest > isl) w.osl = tokens(longest - isl);
  if (osl_given && longest > osl) w.isl = tokens(longest - osl);
  if (isl_given || osl_given) return;
  w.osl = tokens(std::max<std::int64_t>(1, longest * osl / (isl + osl)));
  w.isl = tokens(longest - w.osl.max());
}

}  // namespace

std::int64_t longest_request(const Model& model, const EngineArgs& args) {
  return args.max_model_len && *args.max_model_len > 0 ? *args.max_model_len : model.default_max_model_len;
}

void QuestionOptions::add_to(Command& command, bool model_positional, Gpus kind) {
  const auto add = [&](Option option) { return kind == Gpus::optional ? option : option.required(); };
  if (model_positional) add(command.option("model", model, "bundled name, hub id, directory or config.json"));
  if (kind != Gpus::own)
    add(command.option("--gpus", gpus, "8xH100, 2x8xH200, 2xp5.48xlarge, or a cluster file (.yaml)"));
  command.option("--price", price, "USD per GPU-hour: 2.5, or by kind: H100=2.5,H200=3.4");
  command.option("--memory-taken", memory_taken, "held by others on each GPU when vLLM starts (a desktop): 4GiB");
  command.option("--workload", workload_file, "file with any of the options below, e.g. isl: 1024 (.yaml)")
      .group("Workload");
  for (const auto& option : workload_options())
    command.option(flag_of(option.name), workload[option.name], option.doc).one_value_each().group("Workload");
  command
      .flag("--as-benchmark", as_benchmark,
            "count the opening burst and the end too, as vllm bench serve does; default: the steady state")
      .group("Workload");
  command.option("--goal", goal, "throughput, latency, cost or balanced").shown_default("balanced");
  command.option("--calibration", calibration, "file of shardwise calibrate: predictions of the measured machine");
  command.option("--vllm", vllm, "vLLM version").shown_default(to_string(kDefaultVllmVersion));
  command.option("--threads", threads, "worker threads; the answer does not depend on it").between(0, 1024);
  command.flag("--json", json, "machine-readable answer (docs/formats)");
  command.option("--color", color, "auto, always or never").one_of({"auto", "always", "never"});
}

Style QuestionOptions::style() const {
  Style style;
  const bool tty = isatty(STDOUT_FILENO) != 0;
  const char* no_color = std::getenv("NO_COLOR");
  style.color = color == "always" || (color == "auto" && tty && !(no_color && *no_color));
  std::int64_t width = 0;
  if (const char* columns = std::getenv("COLUMNS"); columns && parse_number(columns, width) && width > 20)
    style.width = static_cast<int>(std::min<std::int64_t>(width, 10'000));
  else if (winsize size{}; tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
    style.width = size.ws_col;
  else
    style.width = 140;
  return style;
}

Workload workload_of(const QuestionOptions& o, std::int64_t longest, std::vector<Assumption>* assumed) {
  std::vector<WorkloadPart> parts;
  if (!o.workload_file.empty()) parts = read_workload_parts(read_file(o.workload_file), o.workload_file);
  for (const auto& option : workload_options())
    for (const auto& value : o.workload.at(option.name))
      parts.push_back({option.name, value, {flag_of(option.name), 0, ""}});
  Workload w = build_workload(parts);
  w.as_benchmark = o.as_benchmark;
  const auto given = [&](std::string_view name) {
    return std::any_of(parts.begin(), parts.end(), [&](const WorkloadPart& p) { return p.name == name; });
  };
  if (!w.trace) bend_lengths(w, given("isl"), given("osl"), longest);
  if (!assumed) return w;
  if (!w.trace && !given("isl")) assumed->push_back({"isl", to_string(w.isl), "no --isl given"});
  if (!w.trace && !given("osl")) assumed->push_back({"osl", to_string(w.osl), "no --osl given"});
  if (!w.trace && !w.concurrency && !w.request_rate)
    assumed->push_back(
        {"load", o.goal == "latency" ? "one user" : "each plan at its best", "no --concurrency or --rate given"});
  if (o.goal.empty()) assumed->push_back({"goal", "balanced", "no --goal given"});
  return w;
}

void CommandOptions::add_to(Command& command, bool needed) {
  question.add_to(command, true, needed ? QuestionOptions::Gpus::needed : QuestionOptions::Gpus::optional);
  command.option("--env", env, "environment variable of the command: VLLM_PP_LAYER_PARTITION=20,20");
}

std::vector<std::string> behind_model(const std::string& model, const std::vector<std::string>& vllm_flags) {
  auto words = vllm_flags;
  if (!words.empty() && words.front().starts_with('-')) words.insert(words.begin(), model);
  return words;
}

Environment environment_of(const CommandOptions& o) {
  Environment env;
  for (const auto& text : o.env) {
    const auto at = text.find('=');
    if (at == std::string::npos) throw InputError("--env", 0, "", "'" + text + "' has no value", "NAME=VALUE");
    env[text.substr(0, at)] = text.substr(at + 1);
  }
  return env;
}

CheckRequest check_request_of(const CommandOptions& o, const std::vector<std::string>& vllm_flags) {
  const QuestionOptions& q = o.question;
  for (const auto& [name, value] : {std::pair("model", q.model), {"--gpus", q.gpus}})
    if (value.empty()) throw InputError("", 0, "", std::string(name) + " is required", "shardwise COMMAND --help");
  CheckRequest request;
  if (!q.vllm.empty()) request.vllm_version = parse_vllm_version(q.vllm);
  request.args = parse_or_refuse(behind_model(q.model, vllm_flags), request.vllm_version);
  if (request.args.model == q.model) request.args.model.reset();
  request.model_spec = q.model;
  request.model = model_of(q.model);
  request.cluster = cluster_of(q);
  request.calibration = calibration_of(q, *request.model, request.cluster);
  // VLLM_* variables that change what vLLM does: the command would see them too.
  request.env = environment_of(o);
  request.workload = workload_of(q, longest_request(*request.model, request.args), nullptr);
  request.goal = q.goal.empty() ? Goal::balanced : parse_goal(q.goal, "--goal");
  request.threads = q.threads;
  return request;
}

Cluster cluster_of(const QuestionOptions& o) {
  Cluster cluster = load_cluster(o.gpus);
  const std::string flag = "--memory-taken";
  if (!o.price.empty()) set_prices(cluster, o.price, "--price");
  if (!o.memory_taken.empty())
    take_memory(cluster, parse_bytes(o.memory_taken, {flag, 0, ""}, ranges::memory_taken), flag);
  return cluster;
}

std::shared_ptr<const Model> model_of(const std::string& spec) {
  DiskSource disk;
  HubSource hub(hub_options_from_environment());
  return std::make_shared<const Model>(load_model(spec, disk, &hub));
}

std::shared_ptr<const Calibration> calibration_of(const QuestionOptions& o, const Model& model, Cluster& cluster) {
  if (o.calibration.empty()) return nullptr;
  auto c = std::make_shared<const Calibration>(read_calibration(read_file(o.calibration), o.calibration));
  apply_calibration(cluster, *c, model.shape_name());
  return c;
}

struct Progress::State {
  std::mutex mutex;
  std::condition_variable done;
  bool finished = false;
  std::thread thread;
};

Progress::Progress(std::string what) : state_(std::make_unique<State>()) {
  const auto watch = [this, what = std::move(what)] {
    std::unique_lock lock(state_->mutex);
    int seconds = 0;
    while (!state_->done.wait_for(lock, std::chrono::seconds(1), [this] { return state_->finished; }))
      tell(what + ", " + std::to_string(++seconds) + " s");
  };
  try {
    state_->thread = std::thread(watch);
  } catch (const std::system_error&) {  // no thread to be had: silent
  }
}

Progress::~Progress() {
  {
    std::lock_guard lock(state_->mutex);
    state_->finished = true;
  }
  state_->done.notify_all();
  if (state_->thread.joinable()) state_->thread.join();
}

}  // namespace shardwise
