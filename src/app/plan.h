#pragma once
// The main job as one value -> value function: a model, a cluster, a workload and a goal in; ranked plans, reasons and
// launch commands out. Silent: rendering is src/report, printing src/cli.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/answer.h"

namespace shardwise {

/// The model as the arguments make it: `model` itself, or with --hf-overrides applied and its weights quantised while
/// they are loaded (--quantization). Applying them twice changes nothing. Throws InputError if the overrides are no
/// object or leave a config that cannot be read.
std::shared_ptr<const Model> launched_model(const std::shared_ptr<const Model>& model, const EngineArgs& args,
                                            VllmVersion version);

/// What the answer cannot take into account, or takes for granted: of the version, the GPUs and the arguments.
std::vector<std::string> notes_of(const EngineArgs& args, const Cluster& cluster, VllmVersion version);

/// --hf-overrides among the pinned arguments change the model; answer.request.model is the changed one. Throws
/// InputError on contradictory pins or a request that vLLM refuses whatever the layout.
PlanAnswer make_plan(const PlanRequest& request);

/// The search that make_plan runs, of request.model as it is; `request` must outlive it.
SearchRequest search_request(const PlanRequest& request, std::vector<Assumption>* assumptions);

/// Of how many shapes the simulator decides: the number asked for, else 10 where that is quick, else none.
std::size_t simulated_finalists(const PlanRequest& request, const SearchResult& screened);

/// Launch commands of any plan of the answer.
std::vector<LaunchCommand> launch_plan(const PlanRequest& request, const Plan& plan);

/// Launch files of any plan, by name below the target directory (docs/launch.md).
std::map<std::string, std::string> launch_files_of(const PlanRequest& request, const Plan& plan);

/// InputError if `question` is none.
void expect_why_not(const std::string& question);
WhyNot why_not(const PlanAnswer& answer, const std::string& question);

}  // namespace shardwise
