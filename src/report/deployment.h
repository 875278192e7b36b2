#pragma once
#include "app/check_deployment.h"
#include "report/table.h"

namespace shardwise {

std::string deployment_text(const DeploymentAnswer& answer, const Style& style);
std::string deployment_json(const DeploymentAnswer& answer);  ///< docs/formats/schema/deployment.schema.json

}  // namespace shardwise
