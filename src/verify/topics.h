#pragma once
// The topics that `verify` knows, each in the file of its name (docs/formats/verify.md).
#include "verify/verify.h"

namespace shardwise {

VerifyTopic kv_topic();        ///< KV-cache specs and plans, of models or of given specs
VerifyTopic schedule_topic();  ///< traces of vLLM's scheduler: every step, request outcome and prefix-cache count
VerifyTopic weights_topic();   ///< per-rank parameters and buffers
VerifyTopic legality_topic();
VerifyTopic ranks_topic();    ///< placement.cc
VerifyTopic experts_topic();  ///< placement.cc
VerifyTopic eplb_topic();
VerifyTopic kernels_topic();
VerifyTopic arguments_topic();
VerifyTopic adapters_topic();   ///< weight_options.cc
VerifyTopic offloaded_topic();  ///< weight_options.cc

}  // namespace shardwise
