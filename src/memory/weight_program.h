#pragma once
// Parameters of one rank as a short program: which tensors each kind of layer registers, with sizes as functions of the
// layout. Written once per model (weight_layers.cc), run once per layout. Sources: the create_weights functions of vLLM
// 0.32.0 (vllm/model_executor/layers/{linear,vocab_parallel_embedding}.py, quantization/*, fused_moe/*).
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/version.h"
#include "hardware/generations.h"
#include "model/model.h"

namespace shardwise {

enum class WeightClass : std::uint8_t {
  embedding,
  lm_head,
  attention,
  dense_mlp,
  routed_experts,
  shared_experts,
  router,
  norm_other,
  vision,
  mtp,
  count
};
enum class StoredType : std::uint8_t {
  bfloat16,
  float16,
  float32,
  float8_e4m3fn,
  float8_e8m0fnu,
  int8,
  uint8,
  int32,
  int64,
  count
};
enum class BufferKind : std::uint8_t { cos_sin_cache, inv_freq, kv_scales, expert_map, other, count };

const char* to_string(WeightClass c);
const char* to_string(StoredType t);
const char* to_string(BufferKind k);  ///< leaf names of the buffers, "_expert_map" among them
int bytes_of(StoredType t);

/// Everything one rank registers. Bytes of distinct storages; tied tensors once.
struct RankWeights {
  std::array<std::int64_t, static_cast<std::size_t>(WeightClass::count)> bytes{}, elements{};
  std::array<std::int64_t, static_cast<std::size_t>(StoredType::count)> by_type{};
  std::array<std::int64_t, static_cast<std::size_t>(BufferKind::count)> buffers{};
  std::uint32_t present = 0;      ///< bit per class that has a module here, even an empty one
  std::int64_t bare_tensors = 0;  ///< tensors outside parameters and buffers
  std::int64_t rounded_512 = 0;   ///< parameters and buffers, each storage rounded up to 512 bytes
  std::int64_t param_bytes() const;
  std::int64_t num_params() const;
  std::int64_t buffer_bytes() const;
};

/// vLLM would refuse to construct this layout: why, in its words where short.
struct WeightRefusal {
  std::string where;  ///< vLLM file and what it checks
  std::string message;
};

/// What the sizes depend on.
struct WeightLayout {
  int tp = 1;                           ///< tensor-parallel size of everything but routed experts
  int first_layer = 0, last_layer = 0;  ///< [first, last) of this stage
  bool first_stage = true, last_stage = true;
  int moe_tp = 1;                ///< shards of each routed expert: TP x PCP x DP without EP, 1 with
  int ep_size = 1, ep_rank = 0;  ///< experts are spread over ep_size ranks
  bool expert_parallel = false;
  int redundant_experts = 0;
  bool enable_eplb = false;
  int prefill_context_parallel = 1;
  const GpuGeneration* generation = &generation_of("nvidia", 90);
  bool triton_mxfp4_moe = true;  ///< experts of models with biases lie as Triton's kernel wants them
  std::int64_t max_num_batched_tokens = 8192;
  std::int64_t max_model_len = 0;
  bool language_model_only = false;
  bool mtp = false;                    ///< an MTP draft runs beside the model
  bool after_loading = false;          ///< what stays resident after process_weights_after_loading
  bool sequence_parallel_moe = false;  ///< EP with TP > 1 and DP > 1: shared experts are replicated
};

/// One output partition of a fused linear layer: `units` of `unit` elements; kv partitions keep at least one unit a
/// rank.
struct OutPart {
  std::int32_t units = 0, unit = 1;
  bool kv = false;
  friend bool operator==(const OutPart&, const OutPart&) = default;
};

/// One module (or plain tensor) of a layer.
struct WeightModule {
  enum class Kind : std::uint8_t {
    replicated,    ///< tensor of `in` elements on every rank
    sharded,       ///< tensor of `in` elements, split over TP
    kv_sharded,    ///< tensor of parts[0] (units may be fewer than TP)
    column,        ///< linear in -> parts, output split over TP
    row,           ///< linear in -> parts[0], input split over TP
    full,          ///< linear in -> parts on every rank
    vocabulary,    ///< units rows (padded to 64, split over TP) x in; with a quantisation scheme where lm_head has one
    experts,       ///< routed experts
    buffer,        ///< in bytes of buffer kind `buffer`
    expert_map,    ///< int32 per global expert, under expert parallelism
    bare,          ///< in bytes outside parameters and buffers
    padded_heads,  ///< float32 per query head, heads of this rank rounded up to 64 or 128
    kda_in,        ///< Kimi delta attention's fused input projection: parts[0] split, `intermediate` replicated,
                   ///< `num_experts` heads
    kda_decode,    ///< float32 copy of its convolution for decoding, where the kernel takes the rank's heads
    must_divide,   ///< no tensor: `in` units that TP must divide (Mamba groups, or with `bias` KV heads)
    topk_buffer,   ///< max_num_batched_tokens x in int32 outside parameters and buffers, once a stage
    mtp_buffer,    ///< max_num_batched_tokens x in elements, where an MTP draft reads the last hidden states
  };
  Kind kind = Kind::replicated;
  WeightClass cls = WeightClass::norm_other;
  StoredType type = StoredType::bfloat16;
  BufferKind buffer = BufferKind::other;
  bool bias = false;
  std::int16_t num_parts = 0;
  std::array<OutPart, 6> parts{};
  std::int64_t in = 0;
  int count = 1;  ///< how many such modules
  QuantScheme scheme;
  // experts
  int num_experts = 0, intermediate = 0, shards = 2;
  int vit_heads = 0;  ///< part of a vision tower of that many heads: not split where TP does not divide them
  int sequence_parallel =
      0;  ///< whole on every rank when MoE splits tokens instead: 1 always, 2 only in a single stage
  bool until_loaded = false;  ///< dropped after loading (KV scale parameters)
  int absorbed_from =
      0;  ///< MLA kv_b_proj: qk_nope_head_dim; after loading W_UK and W_UV are copies of a quantised matrix
  bool sparse_mla = false;  ///< kv_b_proj of a model with an indexer
  bool no_eplb = false;     ///< the model class has no redundant experts
  int whole_blocks = 0;  ///< a split width is padded so that every rank holds whole blocks of this many; 0 = it is not
  std::int16_t adapter_slices = 0;  ///< LoRA: parts with an adapter of their own; 0 = vLLM does not wrap it
  bool adapters_whole = false;      ///< not wrapped under fully_sharded_loras
  bool tied_head_adapters = false;  ///< of an embedding: the head that is tied to it has its own
  std::int32_t adapter_in = 0;      ///< the same of a replicated matrix: width of its input
  std::optional<VllmVersion> fused_adapters_since;  ///< experts: adapters of gate and up in one
  std::string name;  ///< below the layer, "self_attn.qkv_proj"; of plain tensors the module that holds them
  friend bool operator==(const WeightModule&, const WeightModule&) = default;
};

/// A rope table that layers share: on a rank once if any of its layers uses it.
struct SharedBuffer {
  BufferKind kind = BufferKind::cos_sin_cache;
  std::int64_t bytes = 0;
  std::string key;
};

struct LayerProgram {
  std::vector<WeightModule> modules;
  std::vector<int> shared;  ///< indices into WeightProgram::shared
  friend bool operator==(const LayerProgram&, const LayerProgram&) = default;
};

/// A model's whole program.
struct WeightProgram {
  StoredType dtype = StoredType::bfloat16;
  std::vector<LayerProgram> kinds;     ///< distinct layers
  std::vector<std::vector<int>> upto;  ///< upto[kind][i] = layers of that kind among the first i
  std::vector<SharedBuffer> shared;
  std::shared_ptr<const WeightProgram> draft;  ///< of the MTP draft model; null if there is none
  LayerProgram first, last, every;             ///< first stage, last stage, every stage
  LayerProgram vision;                         ///< every stage, unless only the language model is loaded
  bool tied = false;                           ///< last stage reuses the embedding when it holds it
  LayerProgram embedding;                      ///< first stage, and last stage if tied
  bool changes_after_loading = false;          ///< process_weights_after_loading changes sizes
  bool every_stage_needs_experts = false;      ///< the model class raises otherwise
  bool full_attention = false;                 ///< some layer has attention that is not MLA
  std::size_t kind_of(int layer) const;        ///< index into kinds
};

/// Sums the program for one rank; a refusal where vLLM's constructors would fail.
RankWeights run_weights(const WeightProgram& program, const WeightLayout& layout,
                        std::optional<WeightRefusal>* refusal = nullptr);

/// A linear layer on one rank.
struct LinearWidths {
  std::int64_t in = 0, out = 0;
  int tp = 1;  ///< ranks that share it
};
LinearWidths linear_widths(const WeightModule& module, const WeightLayout& layout);

/// A parameter of one layer.
struct StoredTensor {
  std::size_t module = 0;  ///< index into LayerProgram::modules
  WeightClass cls = WeightClass::norm_other;
  std::string kind;  ///< "mlp.experts.w13_weight"; what is not a matrix goes by the module that holds it
  std::string name;  ///< the same, once in a layer
  std::int64_t bytes = 0;
};

/// Parameters in the order in which vLLM registers them.
std::vector<StoredTensor> stored_tensors(const LayerProgram& layer, const WeightLayout& layout);

/// Writes the program of a model; `draft` = its MTP draft model instead.
WeightProgram compile_weights(const Model& model, bool draft = false);

}  // namespace shardwise
