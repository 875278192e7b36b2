#pragma once
// The tables of docs/accuracy.md: errors of predictions whose group, or model, the fit had no part in, beside another
// predictor's on the same rows, and the layouts picked.
#include <string>
#include <vector>

#include "fit_rows.h"

namespace shardwise {

/// `baseline`, `ranking`: files of the other predictor's figures and of the layouts measured at one load; "" = none.
std::string accuracy_report(const std::vector<Row>& rows, const std::vector<Predicted>& group_out,
                            const std::vector<Predicted>& model_out, const std::string& baseline,
                            const std::string& ranking);

}  // namespace shardwise
