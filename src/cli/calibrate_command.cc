#include "app/calibrate.h"
#include "base/input_error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "config/text_source.h"
#include "config/write_file.h"
#include "report/report.h"

namespace shardwise {
namespace {

struct CalibrateOptions {
  std::string model, gpus, vllm, out;
  std::vector<std::string> benches, logs;
  bool json = false;
};

int run_calibrate(const CalibrateOptions& o, const std::vector<std::string>& flags) {
  CheckRequest request;
  if (!o.vllm.empty()) request.vllm_version = parse_vllm_version(o.vllm);
  request.args = parse_vllm_flags(flags, request.vllm_version);
  request.model_spec = o.model;
  request.model = model_of(o.model);
  request.cluster = load_cluster(o.gpus);
  request.workload.isl = parse_length("1024", "--isl");
  request.workload.osl = parse_length("256", "--osl");
  std::vector<BenchResult> benches;
  for (const auto& file : o.benches) benches.push_back(read_bench_result(read_file(file), file));
  std::vector<StartupLog> logs;
  for (const auto& file : o.logs) logs.push_back(read_startup_log(read_file(file), file));
  CalibrationAnswer answer;
  {
    Progress progress("calibrating " + request.model->name);
    answer = calibrate_command(request, benches, logs);
  }
  QuestionOptions terminal;
  const auto text = calibration_text(answer.calibration);
  const Style style = terminal.style();
  if (!o.out.empty()) write_file(o.out, text);
  print(o.json ? calibration_json(answer) : calibration_answer_text(answer, style), style);
  if (o.out.empty() && !o.json) print("\n" + text);
  return kExitFound;
}

}  // namespace

Handler add_calibrate(Command command, const std::vector<std::string>& vllm) {
  auto o = std::make_shared<CalibrateOptions>();
  command.option("model", o->model, "the model that was measured").required();
  command.option("--gpus", o->gpus, "the cluster that was measured").required();
  command.option("--bench", o->benches, "result of vllm bench serve --save-result; several may be given");
  command.option("--log", o->logs, "vLLM's log from its start; several may be given");
  command.option("-o,--out", o->out, "write the calibration here; otherwise it is printed");
  command.option("--vllm", o->vllm, "vLLM version").shown_default(to_string(kDefaultVllmVersion));
  command.flag("--json", o->json, "machine-readable answer");
  command.footer(
      "shardwise calibrate Qwen3-32B --gpus 2xH100 --bench c4.json --log serve.log -o mine.yaml -- -tp 2\n"
      "Behind -- stand the flags of the measured server. Then: shardwise plan ... --calibration mine.yaml");
  return [o, &vllm] { return run_calibrate(*o, vllm); };
}

}  // namespace shardwise
