#include "app/verify.h"
#include "app/verify_eplb.h"
#include "app/verify_kv.h"
#include "app/verify_legality.h"
#include "app/verify_placement.h"
#include "app/verify_schedule.h"
#include "app/verify_weights.h"
#include "config/json.h"

namespace shardwise {

const std::vector<VerifyTopic>& verify_topics() {
  static const std::vector<VerifyTopic> topics = {verify_kv_topic(), verify_schedule_topic(), weights_topic(),
                                                  legality_topic(),  ranks_topic(),           experts_topic(),
                                                  eplb_topic()};
  return topics;
}

}  // namespace shardwise
