// The trace file against the Trace Event Format: what Perfetto's importer needs of every event.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "config/json.h"
#include "sim/linear_step.h"
#include "sim/simulate.h"

namespace shardwise {
namespace {

Json trace_of(const SimulationConfig& config) {
  Workload w;
  w.isl.a = w.isl.b = 200;
  w.osl.a = w.osl.b = 20;
  w.concurrency = 24;
  return parse_json(perfetto_trace(simulate(config, w, LinearStep{}, 1)), "trace.json");
}

void check_events(const Json& trace) {
  using Thread = std::pair<int, int>;
  std::set<Thread> named_threads, threads;
  std::set<int> named_processes, processes;
  std::map<Thread, double> slice_end;
  std::map<std::pair<int, int>, std::vector<std::pair<std::string, double>>> open;  // process, id -> names, starts
  int steps = 0;
  for (const Json& e : trace.at("traceEvents")) {
    SCOPED_TRACE(e.dump());
    const auto ph = e.at("ph").get<std::string>();
    const double ts = e.at("ts").get<double>();
    const int pid = e.at("pid").get<int>(), tid = e.at("tid").get<int>();
    ASSERT_FALSE(e.at("name").get<std::string>().empty());
    ASSERT_GE(ts, 0);
    if (ph == "M") {
      const auto what = e.at("name").get<std::string>();
      ASSERT_TRUE(what == "process_name" || what == "thread_name");
      ASSERT_FALSE(e.at("args").at("name").get<std::string>().empty());
      if (what == "process_name")
        named_processes.insert(pid);
      else
        named_threads.insert({pid, tid});
      continue;
    }
    processes.insert(pid);
    if (ph == "X") {
      ++steps;
      threads.insert({pid, tid});
      ASSERT_GE(e.at("dur").get<double>(), 0);
      auto& end = slice_end[{pid, tid}];
      ASSERT_GE(ts, end - 1e-3);  // one after the other: slices of a thread may nest but not cross
      end = ts + e.at("dur").get<double>();
    } else if (ph == "C") {
      ASSERT_FALSE(e.at("args").empty());
      for (const auto& [series, value] : e.at("args").items()) ASSERT_TRUE(value.is_number());
    } else if (ph == "b" || ph == "e") {
      ASSERT_TRUE(e.at("cat").is_string());
      auto& stack = open[{pid, e.at("id").get<int>()}];
      if (ph == "b") {
        stack.emplace_back(e.at("name").get<std::string>(), ts);
      } else {
        ASSERT_FALSE(stack.empty());
        ASSERT_EQ(stack.back().first, e.at("name").get<std::string>());
        ASSERT_GE(ts, stack.back().second);
        stack.pop_back();
      }
    } else {
      FAIL() << "phase " << ph;
    }
  }
  for (const auto& [id, stack] : open) EXPECT_TRUE(stack.empty());
  for (const auto& t : threads) EXPECT_TRUE(named_threads.count(t)) << t.first << ":" << t.second;
  for (const int p : processes) EXPECT_TRUE(named_processes.count(p)) << p;
  EXPECT_GT(steps, 50);
}

TEST(Perfetto, EveryEventIsComplete) {
  SimulationConfig c;
  c.num_requests = 60;
  c.record_steps = 10'000;
  check_events(trace_of(c));
  c.scheduler.pipeline_parallel_size = 4;  // several batches at once
  c.scheduler.async_scheduling = true;
  check_events(trace_of(c));
  c.scheduler.pipeline_parallel_size = 1;
  c.data_parallel_size = 4;
  c.lockstep = true;
  check_events(trace_of(c));
  DisaggregationConfig d;
  d.prefill_scheduler = c.scheduler;
  d.prefill_engines = 2;
  d.kv_bytes_per_token = Bytes(1000);
  d.bandwidth = BytesPerSecond(1e9);
  c.disaggregation = d;
  check_events(trace_of(c));
}

}  // namespace
}  // namespace shardwise
