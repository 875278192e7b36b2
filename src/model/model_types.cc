#include "model/model_types.h"

#include <algorithm>

namespace shardwise {
namespace {

// clang-format off
constexpr ModelType kTypes[] = {
    {.names = "axk1 deepseek_v41 k3_dspark glm5_next glm5_next_text glm4_moe_lite glm4_moe_lite_mtp kimi_k2 "
              "kimi_linear pangu_ultra_moe_mtp bailing_hybrid_mtp bailing_hybrid_v3_mtp hy_v4_mtp", .mla = true},
    {.names = "deepseek_v2", .mla = true, .default_length = 2048},
    {.names = "deepseek_v3", .mla = true, .default_length = 4096, .mtp = Mtp::num_nextn_predict_layers},
    {.names = "deepseek_v32 deepseek_v4 dots3_note deepseek_mtp glm_moe_dsa pangu_ultra_moe bailing_hybrid hy_v4",
     .mla = true, .mtp = Mtp::num_nextn_predict_layers},
    {.names = "longcat_flash", .mla = true, .mtp = Mtp::nextn_or_one},
    {.names = "falcon llama granite gpt_neox opt phi", .default_length = 2048},
    {.names = "gpt2", .default_length = 1024},
    {.names = "mistral mixtral gemma3_text gpt_oss llama4_text", .default_length = 131072},
    {.names = "qwen2 qwen2_moe qwen3 qwen3_moe", .default_length = 32768},
    {.names = "gemma gemma2 cohere", .default_length = 8192},
    {.names = "phi3 starcoder2 olmoe", .default_length = 4096},
    {.names = "jamba", .default_length = 262144},
    {.names = "bagel gemma3 molmo2 moondream3 paligemma", .mm_prefix = true},
    {.names = "whisper bart mbart t5 mllama florence2 nemotron_parse", .encoder_decoder = true},
    {.names = "ernie4_5_moe qwen3_next exaone_moe hy_v3 exaone4_5 exaone4_5_text",
     .mtp = Mtp::num_nextn_predict_layers},
    {.names = "kimi_k3", .mtp = Mtp::text_num_nextn},
    {.names = "nemotron_h nemotron_h_puzzle", .mtp = Mtp::nextn_if_any},
    {.names = "qwen3_5 qwen3_5_moe qwen3_5_text qwen3_5_moe_text", .mtp = Mtp::mtp_num_hidden_layers},
    {.names = "step3p5 step3p7", .mtp = Mtp::text_num_nextn_or_one},
    {.names = "minimax_m3_vl", .mtp = Mtp::text_num_mtp_modules_or_one},
    {.names = "gemma4_assistant gemma4_unified_assistant", .mtp = Mtp::one},
};
// clang-format on

constexpr ModelType kUnknownType{};

bool listed(std::string_view list, std::string_view word) {
  for (auto at = list.find(word); at != std::string_view::npos; at = list.find(word, at + 1)) {
    const auto end = at + word.size();
    if ((at == 0 || list[at - 1] == ' ') && (end == list.size() || list[end] == ' ')) return true;
  }
  return false;
}

}  // namespace

const ModelType& find_model_type(std::string_view model_type) {
  const auto* row = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const ModelType& r) {
    return !model_type.empty() && listed(r.names, model_type);
  });
  return row == std::end(kTypes) ? kUnknownType : *row;
}

}  // namespace shardwise
