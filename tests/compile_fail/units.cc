// Misuse of units must not compile.
#include "base/units.h"

using namespace shardwise;

void units() {
  const Bytes bytes(100);
  const Seconds seconds(2.0);
  const BytesPerSecond rate(50.0);
  const FlopsPerSecond peak(1e12);
  // What must compile.
  const Seconds time = bytes / rate;
  const double ratio = bytes / bytes;
  const Bytes twice = bytes + bytes * 2;
  (void)time, (void)ratio, (void)twice, (void)seconds, (void)peak;
#ifdef CASE_sum_of_bytes_and_seconds
  (void)(bytes + seconds);
#endif
#ifdef CASE_bytes_from_a_number
  const Bytes wrong = 100;
#endif
#ifdef CASE_number_from_bytes
  const double wrong = bytes;
#endif
#ifdef CASE_bytes_over_flop_rate
  (void)(bytes / peak);
#endif
#ifdef CASE_compare_bytes_and_seconds
  (void)(bytes < seconds);
#endif
#ifdef CASE_rate_times_rate
  (void)(rate * rate);
#endif
#ifdef CASE_dollars_as_seconds
  const Seconds wrong = Dollars(1.0);
#endif
#ifdef CASE_ratio_as_quantity
  const Bytes wrong = bytes / bytes;
#endif
}
