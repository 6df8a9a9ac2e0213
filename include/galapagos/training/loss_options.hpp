#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/training_loss.hpp>

namespace galapagos {

class Options;

/// What is learnt of a reference; without one the text is learnt and nothing of this may be changed.
struct LossOptions {
  double logit_weight = 1, text_weight = 0, hidden_weight = 1, temperature = 1;
  double router_weight = 0;  ///< also without a reference
  std::optional<ops::HiddenLoss> hidden_loss;
  std::string hidden_layers = "all";

  bool operator==(const LossOptions&) const = default;
};

/// Without a reference they decide nothing.
void bind(Options& list, LossOptions& options, bool with_reference = true);

/// UsageError where a number is out of its range, no loss has a weight, or without a reference anything is
/// not as usual.
void check_losses(const LossOptions& options, bool with_reference);

/// The layers after which the residual stream of a pruned model is compared with its reference's at the same
/// place. `choice`:
/// - "all": after each layer that hands a stream on which some layer has worked to a layer that works on it,
///   or to the head. After a layer of which nothing is left the stream is the same as before it; of a run of
///   such layers only the place after the last is compared, so that what goes into the next layer is what the
///   reference's has there, and no stream has two aims. That is the pairing of a student's layer with the
///   last of the teacher's that it stands for (TinyBERT, Jiao et al. 2020; the intermediate_layer_pairs of
///   NVIDIA's ModelOpt);
/// - "last": after the last one, as ModelOpt's usual pair, though before the final norm;
/// - "every:K": every K-th of "all", the last among them;
/// - numbers from 0, as "4,9,29": after these.
/// UsageError where it is none of these.
std::vector<std::int64_t> compared_layers(const std::string& choice, const HfConfig& config);

/// The loss of a training of a model with that configuration, of which no shard's part will do.
TrainingLoss training_loss(const LossOptions& options, bool with_reference, const HfConfig& config);

}  // namespace galapagos
