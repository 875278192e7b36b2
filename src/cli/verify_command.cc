#include "base/text.h"
#include "cli/command.h"
#include "cli/output.h"
#include "verify/serving.h"
#include "verify/startup.h"
#include "verify/verify.h"

namespace shardwise {

Handler add_verify(Command command, const std::vector<std::string>&) {
  auto o = std::make_shared<VerifyOptions>();
  command.option("topic", o->topic, "what the file records").required();
  command.option("file", o->file, "recorded cases, one JSON object a line").required().existing_file();
  command.option("--models", o->models_dir, "folder with NAME/config.json for models that the cases name");
  command.option("--predictions", o->predictions, "write {\"id\", \"predict\"} lines here");
  auto method = std::make_shared<std::string>("simulator");
  command.option("--method", *method, "serving: how a run is predicted (default simulator)")
      .one_of({"simulator", "replay", "closed-form"});
  auto version = std::make_shared<std::string>();
  command.option("--vllm", *version, "vLLM version of cases that do not name theirs")
      .shown_default(to_string(kRecordedVllmVersion));
  command.flag("--json", o->json, "summary as JSON");
  command.option("--threads", o->threads, "worker threads").between(0, 1024);
  std::vector<std::string> topics;
  for (const auto& topic : verify_topics()) topics.push_back(topic.name);
  command.footer("Topics: " + join(topics, ", ") + " (JSON lines); serving, startup (CSV).");
  return [o, method, version] {
    if (!version->empty()) o->version = parse_vllm_version(*version);
    if (o->topic == "startup") {
      const auto r = verify_startup(o->file, o->models_dir, o->predictions);
      print(r.text);
      return r.exit_code;
    }
    if (o->topic == "serving") {
      const auto r = verify_serving({o->file, o->predictions,
                                     *method == "replay"        ? ServingMethod::replay
                                     : *method == "closed-form" ? ServingMethod::closed_form
                                                                : ServingMethod::simulator,
                                     o->threads});
      print(r.text);
      return r.exit_code;
    }
    const auto summary = verify(*o);
    print(o->json ? to_json_text(summary) : to_text(summary));
    return summary.all_agree() ? kExitFound : kExitNo;
  };
}

}  // namespace shardwise
