#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/pruning/sensitivity_options.hpp>

namespace galapagos {

void bind(Options& list, SensitivityOptions& options) {
  list.describe(
      "sensitivity",
      "measures how the end loss depends on what each module puts out, by gradients of the negative "
      "log-likelihood of ids drawn from the model itself");
  list.add("model", options.model, "folder of a Hugging Face model", {.required = true, .indirectly = true});
  list.add("database", options.database, "with --assignment: put levels of this database in",
           {.indirectly = true});
  list.add("assignment", options.assignment, "a level for every module, as best.txt", {.indirectly = true});
  list.add("calibration", options.calibration,
           "text (.txt, .jsonl, .json, also .gz and .zst) or token files (.bin)",
           {.required = true, .indirectly = true});
  list.add("output", options.output, "the sensitivities, S.h5", {.required = true});
  list.add("calibration-tokens", options.calibration_tokens,
           "tokens to use, without this option fewer where the text is shorter; 0: all",
           {.least = 0, .indirectly = true});
  bind_sequences(list, options);
  list.add("samples", options.samples, "ids drawn for each token, each with a backward pass of its own",
           {.least = 1, .decides = true});
  list.add_choice(
      "form", options.form, "form",
      named({SensitivityForm::full, SensitivityForm::lowrank, SensitivityForm::diagonal,
             SensitivityForm::scalar}),
      "what is kept of a module: full (a matrix of the hidden size), lowrank (--rank vectors of it and a "
      "diagonal), diagonal or scalar",
      {.decides = true});
  list.add("rank", options.rank, "with --form lowrank: vectors kept",
           {.least = 0, .none_at_0 = true, .decides = true});
  list.add_choice(
      "from", options.divergence, "word", {{"drawn", false}, {"kl", true}},
      "drawn: ids drawn from the model; kl: besides, at an assignment, the first order of the divergence "
      "from "
      "--reference",
      {.decides = true});
  list.add("reference", options.reference,
           "with --from kl: the unpruned model, from which the database was made", {.indirectly = true});
  list.add("lanes", options.lanes,
           "copies of the model that share the tokens, each over as many ranks; 0: as many as can hold it",
           {.least = 0, .most = 1e6, .refusal = "an impossible number of lanes", .remedy = "give 0 or more"});
  list.add("shards", options.shards, "ranks that hold one copy of the model, each a part of every layer");
  list.add("checkpoint-tokens", options.checkpoint_tokens, "tokens from one saving to the next",
           {.least = 1});
  list.add("seed", options.seed, "of the ids that are drawn", {.decides = true});
  bind_run(list, options, "an unfinished run");
  bind_computing(list, options);
}

void check_options(const SensitivityOptions& options) {
  check_ranges(options);
  if (options.samples >= 1 << 24) throw UsageError("too many", "--samples", "give fewer than 2^24");
  if (options.form == SensitivityForm::lowrank && options.rank == 0)
    throw UsageError("a sketch of no rank", "--form lowrank", "give --rank besides, as --rank 64");
  if (options.form != SensitivityForm::lowrank && options.rank != 0)
    throw UsageError("a rank is of a sketch", "--rank", "use it together with --form lowrank");
  if (options.shards > 1 && options.lanes > 0)
    throw UsageError("both of them", "--lanes, --shards", "give one: replicas of shards are the lanes then");
}

}  // namespace galapagos
