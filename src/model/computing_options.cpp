#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/model/computing_options.hpp>

namespace galapagos {

void bind_sequences(Options& list, ComputingOptions& options, bool in_identity) {
  const OptionRules rules = {.decides = in_identity, .indirectly = true};
  list.add("sequence-length", options.sequence_length,
           "longest sequence in tokens; 0: what the model takes, at most 8192", rules);
  list.add("add-bos", options.add_bos, "put a BOS token in front of every document", rules);
  bind_text(list, options.text, in_identity);
}

void bind_log_level(Options& list, std::string& level) {
  list.add("log-level", level, "trace, debug, info, warning, error or off");
}

void bind_computing(Options& list, ComputingOptions& options) {
  bind_log_level(list, options.log_level);
  list.add("backend", options.backend, "auto, cpu or cuda");
  list.add("allow-gpu-sharing", options.allow_gpu_sharing, "let several ranks use one GPU");
  list.add_choice(
      "collectives", options.collectives, "collectives",
      {{"auto", CollectivesKind::automatic}, {"nccl", CollectivesKind::nccl}, {"mpi", CollectivesKind::mpi}},
      "what ranks on GPUs exchange through: auto, nccl or mpi");
  list.add("no-collectives-check", options.no_collectives_check,
           "do not look at the start whether what ranks on GPUs exchange arrives");
  list.add_choice("precision", options.precision, "precision",
                  {{"auto", std::nullopt}, {"fp32", DType::f32}, {"bf16", DType::bf16}, {"fp16", DType::f16}},
                  "of the working weights: auto (as the checkpoint), fp32, bf16, or fp16 (on a GPU bf16)",
                  {.decides = true});
  list.add("batch-tokens", options.batch_tokens, "tokens computed at a time", {.least = 1, .decides = true});
  list.add_bytes("memory-limit", options.memory_limit,
                 "bytes that a rank may use, as 64G; 0: its share of the node's free memory");
  list.add("threads", options.threads,
           "threads per rank; 0: OMP_NUM_THREADS, or the rank's share of the node",
           {.least = 0, .most = 4096, .refusal = "{} threads", .remedy = "give 1 or more"});
}

void bind_resume(Options& list, RunOptions& options, const std::string& what) {
  list.add_choice(
      "resume", options.resume, "word",
      {{"auto", Resume::automatic},
       {"yes", Resume::yes},
       {"no", Resume::no},
       {"true", Resume::yes},
       {"false", Resume::no}},
      "go on with " + what +
          ": auto where it fits what is asked for, yes (or no word) where something has to be there, "
          "no where nothing may",
      {.implied = "yes"});
  list.add("fresh", options.fresh, "begin anew: remove " + what + ", or finished, that is there");
}

void check_resume(const RunOptions& options) {
  if (options.fresh && options.resume == Resume::yes)
    throw UsageError("going on, and beginning anew", "--resume, --fresh", "give one of the two");
}

void bind_run(Options& list, RunOptions& options, const char* what, const char* dry_run) {
  list.add_seconds("max-walltime", options.max_seconds, "stop in time to resume, as 11:45:00; 0: no limit");
  bind_resume(list, options, what);
  list.add("dry-run", options.dry_run, dry_run);
}

}  // namespace galapagos
