#include "config/json.h"
#include "verify/eplb.h"
#include "verify/kv.h"
#include "verify/legality.h"
#include "verify/placement.h"
#include "verify/schedule.h"
#include "verify/verify.h"
#include "verify/weights.h"

namespace shardwise {

const std::vector<VerifyTopic>& verify_topics() {
  static const std::vector<VerifyTopic> topics = {verify_kv_topic(), verify_schedule_topic(), weights_topic(),
                                                  legality_topic(),  ranks_topic(),           experts_topic(),
                                                  eplb_topic()};
  return topics;
}

}  // namespace shardwise
