#include "distil_setup.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/pruning/calibration_batches.hpp>
#include <galapagos/pruning/compensation.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::uint8_t text_order = 18;  // of random numbers, apart from other uses

DistilSource open_source(const fs::path& folder, const ops::Context& context,
                         const std::optional<DType>& precision) {
  DistilSource source;
  source.config = read_hf_config(folder);
  source.checkpoint.emplace(folder);
  source.precision = ops::working_type(context.device(), precision.value_or(source.checkpoint->dtype()));
  return source;
}

void open_models(DistilSetup& setup, const ops::Context& context) {
  const DistilOptions& options = setup.options;
  setup.model = open_source(options.model, context, options.precision);
  setup.reference = open_source(options.reference, context, options.precision);
  const HfConfig &model = setup.model.config, &reference = setup.reference.config;
  if (model.layers != reference.layers || model.hidden_size != reference.hidden_size ||
      model.vocab_size != reference.vocab_size) {
    throw InputError(fmt::format("{} layers of {} and {} ids, but the model has {} of {} and {}",
                                 reference.layers, reference.hidden_size, reference.vocab_size, model.layers,
                                 model.hidden_size, model.vocab_size),
                     options.reference.string(), "give the model that this one was made from");
  }
  refuse_mixture(model, "distillation layer by layer", options.model.string(),
                 "train it with 'galapagos train --reference'");
  if (options.refit) check_reaches_stream(model, "--refit", "give --refit none");
  if (!options.sensitivity) return;
  setup.sensitivities.emplace(*options.sensitivity);
  if (setup.sensitivities->header().model_fingerprint != hex64(setup.reference.checkpoint->fingerprint())) {
    throw InputError("these sensitivities are of another model", options.sensitivity->string(),
                     "make them with 'galapagos sensitivity' from the model given by --reference");
  }
}

/// Deals the sequences before `fitted` to updates in random order and, update by update, to the ranks in
/// turn; and the others, which are held out, to the ranks in turn.
void deal(const TokenSet& all, std::size_t fitted, int rank, int ranks, DistilSetup& setup) {
  const DistilOptions& options = setup.options;
  std::vector<std::uint32_t> order(fitted);
  std::iota(order.begin(), order.end(), 0u);
  RandomStream(options.seed, {0, 0, 0, text_order}).shuffle(order, order.size());
  DistilText& text = setup.text;
  std::vector<std::uint32_t> mine;
  std::vector<std::size_t> ends;  // of every update in `mine`
  const auto is_mine = [&](std::size_t place) {
    return static_cast<int>(place % static_cast<std::size_t>(ranks)) == rank;
  };
  for (std::size_t next = 0; next < fitted;) {
    std::int64_t tokens = 0;
    for (; next < fitted && tokens < options.step_tokens; ++next) {
      tokens += std::ssize(all.sequence(order[next]));
      if (is_mine(next)) mine.push_back(order[next]);
    }
    text.update_tokens.push_back(tokens);
    text.fitted_tokens += tokens;
    ends.push_back(mine.size());
  }
  for (std::size_t s = fitted; s < all.sequences(); ++s) {
    text.held_tokens += std::ssize(all.sequence(s));
    if (is_mine(s)) mine.push_back(static_cast<std::uint32_t>(s));
  }
  ends.push_back(mine.size());
  setup.mine = select_sequences(all, mine);
  const std::span<const std::uint64_t> offsets(setup.mine.offsets);
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    text.updates.push_back(text.batches.size());
    std::vector<Batch> batches =
        make_batches(setup.mine.tokens, offsets.subspan(begin, end - begin + 1), options.batch_tokens);
    std::move(batches.begin(), batches.end(), std::back_inserter(text.batches));
    begin = end;
  }
}

std::string identity_of(const DistilSetup& setup, const TokenSet& text) {
  const DistilOptions& options = setup.options;
  Json json;  // files first: where they differ, a refusal names them
  json["model"] = hex64(setup.model.checkpoint->fingerprint());
  json["reference"] = hex64(setup.reference.checkpoint->fingerprint());
  json["configs"] =
      hex64(Hash64().add(setup.model.config.source.dump()).add(setup.reference.config.source.dump()).value());
  json["sensitivity"] = setup.sensitivities ? setup.sensitivities->fingerprint() : "";
  json["data"] = hex64(text.fingerprint());
  json.update(deciding(options));
  json["refit"] = options.refit;
  json["beta1"] = options.adamw.beta1;
  json["beta2"] = options.adamw.beta2;
  json["epsilon"] = options.adamw.epsilon;
  json["precision"] = name_of(setup.model.precision);
  json["reference-precision"] = name_of(setup.reference.precision);
  return json.dump();
}

}  // namespace

void prepare_distillation(const Communicator& comm, const ops::Context& context, const DistilOptions& asked,
                          DistilSetup& setup) {
  setup.options = asked;
  const DistilOptions& options = setup.options;
  SequenceRequest request;
  agree(comm, [&] {
    check_ranges(options);
    open_models(setup, context);
    request.sequence_length = checked_sequence_length(options.sequence_length, setup.model.config);
    request.token_budget = options.tokens;
    request.add_bos = options.add_bos;
    request.text = options.text;
  });
  if (comm.is_root() && setup.sensitivities &&
      !setup.sensitivities->header().assignment_fingerprint.empty()) {
    log_warning("{} was measured with an assignment put in, not on the unpruned model",
                options.sensitivity->string());
  }
  TokenSet all = load_model_sequences(comm, options.data, options.model, setup.model.config, request);
  agree(comm, [&] {
    setup.tokens = std::ssize(all.tokens);
    setup.fitted_sequences = hold_out(all, "--data");
    setup.identity = identity_of(setup, all);
    deal(all, setup.fitted_sequences, comm.rank(), comm.size(), setup);
    for (std::size_t s = 0; s < all.sequences(); ++s)
      setup.longest = std::max<std::int64_t>(setup.longest, std::ssize(all.sequence(s)));
    setup.longest = std::max(setup.longest, std::min(options.batch_tokens, setup.tokens));
    Schedule& schedule = setup.schedule;
    schedule.peak = options.learning_rate;
    schedule.least = options.learning_rate * options.least_rate_share;
    schedule.steps = options.epochs * std::ssize(setup.text.update_tokens);
    schedule.warmup = std::llround(options.warmup_share * static_cast<double>(schedule.steps));
  });
}

}  // namespace galapagos
