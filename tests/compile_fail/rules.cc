// A refusal names a row of the rules.
#include "parallel/rules.h"

using namespace shardwise;

void rules_are_rows() {
  const Refusal refusal = refuse("memory_weights", "too large");
  (void)refusal.is("memory_weights");
#ifdef CASE_an_id_that_is_no_row
  (void)refuse("memory_wieghts", "too large");
#endif
#ifdef CASE_asked_for_an_id_that_is_no_row
  (void)refusal.is("memory");
#endif
#ifdef CASE_a_refusal_without_a_rule
  (void)Refusal();
#endif
#ifdef CASE_a_refusal_by_a_rule_made_up_here
  constexpr Rule made_up{"made_up", Phase::memory, "here", "text", "instead"};
  (void)Refusal(made_up, "too large");
#endif
}
