#pragma once

#include <string>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/ops/attention_rule.hpp>
#include <galapagos/ops/gate_kind.hpp>
#include <galapagos/ops/norm_rule.hpp>
#include <galapagos/tensor/dtype.hpp>

// What a family does in its own way, as operations take it.
namespace galapagos {

/// UsageError, naming the option or command, for what mixtures of experts are not made for yet.
void refuse_mixture(const HfConfig& config, const std::string& what, const std::string& option,
                    const std::string& remedy);

ops::NormRule norm_rule(const HfConfig& config);
ops::AttentionRule attention_rule(const HfConfig& config, const AttentionKind& kind);
ops::GateKind gate_kind(const HfConfig& config);

/// What rows of the embedding are multiplied by, rounded to the type that they are stored as, as transformers
/// does.
float embedding_scale(const HfConfig& config, DType stored);

}  // namespace galapagos
