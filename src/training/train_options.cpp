#include <galapagos/core/options.hpp>
#include <galapagos/training/train_options.hpp>

namespace galapagos {
namespace {

void bind_updates(Options& list, TrainOptions& options) {
  list.add("step-tokens", options.step_tokens, "tokens of one update, over all ranks",
           {.least = 1, .decides = true});
  list.add("learning-rate", options.learning_rate, "at its greatest",
           {.least = 0, .most = 1e3, .decides = true});
  list.add("min-learning-rate", options.least_rate_share, "at the end, as a share of the greatest",
           {.least = 0, .most = 1, .decides = true});
  list.add_choice("schedule", options.decay, "schedule",
                  named({Decay::constant, Decay::linear, Decay::cosine}),
                  "of the learning rate: constant, linear or cosine", {.decides = true});
  list.add("warmup", options.warmup_share, "share of the updates in which the learning rate grows",
           {.least = 0, .most = 1, .decides = true});
  list.add("clip", options.clip, "greatest norm of the gradient; 0: any",
           {.least = 0, .most = 1e9, .decides = true});
  list.add("weight-decay", options.adamw.weight_decay, "of AdamW",
           {.least = 0, .most = 1e3, .decides = true});
  list.add("beta1", options.adamw.beta1, "of AdamW", {.least = 0, .most = 1 - 1e-9, .decides = true});
  list.add("beta2", options.adamw.beta2, "of AdamW", {.least = 0, .most = 1 - 1e-9, .decides = true});
  list.add("epsilon", options.adamw.epsilon, "of AdamW", {.least = 1e-30, .most = 1, .decides = true});
  list.add("recompute", options.recompute, "keep only what goes into each layer (activation checkpointing)");
}

}  // namespace

void bind(Options& list, TrainOptions& options) {
  list.describe("train", "continued training or distillation of a model, pruned or not");
  list.add("model", options.model, "folder of a Hugging Face model", {.required = true, .indirectly = true});
  list.add("random-weights", options.random_weights,
           "use only its config.json and tokenizer, begin at random weights", {.indirectly = true});
  list.add("data", options.data, "text or token files to train on", {.required = true, .indirectly = true});
  list.add("output", options.output, "folder of the run", {.required = true});
  list.add("tokens", options.tokens, "to train on; a shorter text is read again",
           {.least = 1, .none_at_0 = true, .required = true, .decides = true});
  list.add("reference", options.reference, "learn from this model (distillation), not from the text",
           {.indirectly = true});
  bind(list, options.loss, options.reference.has_value());
  list.add_choice("loss-on", options.responses_only, "", {{"all", false}, {"response", true}},
                  "tokens that count: all or response",
                  {.decides = options.responses_only, .indirectly = true});
  bind_sequences(list, options);
  list.add("shards", options.shards, "ranks that hold one replica of the model",
           {.decides = options.shards > 1, .indirectly = true});
  bind_updates(list, options);
  list.add("eval-data", options.eval_data, "files whose perplexity is measured");
  list.add("eval-every", options.eval_every, "updates between evaluations; 0: before and after",
           {.least = 0});
  list.add("checkpoint-every", options.checkpoint_every,
           "updates between checkpoints; 0: only when stopped or where the model cannot be written",
           {.least = 0});
  list.add("seed", options.seed, "of the order of the data and of random weights", {.decides = true});
  bind_run(list, options, "an unfinished training");
  bind_computing(list, options);
}

void check_options(const TrainOptions& options) {
  check_losses(options.loss, options.reference.has_value());
  check_ranges(options);
}

}  // namespace galapagos
