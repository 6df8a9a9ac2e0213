#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/pruning/database_options.hpp>

namespace galapagos {

void bind(Options& list, DatabaseOptions& options) {
  list.describe("database",
                "collects Hessians on calibration data, prunes every module of a model at several levels and "
                "writes them into one HDF5 file");
  list.add("model", options.model, "folder of a Hugging Face model", {.required = true, .indirectly = true});
  list.add("calibration", options.calibration,
           "text (.txt, .jsonl, .json, also .gz and .zst) or token files (.bin)",
           {.required = true, .indirectly = true});
  list.add("output", options.output, "the database, X.h5", {.required = true});
  list.add("calibration-tokens", options.calibration_tokens, "tokens to use; 0: all",
           {.least = 0, .refusal = "a negative number", .remedy = "give 1 or more", .indirectly = true});
  bind_sequences(list, options);
  list.add("levels", options.levels, "equal levels; the last removes everything", {.indirectly = true});
  list.add("attn-removed", options.attention_removed,
           "instead: columns of o_proj removed per level, as \"0 512 1024\"",
           {.list = true, .indirectly = true});
  list.add("ffn-removed", options.ffn_removed, "instead: columns of down_proj removed per level",
           {.list = true, .indirectly = true});
  list.add_choice("attention-unit", options.attention_unit, "attention unit",
                  named({AttentionUnit::head, AttentionUnit::group, AttentionUnit::per_group}),
                  "head, group or per-group", {.decides = true});
  list.add("rel-damp", options.relative_damping, "damping as a share of the Hessian's mean diagonal",
           {.least = 0,
            .most = 1e3,
            .refusal = "a damping of {}",
            .remedy = "give 0 or more, as 0.01",
            .decides = true});
  list.add("path", options.path,
           "an assignment of its levels: prune each module by what reaches it through those before it, "
           "pruned so",
           {.indirectly = true});
  bind_compensation(
      list, "compensate", options.compensation,
      "with --path: fit weights to the unpruned model's hidden states; a ridge, or auto to choose "
      "it on held-out sequences");
  list.add("sensitivity", options.sensitivity,
           "sensitivities of the model, S.h5: weigh the order by the end loss and write what levels cost in "
           "it",
           {.indirectly = true});
  list.add("lanes", options.lanes, "data-parallel copies of the pipeline; 0: as few as keep all busy",
           {.least = 0, .most = 1e6, .refusal = "an impossible number of lanes", .remedy = "give 0 or more"});
  list.add_seconds("max-walltime", options.max_seconds, "stop in time to resume, as 11:45:00; 0: no limit");
  bind_resume(list, options, "an unfinished database");
  list.add("repair", options.repair, "do modules again whose checksums do not fit");
  list.add("dry-run", options.dry_run, "print the plan and leave");
  bind_computing(list, options);
}

void check_options(const DatabaseOptions& options) {
  check_ranges(options);
  if (options.path && options.lanes > 0) {
    throw UsageError("on a path every rank is a lane", "--lanes", "leave it out");
  }
  if (options.compensation && !options.path) {
    throw UsageError("only on a path is there anything to compensate", "--compensate",
                     "use it together with --path");
  }
  check_resume(options);
  if (options.repair && (options.fresh || options.resume == Resume::no))
    throw UsageError("nothing to repair", "--repair", "leave --fresh and '--resume no' out");
}

}  // namespace galapagos
