#pragma once
// What no measurement covers makes intervals wider: one row a circumstance.
#include <span>

#include "cost/compiled_step.h"

namespace shardwise {

/// What a row may ask about.
struct WideningCase {
  const Model& model;
  const EngineConfig& engine;
  const StepLayout& layout;
  const std::vector<AttentionOp>& attention;
  int nodes = 1;               ///< that a TP or EP group spans
  bool routing_known = false;  ///< RoutingRow of this model
  bool calibrated = false;     ///< by measurements of this machine
};

struct WideningRow {
  bool (*when)(const WideningCase&);
  double factor;    ///< on the half width in ln
  const char* why;  ///< for the answer; "" = nothing to say
};
std::span<const WideningRow> widening_rows();

/// Lays every row that applies over what the kernels' kinship says (KernelKin::widen and ::reason, already in `band`).
void widen(BandSource& band, const WideningCase& c);

}  // namespace shardwise
