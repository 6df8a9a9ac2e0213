#include <galapagos/core/options.hpp>
#include <galapagos/training/distil_options.hpp>

namespace galapagos {

void bind(Options& list, DistilOptions& options) {
  list.describe("distil", "trains a pruned model's layers one by one toward the unpruned model's");
  list.add("model", options.model, "folder of the pruned model", {.required = true, .indirectly = true});
  list.add("reference", options.reference, "folder of the unpruned model",
           {.required = true, .indirectly = true});
  list.add("data", options.data, "text or token files", {.required = true, .indirectly = true});
  list.add("output", options.output, "folder of the run", {.required = true});
  list.add("sensitivity", options.sensitivity,
           "of the unpruned model: weighs the error by what it costs in the end", {.indirectly = true});
  list.add("tokens", options.tokens, "of the text; 0: all", {.least = 0, .indirectly = true});
  bind_sequences(list, options);
  list.add_choice("refit", options.refit, "", {{"auto", true}, {"none", false}},
                  "auto: fit what a layer's parts put out by least squares before it is trained; or none",
                  {.indirectly = true});
  list.add("epochs", options.epochs, "times that a layer sees the text; 0: only fit",
           {.least = options.refit ? 0.0 : 1.0, .decides = true});
  list.add("step-tokens", options.step_tokens, "tokens of one update, over all ranks",
           {.least = 1, .decides = true});
  list.add("learning-rate", options.learning_rate, "at its greatest",
           {.least = 0, .most = 1e3, .decides = true});
  list.add("min-learning-rate", options.least_rate_share, "at the end, as a share of the greatest",
           {.least = 0, .most = 1, .decides = true});
  list.add("warmup", options.warmup_share, "share of the updates in which the learning rate grows",
           {.least = 0, .most = 1, .decides = true});
  list.add("weight-decay", options.adamw.weight_decay, "of AdamW",
           {.least = 0, .most = 1e3, .decides = true});
  list.add("seed", options.seed, "of the order of the data", {.decides = true});
  list.add_bytes("shard-size", options.shard_bytes, "most bytes of one file of the model");
  bind_run(list, options, "an unfinished distillation", "print what it takes and leave");
  bind_computing(list, options);
}

}  // namespace galapagos
