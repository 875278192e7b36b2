#include "memory/kv_names.h"

#include <array>
#include <string_view>

namespace shardwise {

namespace {

struct Row {
  std::string_view architecture;  // part of its name
  std::string_view layers;        // before the layer number's dot; "" = model.layers.{}.
  std::string_view attention;     // "" = self_attn.attn
  std::string_view state;         // "" = linear_attn
};

// Read off the module names in vllm/model_executor/models and vllm/models.
constexpr std::array kRows = {
    Row{"FalconForCausalLM", "transformer.h.{}.", "self_attention.attn", ""},
    Row{"FalconH1", "", "", "mamba"},
    Row{"FalconMamba", "backbone.layers.{}.", "", "mixer"},
    Row{"BloomForCausalLM", "transformer.h.{}.", "self_attention.attn", ""},
    Row{"GPT2LMHeadModel", "transformer.h.{}.", "attn.attn", ""},
    Row{"GPTBigCode", "transformer.h.{}.", "attn.attn", ""},
    Row{"GPTJForCausalLM", "transformer.h.{}.", "attn.attn", ""},
    Row{"GPTNeoX", "gpt_neox.layers.{}.", "attention.attn", ""},
    Row{"MPTForCausalLM", "transformer.blocks.{}.", "attn.attn", ""},
    Row{"DbrxForCausalLM", "transformer.blocks.{}.", "norm_attn_norm.attn.attn", ""},
    Row{"ChatGLM", "transformer.encoder.layers.{}.", "self_attention.attn", ""},
    Row{"QWenLMHeadModel", "transformer.h.{}.", "attn.attn", ""},
    Row{"OPTForCausalLM", "model.decoder.layers.{}.", "self_attn.attn", ""},
    Row{"InternLM2", "", "attention.attn", ""},
    Row{"GptOss", "", "attn.attn", ""},
    Row{"Jamba", "", "attn", "mixer"},
    Row{"NemotronH", "", "mixer.attn", "mixer"},
    Row{"MambaForCausalLM", "backbone.layers.{}.", "", "mixer"},
    Row{"Mamba2ForCausalLM", "backbone.layers.{}.", "", "mixer"},
    Row{"GraniteMoeHybrid", "", "", "mamba"},
    Row{"Bamba", "", "", "mamba"},
    Row{"KimiK3", "language_model.model.layers.{}.", "self_attn", "self_attn"},
    Row{"KimiLinear", "", "self_attn.mla_attn.attn", "self_attn"},
    Row{"Lfm2", "", "self_attn.attn", "short_conv"},
    Row{"MiniMaxText01", "", "", "self_attn"},
    Row{"DeepseekV4", "", "attn", ""},
};

}  // namespace

LayerNames layer_names(const Model& model) {
  LayerNames out;
  const std::string_view architecture =
      model.architectures.empty() ? std::string_view() : std::string_view(model.architectures.front());
  const Row* row = nullptr;
  for (const auto& r : kRows)
    if (architecture.find(r.architecture) != std::string_view::npos) {
      row = &r;
      break;
    }
  out.prefix = row && !row->layers.empty() ? std::string(row->layers)
               : model.nested_text         ? "language_model.model.layers.{}."
                                           : "model.layers.{}.";
  out.attention = out.prefix + std::string(row && !row->attention.empty() ? row->attention : "self_attn.attn");
  out.state = out.prefix + std::string(row && !row->state.empty() ? row->state : "linear_attn");
  out.indexer = out.prefix + "self_attn.indexer.k_cache";
  const bool own_numbers = architecture.find("Qwen3_5") != std::string_view::npos ||
                           architecture.find("Qwen3Next") != std::string_view::npos;
  const bool nemotron = architecture.find("NemotronH") != std::string_view::npos;
  out.draft_from_zero = own_numbers || nemotron;
  out.draft = own_numbers ? "mtp.layers.{}.self_attn.attn" : nemotron ? "mtp.layers.{}.mixer.attn" : out.attention;
  return out;
}

}  // namespace shardwise
