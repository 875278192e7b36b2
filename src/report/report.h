#pragma once
// Values -> text and JSON. Computes nothing that is not already in the value.
#include <string>

#include "app/answer.h"
#include "app/compare.h"
#include "app/place.h"
#include "app/simulation.h"
#include "report/table.h"

namespace shardwise {

std::string plan_text(const PlanAnswer& answer, const Style& style, std::size_t shown_plans = 10);
std::string plan_json(const PlanAnswer& answer);  ///< docs/formats/plan.md
std::string comparison_text(const CompareAnswer& answer, const Style& style);
std::string comparison_json(const CompareAnswer& answer);  ///< docs/formats/plan.md
std::string why_not_text(const WhyNot& answer, const Style& style);
std::string check_text(const CheckAnswer& answer, const Style& style);
std::string check_json(const CheckAnswer& answer);
/// Does it fit, and how sure is that: one paragraph.
/// What stands before "fits with ..." and the like.
struct FitLead {
  std::string yes, perhaps, no;
};
std::string fit_text(const MemoryPlan& memory, const Style& style, const FitLead& lead = {});
std::string memory_text(const MemoryPlan& memory, const Style& style);
std::string launch_text(const std::vector<LaunchCommand>& launch, const Style& style);
std::string memory_answer_text(const MemoryAnswer& answer, const Style& style);
std::string memory_answer_json(const MemoryAnswer& answer);
std::string estimate_text(const EstimateAnswer& answer, const Style& style);
std::string calibration_answer_text(const CalibrationAnswer& answer, const Style& style);
std::string calibration_json(const CalibrationAnswer& answer);
std::string simulation_text(const SimulateAnswer& answer, const Style& style);
std::string simulation_json(const SimulateAnswer& answer);  ///< docs/formats/plan.md
std::string place_text(const PlaceAnswer& answer, const Style& style);
std::string place_json(const PlaceAnswer& answer);                                  ///< docs/place.md
std::string place_map_json(const PlaceAnswer& answer, const PlacedPolicy& policy);  ///< the map of one that stands

// Pieces that several reports share.
std::string prediction_table(const ServingEstimate& estimate, const Style& style);  ///< means, intervals, p99
std::string model_line(const Model& model);  ///< "70.6 B parameters, dense, 64 heads (8 KV), 80 layers, bfloat16"
std::string model_head(const Model& model, const Style& style);  ///< what vllm serve is given, the line, the remarks
/// `free_load`: what stands for the load where none is given.
std::string workload_line(const Workload& workload, Goal goal, const std::string& free_load);
/// "ttft:p99<2s: 1310 ms (1250 to 1400)": of a simulated run, with the sampling error.
std::string slos_text(const std::vector<SloOutcome>& slos);
std::string cost_text(const Cost& cost);  ///< "20.00 USD/h, 2.99 USD per million output tokens ..."
std::string money_text(double amount);    ///< two decimals, more below 0.1
std::string interval_text(const Interval& value, int decimals);  ///< "12.3 [10.1, 15.0]"

}  // namespace shardwise
