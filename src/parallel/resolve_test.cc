#include "parallel/resolve.h"

#include <gmock/gmock.h>

#include <chrono>
#include <set>

#include "base/text.h"
#include "config/json.h"
#include "parallel/eplb.h"
#include "parallel/experts.h"
#include "parallel/ranks.h"
#include "parallel/rules.h"

namespace shardwise {
namespace {

using testing::HasSubstr;

ModelFacts dense() {
  return model_facts(
      config_facts(
          Json::parse(
              R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16"})"),
          nullptr),
      "dense");
}

ModelFacts moe() {
  return model_facts(
      config_facts(
          Json::parse(
              R"({"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
    "num_experts_per_tok": 8, "vocab_size": 151936, "max_position_embeddings": 40960, "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}})"),
          nullptr),
      "moe");
}

std::optional<Refusal> refused(const EngineArgs& args, const ModelFacts& model, NodeFacts node = {}) {
  const auto result = resolve(args, model, node);
  const auto* refusal = std::get_if<Refusal>(&result);
  return refusal ? std::optional(*refusal) : std::nullopt;
}

TEST(ModelFacts, ExpertCountLeftOutIsTheClassDefault) {
  const auto experts = [](const char* more) {
    return model_facts(
               config_facts(
                   Json::parse(std::string(R"({"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h",
      "num_hidden_layers": 4, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8)") +
                               more + "}"),
                   nullptr),
               "m")
        .num_experts;
  };
  EXPECT_EQ(experts(""), 8);
  EXPECT_EQ(experts(R"(, "n_routed_experts": 0)"), 0);
  EXPECT_FALSE(dense().is_moe);
}

TEST(ModelFacts, ModelTypesOfVersionsAndBetweenThem) {
  EXPECT_FALSE(knows_model_type("qwen3_5", {0, 16, 0}));
  EXPECT_TRUE(knows_model_type("qwen3_5", {0, 18, 0}));  // known in the next version that was read
  EXPECT_FALSE(knows_model_type("mimo_v2_flash", {0, 22, 0}));
  EXPECT_TRUE(knows_model_type("mimo_v2_flash", {0, 25, 0}));
  EXPECT_TRUE(knows_model_type("mimo_v2_flash", {0, 32, 0}));
  EXPECT_TRUE(knows_model_type("llama", {0, 16, 0}));
}

TEST(Resolve, DefaultsOfOneGpu) {
  EngineArgs args;
  NodeFacts node;
  node.memory_bytes = std::int64_t{81559} << 20;
  node.gpus = 1;
  const auto r = std::get<Resolved>(resolve(args, dense(), node));
  EXPECT_EQ(r.distributed_executor_backend, "uni");
  EXPECT_EQ(r.max_model_len, 131072);
  EXPECT_EQ(r.max_num_batched_tokens, 8192);
  EXPECT_EQ(r.max_num_seqs, 1024);
  EXPECT_EQ(r.cudagraph_capture_sizes.size(), 51u);
  EXPECT_EQ(r.cudagraph_mode, "FULL_AND_PIECEWISE");
}

// A legal command, one thing wrong at a time: the rule that vLLM would name, with the numbers that fail.
TEST(Resolve, EachMutationNamesItsRuleAndNumbers) {
  struct Case {
    const char* rule;
    std::vector<const char*> numbers;
    void (*mutate)(EngineArgs&, NodeFacts&);
    bool is_moe;
  };
  const Case cases[] = {
      {"attn_heads_not_divisible_by_tp",
       {"32", "3"},
       [](EngineArgs& a, NodeFacts&) { a.tensor_parallel_size = 3; },
       false},
      {"world_size_exceeds_local_gpus",
       {"16", "8"},
       [](EngineArgs& a, NodeFacts&) { a.tensor_parallel_size = 16; },
       false},
      {"worker_gpu_out_of_range",
       {"8"},
       [](EngineArgs& a, NodeFacts&) { a.tensor_parallel_size = 8, a.data_parallel_size = 2; },
       false},
      {"dcp_does_not_divide_tp",
       {"4", "3"},
       [](EngineArgs& a, NodeFacts&) { a.tensor_parallel_size = 4, a.decode_context_parallel_size = 3; },
       false},
      {"dcp_gqa_tp_not_above_kv_heads",
       {"8", "8"},
       [](EngineArgs& a, NodeFacts&) { a.tensor_parallel_size = 8, a.decode_context_parallel_size = 2; },
       false},
      {"dcp_gqa_exceeds_max",
       {"4", "2"},
       [](EngineArgs& a, NodeFacts&) { a.tensor_parallel_size = 8, a.decode_context_parallel_size = 4; },
       true},
      {"ep_on_dense_model", {"0"}, [](EngineArgs& a, NodeFacts&) { a.enable_expert_parallel = true; }, false},
      {"eplb_needs_ep", {}, [](EngineArgs& a, NodeFacts&) { a.enable_eplb = true; }, true},
      {"redundant_experts_without_eplb",
       {"8"},
       [](EngineArgs& a, NodeFacts&) { a.eplb_config = R"({"num_redundant_experts": 8})"; },
       true},
      {"dp_local_exceeds_dp",
       {"4", "2"},
       [](EngineArgs& a, NodeFacts&) { a.data_parallel_size = 2, a.data_parallel_size_local = 4; },
       true},
      {"dp_rank_out_of_range",
       {"5", "4"},
       [](EngineArgs& a, NodeFacts&) { a.data_parallel_size = 4, a.data_parallel_rank = 5; },
       true},
      {"external_lb_dense_model",
       {"2"},
       [](EngineArgs& a, NodeFacts&) { a.data_parallel_size = 2, a.data_parallel_rank = 1; },
       false},
      {"nnodes_does_not_divide_world",
       {"3", "4"},
       [](EngineArgs& a, NodeFacts&) { a.tensor_parallel_size = 4, a.nnodes = 3; },
       false},
      {"max_len_exceeds_model",
       {"200000", "131072"},
       [](EngineArgs& a, NodeFacts&) { a.max_model_len = 200000; },
       false},
      {"batched_tokens_below_max_len",
       {"2048", "131072"},
       [](EngineArgs& a, NodeFacts&) { a.enable_chunked_prefill = false, a.max_num_batched_tokens = 2048; },
       false},
      {"batched_tokens_below_seqs",
       {"64", "128"},
       [](EngineArgs& a, NodeFacts&) { a.max_num_batched_tokens = 64, a.max_num_seqs = 128; },
       false},
      {"ray_not_installed", {}, [](EngineArgs& a, NodeFacts&) { a.distributed_executor_backend = "ray"; }, false},
      {"quant_mismatch", {}, [](EngineArgs& a, NodeFacts&) { a.quantization = "awq"; }, true},
      {"quant_not_supported_on_gpu", {"75", "70"}, [](EngineArgs&, NodeFacts& n) { n.capability = 70; }, true},
      {"moonep_bf16_only", {}, [](EngineArgs& a, NodeFacts&) { a.all2all_backend = "moonep"; }, true},
      {"field_range:gpu_memory_utilization",
       {"1.2"},
       [](EngineArgs& a, NodeFacts&) { a.gpu_memory_utilization = 1.2; },
       false},
      {"field_range:all2all_backend", {}, [](EngineArgs& a, NodeFacts&) { a.all2all_backend = "deepep"; }, true},
      {"headless_with_api_servers",
       {"2"},
       [](EngineArgs& a, NodeFacts&) { a.headless = true, a.api_server_count = 2; },
       false},
  };
  const auto dense_facts = dense(), moe_facts = moe();
  for (const auto& c : cases) {
    EngineArgs args;
    args.tensor_parallel_size = 2;
    NodeFacts node;
    const auto& model = c.is_moe ? moe_facts : dense_facts;
    EXPECT_FALSE(refused(args, model, node));
    c.mutate(args, node);
    const auto refusal = refused(args, model, node);
    ASSERT_TRUE(refusal) << c.rule;
    EXPECT_EQ(refusal->rule->id, c.rule) << refusal->message;
    for (const auto* number : c.numbers) EXPECT_THAT(refusal->message, HasSubstr(number)) << c.rule;
  }
}

/// `vllm serve` of a MoE model on 8 GPUs: the rule that refuses it, or "".
std::string served_by(const char* flags, const char* gpu = "H100", const Environment& env = {},
                      VllmVersion version = kDefaultVllmVersion) {
  const auto words = split(flags, ' ');
  const auto result = resolve(parse_or_refuse(words, version), moe(), node_facts(find_gpu(gpu), 8), env, version);
  const auto* refusal = std::get_if<Refusal>(&result);
  return refusal ? std::string(refusal->rule->id) : "";
}

TEST(Rules, OfTheCommandLine) {
  for (const auto& [flags, rule] : std::vector<std::pair<const char*, const char*>>{
           {"--moe-backend banana", "arguments_refused"},
           {"--enforce-eager=true", "arguments_refused"},
           {"--kv-transfer-config {\"kv_connector\":\"NixlConnector\"}", "arguments_refused"},
           {"--swap-space 16", "unknown_argument"},
           {"-O9", "field_range"},
           {"-O3", ""},
           {"--stream-interval 0", "field_range"},
           {"--stream-interval 1", ""},
           {"--watermark 1.0", "field_range"},
           {"--watermark 0.5", ""},
           {"--max-lora-rank 8 --attention-backend banana", "field_range"},
           {"-sc {\"method\":\"ngram\",\"num_speculative_tokens\":2,\"bogus\":1}", "field_range:speculative_config"},
           {"--device-ids 0,0", "device_ids_misused"},
           {"--device-ids 0,GPU-x", "device_ids_misused"},
           {"-tp 2 --device-ids 0,1", ""},
           {"-tp 2 --distributed-executor-backend ray", ""}})
    EXPECT_EQ(served_by(flags), rule) << flags;
}

TEST(Rules, OfWeightOptions) {
  for (const auto& [flags, rule] : std::vector<std::pair<const char*, const char*>>{
           {"--cpu-offload-gb 10", ""},
           {"--cpu-offload-gb 10 --offload-group-size 4", ""},  // a warning: prefetching it is
           {"--offload-group-size 2 --offload-num-in-group 3", "offload_group"},
           {"--offload-backend prefetch", "offload_group"},  // no group
           {"--offload-group-size 2 --offload-prefetch-step 0", "offload_prefetch_step"},
           {"--offload-prefetch-step 0", ""},
           {"--enable-lora --max-loras 4 --max-cpu-loras 2", "lora_host_slots"},
           {"--max-loras 4 --max-cpu-loras 2", ""},
           {"--enable-lora --max-loras 4 --max-cpu-loras 0", ""},
           {"--enable-lora --max-lora-rank 20", "arguments_refused"},
           {"--enable-lora --default-mm-loras {\"image\":\"x\"}", "lora_modality_of_text_model"},
           {"--enable-lora -tp 4 --fully-sharded-loras --max-lora-rank 1", "lora_rank_split"},
           {"--enable-lora -tp 4 -ep", ""},
           {"--enable-lora -tp 4 -ep --fully-sharded-loras", "lora_expert_sharding"},
           {"--enable-lora -dp 4 -ep --all2all-backend deepep_low_latency", "lora_expert_all2all"},
           {"--enable-lora -dp 4 -tp 2 -ep", "lora_expert_all2all"}})
    EXPECT_EQ(served_by(flags), rule) << flags;
  EXPECT_EQ(served_by("--enable-lora -tp 4 -ep", "H100", {}, {0, 20, 2}), "lora_expert_parallel");
}

TEST(Rules, OfSplitSteps) {
  struct Case {
    const char* flags;
    VllmVersion version;
    const char* rule;
    Environment env = {};
    const char* gpu = "H100";
  };
  const char* low = "-dp 8 -ep --enable-dbo --all2all-backend deepep_low_latency";
  const char* high = "-dp 8 -ep --enable-dbo --all2all-backend deepep_high_throughput";
  const char* nixl = "-dp 8 -ep --ubatch-size 3 --all2all-backend nixl_ep";
  const auto with = [](const char* flags, const char* more) { return std::string(flags) + more; };
  const std::string few = with(low, " --dbo-decode-token-threshold 1"),
                    two = with(low, " --dbo-decode-token-threshold 2"), async = with(high, " --async-scheduling"),
                    pp = with(low, " -pp 2");
  const Environment v2{{"VLLM_USE_V2_MODEL_RUNNER", "1"}};
  for (const auto& c : std::vector<Case>{{low, {0, 33, 0}, ""},
                                         {high, {0, 33, 0}, ""},
                                         {low, {0, 20, 2}, ""},
                                         {"-dp 8 -ep --enable-dbo", {0, 33, 0}, "ubatch_needs_deepep"},
                                         {nixl, {0, 33, 0}, ""},
                                         {nixl, {0, 23, 0}, "ubatch_needs_deepep"},
                                         {few.c_str(), {0, 33, 0}, "ubatch_above_threshold"},
                                         {few.c_str(), {0, 29, 0}, ""},
                                         {two.c_str(), {0, 33, 0}, ""},
                                         {low, {0, 33, 0}, "", v2},
                                         {low, {0, 29, 0}, "v2_runner_unsupported", v2},
                                         {pp.c_str(), {0, 33, 0}, "v2_runner_unsupported", v2},
                                         {high, {0, 33, 0}, "", {}, "MI300X"},
                                         {async.c_str(), {0, 33, 0}, "async_scheduling_rocm_dbo", {}, "MI300X"},
                                         {async.c_str(), {0, 33, 0}, ""}})
    EXPECT_EQ(served_by(c.flags, c.gpu, c.env, c.version), c.rule)
        << c.flags << " " << c.gpu << " " << to_string(c.version);
}

TEST(Rules, OneServerAndPortForEachLocalRank) {
  const std::string supervised = "--data-parallel-multi-port-external-lb ";
  for (const auto& [flags, rule] :
       std::vector<std::pair<const char*, const char*>>{{"-dp 8 -dpl 8", ""},
                                                        {"-dp 8 -dpl 8 --api-server-count 1", ""},
                                                        {"-dp 8 -dpl 8 --api-server-count 4", "multi_port_lb_misused"},
                                                        {"-dpl 8", "multi_port_lb_misused"},
                                                        {"-dp 8", "multi_port_lb_misused"},
                                                        {"-dp 8 -dpl 1", "multi_port_lb_misused"},
                                                        {"-dp 8 -dpl 3", "multi_port_lb_misused"},
                                                        {"-dp 8 -dpl 8 -dpn 0", "multi_port_lb_misused"},
                                                        {"-dp 8 -dpl 4 -dpr 6", "multi_port_lb_misused"},
                                                        {"-dp 8 -dpl 4 -dpr 4", ""},
                                                        {"-dp 8 -dpl 8 --grpc", "multi_port_lb_misused"},
                                                        {"-dp 8 -dpl 8 --uds /tmp/s", "multi_port_lb_misused"},
                                                        {"-dp 8 -dpl 8 --ssl-keyfile k", "multi_port_lb_misused"},
                                                        {"-dp 8 -dpl 8 --port 9250", "multi_port_lb_misused"}})
    EXPECT_EQ(served_by((supervised + flags).c_str()), rule) << flags;
  const auto words = split(supervised + "-dp 8 -dpl 4 -dpr 4", ' ');
  const auto result = resolve(parse_vllm_flags(words), moe(), node_facts(find_gpu("H100"), 8), {}, kDefaultVllmVersion);
  const auto& r = std::get<Resolved>(result);
  EXPECT_TRUE(r.data_parallel_external_lb);
  EXPECT_EQ(r.data_parallel_size_local, 1);
  EXPECT_EQ(r.data_parallel_rank, 4);
}

TEST(Rules, EveryRowSaysWhatAndWhere) {
  std::set<std::string_view> ids;
  for (const auto* rule : rules()) {
    EXPECT_FALSE(rule->text.empty()) << rule->id;
    EXPECT_FALSE(rule->where.empty()) << rule->id;
    EXPECT_FALSE(rule->instead.empty()) << rule->id;
    EXPECT_LT(rule->when.since, rule->when.until) << rule->id;
    ids.insert(rule->id);
  }
  EXPECT_GT(ids.size(), 110u);
  ASSERT_NE(find_rule("attn_heads_not_divisible_by_tp"), nullptr);
  EXPECT_EQ(find_rule("no such rule"), nullptr);
}

TEST(CheckLayout, AgreesWithResolveOnLayouts) {
  const auto model = moe();
  NodeFacts node;
  node.gpus = 1 << 20;
  for (int tp = 1; tp <= 16; ++tp)
    for (int dp : {1, 2, 3})
      for (bool ep : {false, true})
        for (int dcp : {1, 2, 4}) {
          ParallelConfig p;
          p.tensor_parallel_size = tp, p.data_parallel_size = dp, p.enable_expert_parallel = ep,
          p.decode_context_parallel_size = dcp;
          EngineArgs args;
          args.tensor_parallel_size = tp, args.data_parallel_size = dp, args.enable_expert_parallel = ep,
          args.decode_context_parallel_size = dcp;
          const auto slow = refused(args, model, node);
          const auto fast = check_layout(model, p);
          if (slow) {
            ASSERT_TRUE(fast) << slow->rule->id << " " << to_string(p);
            EXPECT_EQ(fast->rule, slow->rule) << to_string(p);
          } else if (fast) {
            EXPECT_EQ(fast->rule->stage(), "model") << fast->rule->id << " " << to_string(p);
          }
        }
}

TEST(CheckLayout, ConstructionRulesNameTheirNumbers) {
  const auto model = moe();
  ParallelConfig p;
  p.tensor_parallel_size = 32;  // 768 / 32 = 24: no block of 32 or more divides it
  EXPECT_EQ(check_layout(model, p)->rule->id, "fp8_block_vs_moe_partition");
  p.enable_expert_parallel = true;
  EXPECT_FALSE(check_layout(model, p));
  p.tensor_parallel_size = 1;
  p.pipeline_parallel_size = 49;
  p.enable_expert_parallel = false;
  EXPECT_EQ(check_layout(model, p)->rule->id, "no_moe_layer_on_stage");
  p = {};
  p.prefill_context_parallel_size = 2;
  EXPECT_EQ(check_layout(model, p)->rule->id, "pcp_without_attention_backend");
}

TEST(PpLayers, RestGoesToTheLastStageButOne) {
  ParallelConfig p;
  p.pipeline_parallel_size = 8;
  std::vector<int> sizes;
  for (const auto& [first, last] : pp_layers(36, p)) sizes.push_back(last - first);
  EXPECT_THAT(sizes, testing::ElementsAre(4, 4, 4, 5, 5, 5, 5, 4));
}

TEST(Eplb, OursKeepsTheConstraintsAndIsNeverWorse) {
  std::uint64_t state = 7;
  for (const EplbShape shape :
       {EplbShape{288, 1, 1, 32}, EplbShape{320, 8, 4, 64}, EplbShape{256, 4, 4, 64}, EplbShape{272, 8, 2, 16}}) {
    ExpertLoads loads{6, 256, {}};
    for (int i = 0; i < 6 * 256; ++i) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      const auto u = static_cast<std::int64_t>(state >> 40);
      loads.counts.push_back(u % 4000 * (u % 4000));
    }
    ASSERT_FALSE(eplb_refusal(256, shape));
    const auto theirs = eplb_vllm(loads, shape), ours = eplb_ours(loads, shape);
    for (int l = 0; l < loads.layers; ++l) {
      std::set<int> held(ours.begin() + l * shape.replicas, ours.begin() + (l + 1) * shape.replicas);
      EXPECT_EQ(held.size(), 256u);  // every logical expert somewhere
      const auto a = rank_loads(loads, theirs, shape.ranks, l), b = rank_loads(loads, ours, shape.ranks, l);
      EXPECT_LE(*std::max_element(b.begin(), b.end()), *std::max_element(a.begin(), a.end()) * (1 + 1e-12));
      if (shape.groups % shape.nodes == 0 && shape.nodes > 1)  // an expert stays on the node of its group
        for (int node = 0; node < shape.nodes; ++node) {
          const int per = shape.replicas / shape.nodes;
          std::set<int> groups_here;
          for (int i = 0; i < per; ++i)
            groups_here.insert(ours[static_cast<std::size_t>(l * shape.replicas + node * per + i)] /
                               (256 / shape.groups));
          EXPECT_EQ(static_cast<int>(groups_here.size()), shape.groups / shape.nodes);
        }
    }
    EXPECT_GT(balancedness(loads, ours, shape.ranks).mean, balancedness(loads, theirs, shape.ranks).mean);
    EXPECT_LE(balancedness(loads, ours, shape.ranks).mean, balancedness_bound(loads, shape) + 1e-12);
    EXPECT_EQ(ours, eplb_ours(loads, shape));
  }
}

}  // namespace
}  // namespace shardwise
