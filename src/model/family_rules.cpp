#include <cmath>
#include <cstddef>

#include <galapagos/core/error.hpp>
#include <galapagos/model/family_rules.hpp>

namespace galapagos {

void refuse_mixture(const HfConfig& config, const std::string& what, const std::string& option,
                    const std::string& remedy) {
  if (config.mixture) throw UsageError(what + ": not there yet for mixtures of experts", option, remedy);
}

ops::NormRule norm_rule(const HfConfig& config) {
  return {static_cast<float>(config.rms_norm_eps), config.features.shifted_norms ? 1.0f : 0.0f};
}

ops::AttentionRule attention_rule(const HfConfig& config, const AttentionKind& kind) {
  return {kind.window, static_cast<float>(config.attention_scale), static_cast<float>(config.attention_cap)};
}

ops::GateKind gate_kind(const HfConfig& config) {
  return config.features.gelu ? ops::GateKind::gelu_tanh : ops::GateKind::silu;
}

float embedding_scale(const HfConfig& config, DType stored) {
  if (!config.features.scaled_embedding) return 1;
  const float scale = std::sqrt(static_cast<float>(config.hidden_size));
  std::byte rounded[sizeof(float)];
  convert_from_float({&scale, 1}, stored, rounded);
  float result = 0;
  convert_to_float(stored, rounded, {&result, 1});
  return result;
}

}  // namespace galapagos
