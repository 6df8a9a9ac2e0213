#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <string_view>

#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/training/loss_options.hpp>

namespace galapagos {
namespace {

bool works(const LayerShape& shape) {
  return shape.heads() > 0 || shape.columns > 0;
}

std::vector<std::int64_t> all_places(const HfConfig& config) {
  std::vector<std::int64_t> places;
  bool worked = false;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    worked = worked || works(config.shape(layer));
    const bool last = layer + 1 == config.layers;
    if (last || (worked && works(config.shape(layer + 1)))) places.push_back(layer);
  }
  return places;
}

/// A whole number from `least` to `most`, or nothing.
std::optional<std::int64_t> number_of(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
    return std::nullopt;
  return value;
}

}  // namespace

void bind(Options& list, LossOptions& options, bool with_reference) {
  list.add("logit-weight", options.logit_weight, "of the divergence from the reference's probabilities",
           {.least = 0, .most = 1e6, .decides = with_reference, .indirectly = true});
  list.add("temperature", options.temperature, "of that divergence",
           {.least = 1e-2, .most = 1e2, .decides = with_reference, .indirectly = true});
  list.add("text-weight", options.text_weight, "of the text's own loss beside a reference",
           {.least = 0, .most = 1e6, .decides = with_reference, .indirectly = true});
  list.add_choice("hidden-loss", options.hidden_loss, "",
                  {{"none", std::nullopt},
                   {"cosine", ops::HiddenLoss::cosine},
                   {"normalised", ops::HiddenLoss::normalised}},
                  "of hidden states against the reference's: none, cosine or normalised",
                  {.decides = with_reference, .indirectly = true});
  list.add("hidden-weight", options.hidden_weight, "of that loss, a mean over layers",
           {.least = 0, .most = 1e6, .decides = with_reference, .indirectly = true});
  list.add("hidden-layers", options.hidden_layers,
           "after which they are compared: last, all, every:K or numbers",
           {.decides = with_reference, .indirectly = true});
  list.add("router-loss", options.router_weight,
           "weight of the loss that keeps the experts of mixtures in even use, as router_aux_loss_coef",
           {.least = 0, .most = 1e6, .decides = options.router_weight > 0, .indirectly = true});
}

void check_losses(const LossOptions& options, bool with_reference) {
  if (!with_reference) {
    LossOptions others = options;
    others.router_weight = LossOptions().router_weight;
    check_ranges(options);
    if (others == LossOptions()) return;
    throw UsageError(
        "losses against no reference",
        "--hidden-loss, --hidden-weight, --hidden-layers, --logit-weight, --text-weight, --temperature",
        "give the model to learn from as --reference, or leave them out");
  }
  check_ranges(options);
  if (options.logit_weight == 0 && options.text_weight == 0 && !options.hidden_loss) {
    throw UsageError("no loss has a weight", "--logit-weight, --text-weight, --hidden-weight",
                     "give one of them a weight above 0");
  }
  const LossOptions usual;
  const bool hidden =
      options.hidden_weight != usual.hidden_weight || options.hidden_layers != usual.hidden_layers;
  if (!options.hidden_loss && hidden) {
    throw UsageError("no loss of hidden states for them", "--hidden-weight, --hidden-layers",
                     "give --hidden-loss cosine or normalised, or leave them out");
  }
  if (options.hidden_loss && options.hidden_weight == 0) {
    throw UsageError("a loss of hidden states without weight", "--hidden-loss",
                     "give a --hidden-weight above 0, or leave it out");
  }
  if (options.logit_weight == 0 && options.temperature != usual.temperature) {
    throw UsageError("a temperature of no divergence", "--temperature",
                     "give a --logit-weight above 0, or leave it out");
  }
}

std::vector<std::int64_t> compared_layers(const std::string& choice, const HfConfig& config) {
  const auto refuse = [&](const std::string& remedy) {
    throw UsageError("'" + choice + "'", "--hidden-layers", remedy);
  };
  const std::vector<std::int64_t> all = all_places(config);
  if (choice == "all") return all;
  if (choice == "last") return {config.layers - 1};
  std::vector<std::int64_t> chosen;
  constexpr std::string_view every = "every:";
  if (choice.compare(0, every.size(), every) == 0) {
    const auto step = number_of(std::string_view(choice).substr(every.size()), 1, config.layers);
    if (!step) refuse(fmt::format("after every: give a number from 1 to {}", config.layers));
    for (std::size_t i = 0; i < all.size(); ++i) {
      if ((all.size() - 1 - i) % static_cast<std::size_t>(*step) == 0) chosen.push_back(all[i]);
    }
    return chosen;
  }
  for (std::size_t at = 0; at <= choice.size();) {
    const std::size_t end = std::min(choice.find(',', at), choice.size());
    const auto layer = number_of(std::string_view(choice).substr(at, end - at), 0, config.layers - 1);
    if (!layer) {
      refuse(fmt::format("give last, all, every:K or numbers of layers from 0 to {}, as 3,7",
                         config.layers - 1));
    }
    chosen.push_back(*layer);
    at = end + 1;
  }
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

TrainingLoss training_loss(const LossOptions& options, bool with_reference, const HfConfig& config) {
  TrainingLoss loss;
  if (options.router_weight > 0 && !config.mixture)
    throw UsageError("a loss of routers in a model without experts", "--router-loss", "leave it out");
  loss.router = options.router_weight;
  if (!with_reference) return loss;
  loss.text = options.text_weight;
  loss.logits = options.logit_weight;
  loss.temperature = options.temperature;
  if (!options.hidden_loss) return loss;
  loss.hidden = options.hidden_weight;
  loss.hidden_loss = *options.hidden_loss;
  loss.layers = compared_layers(options.hidden_layers, config);
  return loss;
}

}  // namespace galapagos
