#include "verify/topics.h"

#include "config/json.h"

namespace shardwise {

const std::vector<VerifyTopic>& verify_topics() {
  static const std::vector<VerifyTopic> topics = {
      kv_topic(),   schedule_topic(), weights_topic(),   legality_topic(), ranks_topic(),    experts_topic(),
      eplb_topic(), kernels_topic(),  arguments_topic(), adapters_topic(), offloaded_topic()};
  return topics;
}

}  // namespace shardwise
