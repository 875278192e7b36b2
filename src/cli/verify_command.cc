#include <cstdio>

#include "app/verify.h"
#include "app/verify_serving.h"
#include "app/verify_startup.h"
#include "cli/commands.h"

namespace shardwise {

void add_verify_command(CLI::App& app, const CommandLine&, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand("verify", "compares predictions with recorded cases; exit code 0 only if all agree");
  auto o = std::make_shared<VerifyOptions>();
  sub->add_option("topic", o->topic, "what the file records")->required();
  sub->add_option("file", o->file, "recorded cases, one JSON object a line")->required()->check(CLI::ExistingFile);
  sub->add_option("--models", o->models_dir, "folder with NAME/config.json for models that the cases name");
  sub->add_option("--predictions", o->predictions, "write {\"id\", \"predict\"} lines here");
  auto method = std::make_shared<std::string>("simulator");
  sub->add_option("--method", *method, "serving: how a run is predicted (default simulator)")
      ->check(CLI::IsMember({"simulator", "replay", "closed-form"}));
  sub->add_flag("--json", o->json, "summary as JSON");
  sub->add_option("--threads", o->threads, "worker threads");
  sub->footer("Topics: kv, legality, ranks, experts, eplb, weights, schedule (JSON lines); serving, startup (CSV).");
  handlers.push_back([o, method] {
    if (o->topic == "startup") {
      const auto r = run_verify_startup(o->file, o->models_dir, o->predictions);
      std::fputs(r.text.c_str(), stdout);
      return r.exit_code;
    }
    if (o->topic == "serving") {
      const auto r = verify_serving({o->file, o->predictions,
                                     *method == "replay"        ? ServingMethod::replay
                                     : *method == "closed-form" ? ServingMethod::closed_form
                                                                : ServingMethod::simulator,
                                     o->threads});
      std::fputs(r.text.c_str(), stdout);
      return r.exit_code;
    }
    const auto summary = verify(*o);
    std::fputs((o->json ? to_json_text(summary) : to_text(summary)).c_str(), stdout);
    return summary.all_agree() ? kExitFound : kExitNo;
  });
}

}  // namespace shardwise
