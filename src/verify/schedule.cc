// `verify schedule`: vLLM scheduler traces. The record format is that of docs/simulator.md.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "base/sha256.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "sim/tick_replay.h"
#include "verify/topics.h"

namespace shardwise {
namespace {

constexpr std::int64_t kOutputBase = 1'000'000'000, kOutputStride = 100'000;

template <class T>
void read(const Json& json, const char* key, T& out) {
  if (const Json* value = field_at(json, key)) out = value->get<T>();
}
void read(const Json& json, const char* key, std::optional<int>& out) {
  if (const auto it = json.find(key); it != json.end())
    out = it->is_null() ? std::nullopt : std::optional<int>(it->get<int>());
}

SchedulerConfig::KvGroup read_group(const Json& json) {
  using Kind = SchedulerConfig::KvGroup::Kind;
  SchedulerConfig::KvGroup group;
  const auto type = json.at("type").get<std::string>();
  group.kind = type == "full"             ? Kind::full
               : type == "sliding_window" ? Kind::sliding_window
               : type == "chunked_local"  ? Kind::chunked_local
                                          : Kind::mamba;
  group.block_size = json.at("block_size").get<int>();
  read(json, "sliding_window", group.sliding_window);
  read(json, "attention_chunk_size", group.attention_chunk_size);
  group.mamba_align = json.value("mamba_cache_mode", "none") == "align";
  return group;
}

void read_speculation(const Json& json, TickWorkload& w) {
  using Speculation = SchedulerConfig::Speculation;
  const auto method = json.at("method").get<std::string>();
  w.config.speculation = method == "ngram"         ? Speculation::ngram
                         : method == "draft_model" ? Speculation::draft_model
                                                   : Speculation::eagle;
  w.config.num_speculative_tokens = json.at("num_speculative_tokens").get<int>();
  w.accept = json.at("accept").get<std::vector<int>>();
}

void read_config(const Json& json, TickWorkload& w) {
  SchedulerConfig& c = w.config;
  read(json, "block_size", c.kv_groups[0].block_size);
  if (const auto it = json.find("kv_groups"); it != json.end() && !it->is_null()) {
    c.kv_groups.clear();
    for (const Json& group : *it) c.kv_groups.push_back(read_group(group));
  }
  read(json, "num_blocks", c.num_blocks);
  read(json, "max_model_len", c.max_model_len);
  read(json, "max_num_seqs", c.max_num_seqs);
  read(json, "max_num_batched_tokens", c.max_num_batched_tokens);
  read(json, "max_num_scheduled_tokens", c.max_num_scheduled_tokens);
  read(json, "max_num_active_seqs", c.max_num_active_seqs);
  read(json, "enable_chunked_prefill", c.enable_chunked_prefill);
  read(json, "long_prefill_token_threshold", c.long_prefill_token_threshold);
  read(json, "long_prefill_token_threshold_adaptive", c.long_prefill_token_threshold_adaptive);
  if (json.value("policy", "fcfs") == "priority") c.policy = SchedulerConfig::Policy::priority;
  read(json, "enable_prefix_caching", c.enable_prefix_caching);
  read(json, "scheduler_reserve_full_isl", c.scheduler_reserve_full_isl);
  read(json, "watermark", c.watermark);
  read(json, "prefill_schedule_interval", c.prefill_schedule_interval);
  read(json, "async_scheduling", c.async_scheduling);
  read(json, "pipeline_parallel_size", c.pipeline_parallel_size);
  read(json, "decode_context_parallel_size", c.decode_context_parallel_size);
  read(json, "use_v2_model_runner", c.use_v2_model_runner);
  read(json, "prefix_cache_retention_interval", c.prefix_cache_retention_interval);
  read(json, "prefix_match_unit", c.prefix_match_unit);
  if (const auto it = json.find("speculative"); it != json.end() && !it->is_null()) read_speculation(*it, w);
  check_scheduler_config(c);
}

TickWorkload read_workload(const Json& input) {
  TickWorkload w;
  w.config.version = recorded_version(input);
  read_config(input.at("config"), w);
  for (const Json& json : input.at("requests")) {
    TickRequest r;
    r.id = json.at("id").get<std::int64_t>();
    for (const Json& run : json.at("prompt"))
      r.prompt.push_back({run.at(0).get<std::int64_t>(), run.at(1).get<std::int64_t>()});
    r.max_tokens = json.at("max_tokens").get<int>();
    read(json, "eos_at", r.eos_at);
    read(json, "priority", r.priority);
    read(json, "arrive", r.arrive);
    r.output_first = kOutputBase + r.id * kOutputStride;
    w.requests.push_back(std::move(r));
  }
  int concurrency = 0;
  read(input, "concurrency", concurrency);
  if (concurrency > 0) w.concurrency = concurrency;
  w.arrival_is_tick = input.value("arrival_time", Json()) == "tick";
  if (const auto it = input.find("aborts"); it != input.end())
    for (const Json& abort : *it) w.aborts.emplace_back(abort.at(0).get<int>(), abort.at(1).get<std::int64_t>());
  read(input, "max_ticks", w.max_ticks);
  return w;
}

Json full_record(const TickRecord& rec, bool queue) {
  Json json = {{"t", rec.tick}};
  const auto list = [&](const char* key, const auto& values) {
    if (!values.empty()) json[key] = values;
  };
  list("a", rec.added);
  list("abort", rec.aborted);
  if (rec.scheduled) {
    if (queue) json["k"] = rec.schedule_call;
    json["id"] = rec.ids;
    json["n"] = rec.tokens;
    json["c"] = rec.context;
    list("new", rec.admitted_new);
    list("res", rec.resumed);
    list("pre", rec.preempted);
    if (rec.has_drafts) json["sp"] = rec.drafts;
    json["free"] = rec.free_after_schedule;
    json["run"] = rec.running;
    json["wait"] = rec.waiting;
  }
  if (rec.updated) {
    if (queue) json["u"] = rec.updated_call;
    if (std::any_of(rec.accepted.begin(), rec.accepted.end(), [](int a) { return a > 0; })) json["acc"] = rec.accepted;
    list("fin", rec.finished);
    json["free2"] = rec.free_after_update;
  }
  return json;
}

std::string canonical(const TickRecord& rec) {
  std::vector<std::size_t> order(rec.ids.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rec.ids[a] < rec.ids[b]; });
  std::string rows;
  for (const std::size_t i : order)
    rows += fmt::format("{}{}:{}:{}", rows.empty() ? "" : ",", rec.ids[i], rec.tokens[i], rec.context[i]);
  std::vector<std::int64_t> finished = rec.finished;
  std::sort(finished.begin(), finished.end());
  return fmt::format("{}|{}|{}|{}|{}|{}", rec.tick, rows, fmt::join(rec.preempted, ","), fmt::join(finished, ","),
                     rec.scheduled ? std::to_string(rec.free_after_schedule) : "",
                     rec.updated ? std::to_string(rec.free_after_update) : "");
}

/// The digest form of a long trace.
class Digests {
 public:
  explicit Digests(int stride) : stride_(stride) {}
  void add(const TickRecord& rec) {
    const std::string text = canonical(rec);
    if (records_ < 20) first_.push_back(text);
    if (records_ < 400) {
      tokens_.push_back(std::accumulate(rec.tokens.begin(), rec.tokens.end(), 0));
      free_.push_back(rec.scheduled ? rec.free_after_schedule : -1);
    }
    chunk_ += (chunk_.empty() ? "" : "\n") + text;
    if (++records_ % stride_ == 0) flush();
  }
  void write(Json& predict) {
    if (!chunk_.empty()) flush();
    predict["num_records"] = records_;
    predict["digests"] = digests_;
    predict["first_records"] = first_;
    predict["step_tokens"] = tokens_;
    predict["step_free"] = free_;
  }

 private:
  void flush() {
    digests_ += (digests_.empty() ? "" : " ") + sha256_hex(chunk_).substr(0, 12);
    chunk_.clear();
  }
  int stride_, records_ = 0;
  std::string chunk_, digests_;
  std::vector<std::string> first_;
  std::vector<int> tokens_, free_;
};

Json predict_schedule(const std::string&, const Json& input, VerifyModels&) {
  const TickWorkload workload = read_workload(input);
  const bool full = input.value("record", "full") == "full";
  Digests digests(input.value("stride", 1));
  Json steps = Json::array();
  const bool queue = workload.config.max_concurrent_batches() > 1;
  const TickSummary s = replay_ticks(workload, [&](const TickRecord& rec) {
    if (full) {
      steps.push_back(full_record(rec, queue));
    } else {
      digests.add(rec);
    }
  });
  Json predict;
  predict["num_schedule_calls"] = s.schedule_calls;
  predict["total_scheduled_tokens"] = s.scheduled_tokens;
  const PrefixCacheCounts& p = s.prefix_cache;
  predict["prefix_cache"] = {{"requests", p.requests},
                             {"queries", p.queries},
                             {"hits", p.hits},
                             {"preempted_requests", p.preempted_requests},
                             {"preempted_queries", p.preempted_queries},
                             {"preempted_hits", p.preempted_hits}};
  predict["num_preemptions"] = s.preemptions;
  predict["unfinished"] = s.unfinished;
  Json& requests = predict["requests"] = Json::array();
  for (const TickOutcome& r : s.requests)
    requests.push_back(
        {r.id, r.first_scheduled, r.first_token, r.finished, r.preemptions, r.first_hit, r.finish_reason});
  predict["batch_queue_size"] = s.batch_queue_size;
  if (full) {
    predict["steps"] = std::move(steps);
  } else {
    digests.write(predict);
  }
  return predict;
}

}  // namespace

VerifyTopic schedule_topic() {
  return {
      "schedule", "vLLM V1 scheduler traces: every step, request outcome and prefix-cache count", {}, predict_schedule};
}

}  // namespace shardwise
