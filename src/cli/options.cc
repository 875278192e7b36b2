#include "cli/options.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "base/input_error.h"
#include "config/hub.h"
#include "config/text_source.h"
#include "model/load.h"

namespace shardwise {

void QuestionOptions::add_to(CLI::App& app, bool model_positional) {
  if (model_positional) app.add_option("model", model, "bundled name, hub id, directory or config.json")->required();
  app.add_option("--gpus", gpus, "8xH100, 2x8xH200, 4xRTX4090, or a cluster file (.yaml)")->required();
  app.add_option(
      "--isl", isl,
      "prompt tokens: 1024, uniform[800,1200], lognormal[mean=1024,sigma=0.6], percentiles[p50=900,p99=8000]");
  app.add_option("--osl", osl, "output tokens, in the same forms");
  app.add_option("--concurrency", concurrency, "requests in flight on the whole deployment (closed loop)")
      ->check(CLI::PositiveNumber);
  app.add_option("--rate", rate, "requests per second on the whole deployment (open loop)")->check(CLI::PositiveNumber);
  app.add_option("--burstiness", burstiness, "shape of the gaps between requests, as in vllm bench serve; 1 = Poisson")
      ->check(CLI::PositiveNumber);
  app.add_option("--prefix-share", prefix_share, "share of each prompt that requests have in common, 0 to 1")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--prefix-groups", prefix_groups, "how many different such prefixes there are")
      ->check(CLI::PositiveNumber);
  app.add_option("--trace", trace, "file of requests: JSONL, Mooncake JSONL or Azure CSV; replaces lengths and load");
  app.add_option("--ttft", ttft, "SLO on time to first token: 500ms, p99<2s");
  app.add_option("--tpot", tpot, "SLO on time per output token: 30ms, p95<50ms");
  app.add_option("--e2e", e2e, "SLO on the whole request: 10s, p90<20s");
  app.add_option("--slo", slos, "SLO in full: ttft:p99<500ms");
  app.add_option("--goal", goal, "throughput, latency, cost or balanced")->default_str("balanced");
  app.add_option("--calibration", calibration, "file of shardwise calibrate: predictions of the measured machine");
  app.add_option("--vllm", vllm, "vLLM version")->default_str("0.32.0");
  app.add_option("--threads", threads, "worker threads; the answer does not depend on it");
  app.add_flag("--json", json, "machine-readable answer (docs/formats)");
  app.add_option("--color", color, "auto, always or never")->check(CLI::IsMember({"auto", "always", "never"}));
}

Style QuestionOptions::style() const {
  Style style;
  const bool tty = isatty(STDOUT_FILENO) != 0;
  const char* no_color = std::getenv("NO_COLOR");
  style.color = color == "always" || (color == "auto" && tty && !(no_color && *no_color));
  if (const char* columns = std::getenv("COLUMNS"); columns && std::atoi(columns) > 20)
    style.width = std::atoi(columns);
  else if (winsize size{}; tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
    style.width = size.ws_col;
  else
    style.width = 140;
  return style;
}

namespace {
/// "500ms" -> "ttft:mean<500ms", "p99<2s" -> "ttft:p99<2s".
std::string full_slo(const char* metric, const std::string& text) {
  return std::string(metric) + ":" + (text.find('<') == std::string::npos ? "mean<" + text : text);
}
}  // namespace

Workload workload_of(const QuestionOptions& o, std::vector<Assumption>* assumed) {
  const auto assume = [&](const char* name, const std::string& value, const char* why) {
    if (assumed) assumed->push_back({name, value, why});
  };
  Workload w;
  if (!o.trace.empty()) {
    for (const auto& [name, given] :
         {std::pair{"--isl", !o.isl.empty()}, {"--osl", !o.osl.empty()}, {"--concurrency", o.concurrency > 0}})
      if (given)
        throw InputError("--trace", 0, "", std::string("a trace already says what ") + name + " says",
                         std::string("leave out ") + name);
    w = workload_of(std::make_shared<const Trace>(read_trace(read_file(o.trace), o.trace)));
    if (o.rate > 0) w.request_rate = o.rate;
  } else {
    w.isl = parse_length(o.isl.empty() ? "1024" : o.isl, "--isl");
    w.osl = parse_length(o.osl.empty() ? "256" : o.osl, "--osl");
    if (o.isl.empty()) assume("isl", "1024", "no --isl given");
    if (o.osl.empty()) assume("osl", "256", "no --osl given");
    if (o.concurrency > 0) w.concurrency = o.concurrency;
    if (o.rate > 0) w.request_rate = o.rate, w.arrivals = o.burstiness == 1 ? Arrivals::poisson : Arrivals::gamma;
    w.burstiness = o.burstiness;
    if (o.concurrency == 0 && o.rate == 0)
      assume("load", "every load, and one user for the goal latency", "no --concurrency or --rate given");
  }
  w.prefix_share = o.prefix_share;
  w.prefix_groups = o.prefix_groups;
  for (const auto& text : o.ttft) w.slos.push_back(parse_slo(full_slo("ttft", text), "--ttft"));
  for (const auto& text : o.tpot) w.slos.push_back(parse_slo(full_slo("tpot", text), "--tpot"));
  for (const auto& text : o.e2e) w.slos.push_back(parse_slo(full_slo("e2e", text), "--e2e"));
  for (const auto& text : o.slos) w.slos.push_back(parse_slo(text, "--slo"));
  if (o.goal.empty()) assume("goal", "balanced", "no --goal given");
  return w;
}

std::shared_ptr<const Model> model_of(const std::string& spec) {
  DiskSource disk;
  HubSource hub(hub_options_from_environment());
  return std::make_shared<const Model>(load_model(spec, disk, &hub));
}

std::shared_ptr<const Calibration> calibration_of(const QuestionOptions& o, const Model& model, Cluster& cluster) {
  if (o.calibration.empty()) return nullptr;
  auto c = std::make_shared<const Calibration>(read_calibration(read_file(o.calibration), o.calibration));
  apply_calibration(cluster, *c, model.name);
  return c;
}

struct Progress::State {
  std::mutex mutex;
  std::condition_variable done;
  bool finished = false;
  std::thread thread;
};

Progress::Progress(std::string what) : state_(std::make_unique<State>()) {
  state_->thread = std::thread([this, what = std::move(what)] {
    std::unique_lock lock(state_->mutex);
    int seconds = 0;
    while (!state_->done.wait_for(lock, std::chrono::seconds(1), [this] { return state_->finished; }))
      std::fprintf(stderr, "shardwise: %s, %d s\n", what.c_str(), ++seconds);
  });
}

Progress::~Progress() {
  {
    std::lock_guard lock(state_->mutex);
    state_->finished = true;
  }
  state_->done.notify_all();
  state_->thread.join();
}

}  // namespace shardwise
