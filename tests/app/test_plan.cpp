#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

using namespace galapagos;

namespace {

/// A model's folder with a config.json and nothing else.
struct ConfigOnly {
  explicit ConfigOnly(const std::string& shape) {
    std::filesystem::copy(test::data_file("shapes/" + shape + ".json"), folder / "config.json");
  }
  std::string path() const { return folder.path().string(); }
  test::TemporaryFolder folder;
};

constexpr const char* llama2_7b = "llama-2-7b";
constexpr const char* qwen25_14b = "qwen2.5-14b";

test::Ended plan(const ConfigOnly& model, std::vector<std::string> words) {
  words.insert(words.begin(), test::program());
  words.insert(words.end(), {"--model", model.path()});
  return test::run_program(words);
}

Json planned(const ConfigOnly& model, std::vector<std::string> words) {
  words.insert(words.begin(), "plan");
  words.push_back("--json");
  const test::Ended ended = plan(model, words);
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  return parse_json(ended.output, "plan");
}

double number(const Json& json, const char* pointer) {
  return json.at(Json::json_pointer(pointer)).get<double>();
}

}  // namespace

TEST_CASE("the database of Qwen2.5-14B with the paper's levels", "[plan]") {
  const ConfigOnly model(qwen25_14b);
  const Json plan =
      planned(model, {"database", "--ranks", "48", "--nodes", "12", "--calibration-tokens", "1048576",
                      "--batch-tokens", "4096", "--sequence-length", "4096", "--attn-removed",
                      "0 512 1024 1536 2048 2560 3072 3584 4096 4608 5120", "--ffn-removed",
                      "0 1376 2752 4160 5536 6912 8288 9664 11072 12448 13824"});
  CHECK(number(plan, "/model/parameters") == 14770033664.0);
  const double file = number(plan, "/database/file_bytes");
  CHECK(file < 55e9);  // the reference's takes 102 GB
  // Kept columns of all levels, times the hidden size, in bf16; the rest is orders and losses.
  const double kept_attention = 4608 + 4096 + 3584 + 3072 + 2560 + 2048 + 1536 + 1024 + 512;
  const double kept_ffn = 12448 + 11072 + 9664 + 8288 + 6912 + 5536 + 4160 + 2752 + 1376;
  const double weights = 48 * 5120 * 2 * (kept_attention + kept_ffn);
  CHECK(file > weights);
  CHECK(file < 1.001 * weights);

  CHECK(number(plan, "/database/grid/stages") == 48);
  CHECK(number(plan, "/database/grid/lanes") == 1);
  // Every module's Hessian stays within a rank's share: one layer's o_proj and down_proj at least.
  const double hessians = 4 * (5120.0 * 5120 + 13824.0 * 13824);
  CHECK(number(plan, "/database/memory/hessians") >= hessians);
  CHECK(number(plan, "/database/memory/hessians") <= 2 * hessians);
  const double layer = 5120 * (2 * (5120 + 1024) + 3 * 13824 + 2) + 5120 + 2 * 1024;
  CHECK(number(plan, "/database/memory/weights") == 2 * (layer + 152064.0 * 5120));  // the first stage

  // Forward: two operations for every parameter of a matrix and token, and causal attention; then H.
  const double matrices = layer - 2 * 5120 - (5120 + 2 * 1024);
  const double attention = 4 * 5120 * (4096 + 1) / 2.0;
  const double gram = 5120.0 * 5120 + 13824.0 * 13824;
  CHECK(number(plan, "/database/operations/collection") ==
        Approx(1048576.0 * 48 * (2 * matrices + attention + gram)).epsilon(1e-9));
  CHECK(number(plan, "/database/moved/hidden_states") == 47.0 * 1048576 * 5120 * 4);
  CHECK_FALSE(plan.at("database").contains("seconds"));
}

TEST_CASE("a database on a path, and a refit, of Llama-2-7B", "[plan]") {
  const ConfigOnly model(llama2_7b);
  std::string text;
  for (int layer = 0; layer < 32; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer);
    text += at + ".self_attn.o_proj: 1\n" + at + ".mlp.down_proj: 0\n";
  }
  const std::string path = (model.folder / "a.txt").string();
  test::write_text(path, text);
  const double tokens = 1048576, n = 11008, d = 4096, length = 4096;
  const auto on_path = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"database", "--ranks",           "8",           "--nodes",
                                      "2",        "--peak-tflops",     "1",           "--calibration-tokens",
                                      "1048576",  "--attn-removed",    "0 2048 4096", "--ffn-removed",
                                      "0 11008",  "--sequence-length", "4096",        "--path",
                                      path};
    words.insert(words.end(), more.begin(), more.end());
    return planned(model, words);
  };
  const Json plain = on_path({}), given = on_path({"--compensate", "1"}),
             chosen = on_path({"--compensate", "auto"});
  // Each rank has an eighth of the tokens, in one stream or two.
  CHECK(number(plain, "/database/memory/states") == tokens / 8 * d * 4);
  CHECK(number(chosen, "/database/memory/states") == 2 * tokens / 8 * d * 4);
  CHECK(number(plain, "/database/memory/hessians") == 4 * n * n);
  CHECK(number(given, "/database/memory/hessians") == 4 * (n * n + n * d));
  CHECK(number(chosen, "/database/memory/hessians") == 8 * (n * n + n * d));
  // Through every module once as it is, with its inputs' products, and once more as it is kept.
  const double attention = 8 * d * d + 4 * d * (length + 1) / 2, half = attention / 2, ffn = 6 * d * n;
  const double grams = d * d + n * n, targets = 2 * d * (d + n);
  CHECK(number(plain, "/database/operations/collection") ==
        Approx(tokens * 32 * (attention + ffn + grams + half + ffn)).epsilon(1e-9));
  CHECK(number(given, "/database/operations/collection") ==
        Approx(tokens * 32 * (2 * (attention + ffn) + grams + targets + half + ffn)).epsilon(1e-9));
  CHECK(number(chosen, "/database/operations/pruning") > 1.5 * number(given, "/database/operations/pruning"));
  CHECK(number(plain, "/database/operations/pruning_rank") == number(plain, "/database/operations/pruning"));
  CHECK(number(plain, "/database/seconds/pruning") > 0);
  CHECK(on_path({"--memory-per-node", "16G"}).at("warnings").size() == 1);
  CHECK(on_path({"--memory-per-node", "512G"}).at("warnings").empty());

  const auto stitch = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"stitch", "--ranks", "8", "--peak-tflops", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return planned(model, words);
  };
  const Json refit = stitch({"--refit", "1", "--calibration-tokens", "1048576", "--calibration", "x.txt",
                             "--target-sparsity", "0.5", "--levels", "2"});
  // Of the uniform assignment at half: kept columns of the wider module.
  CHECK(number(refit, "/stitch/refit/memory/sums") <= 4 * (n * n + n * d));
  CHECK(number(refit, "/stitch/refit/memory/sums") > 4 * d);
  CHECK(number(refit, "/stitch/refit/memory/states") > 2 * tokens / 8 * d * 4);
  CHECK(number(refit, "/stitch/seconds/path") > 0);
  CHECK_FALSE(stitch({}).at("stitch").contains("refit"));

  // Several formats, each with what it holds.
  const Json several = stitch({"--format", "hf", "gguf", "decilm", "--gguf-type", "q8_0", "--target-sparsity",
                               "0.5", "--shard-size", "1G"});
  const auto of = [&](const std::string& format, const std::string& what) {
    return number(several, ("/stitch/formats/" + format + "/" + what).c_str());
  };
  CHECK(of("hf", "parameters") == number(several, "/stitch/parameters"));
  CHECK(of("gguf", "parameters") >= of("hf", "parameters"));
  CHECK(of("decilm", "parameters") > of("gguf", "parameters"));  // query heads of zeros
  CHECK(of("gguf", "file_bytes") == Approx(of("gguf", "parameters") * 34 / 32).epsilon(1e-6));
  CHECK(number(several, "/stitch/file_bytes") ==
        of("hf", "file_bytes") + of("gguf", "file_bytes") + of("decilm", "file_bytes"));
  CHECK(of("gguf", "files") == std::ceil(of("gguf", "file_bytes") / (1 << 30)));
}

TEST_CASE("a search on Llama-2-7B", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const std::vector<std::string> options = {"search",
                                            "--ranks",
                                            "8",
                                            "--nodes",
                                            "2",
                                            "--islands",
                                            "4",
                                            "--levels",
                                            "10",
                                            "--target-level",
                                            "5",
                                            "--calibration-tokens",
                                            "100000",
                                            "--tokens",
                                            "1024 2048 4096 8192"};
  const Json plan = planned(model, options);
  CHECK(number(plan, "/search/dense_parameters") == 6738415616.0);
  CHECK(number(plan, "/search/memory/weights") == 2 * 6738415616.0);
  CHECK(number(plan, "/search/memory/node_answers") == 100000.0 * 4096 * 4);
  CHECK(number(plan, "/search/ranks_of_island") == 2);
  // 16, 8, 4, and 2 with the parent, on each island.
  CHECK(number(plan, "/search/evaluations_per_generation") == 4 * (16 + 8 + 4 + 3));
  const double per_token =
      2.0 * 32 * (4 * 4096.0 * 4096 + 3 * 4096.0 * 11008) + 32 * 4 * 4096.0 * (4096 + 1) / 2;
  CHECK(number(plan, "/search/operations/answers") == Approx(2 * 100000 * per_token).epsilon(1e-9));
  // Half of the layers is gone: between a third and all of the dense cost of the same tokens, with logits.
  const double tokens = 4 * (16 * 1024 + 8 * 2048 + 4 * 4096 + 3 * 8192);
  const double share = number(plan, "/search/operations/generation") / (tokens * per_token);
  CHECK(share > 0.3);
  CHECK(share < 0.9);
  CHECK(number(plan, "/search/computed_share") > 0.6);
  CHECK(plan.at("search").at("level_cache") == "device");

  // The same rules as the search's own: levels that fit no rank go to the node, then to the file.
  const auto home = [&](const char* memory) {
    std::vector<std::string> words = options;
    words.insert(words.end(), {"--memory-per-node", memory});
    return planned(model, words).at("search").at("level_cache").get<std::string>();
  };
  CHECK(home("512G") == "device");
  CHECK(home("160G") == "host");
  CHECK(home("100G") == "file");
}

TEST_CASE("a search that fine-tunes its candidates", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const auto planned_with = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"search", "--ranks",           "2",         "--levels",
                                      "10",     "--target-level",    "5",         "--generations",
                                      "10",     "--survivors",       "4 1",       "--offspring",
                                      "16",     "--tokens",          "1024 2048", "--calibration-tokens",
                                      "100000", "--sequence-length", "2048"};
    words.insert(words.end(), more.begin(), more.end());
    return planned(model, words);
  };
  const Json plain = planned_with({}), tuned = planned_with({"--training-tokens", "0 10000"});
  CHECK(number(plain, "/search/operations/training") == 0);
  CHECK(number(plain, "/search/memory/training") == 0);
  // Four candidates and the parent in the last stage, of about the size of the uniform assignment: three
  // forward passes of 10000 tokens each.
  const double parameters =
      number(tuned, "/search/parameters") - 32000.0 * 4096;  // looked up, not multiplied
  const double training = number(tuned, "/search/operations/training");
  CHECK(training > 5 * 10000 * 3 * 2 * parameters);
  CHECK(training < 1.15 * 5 * 10000 * 3 * 2 * parameters);
  // A candidate that was trained shares no layers with the others; two of those that were not are measured
  // together.
  CHECK(number(tuned, "/search/operations/generation") - training >
        number(plain, "/search/operations/generation"));
  // In the shapes of the whole model, whose cost is known.
  const double dense = 2.0 * 32 * (4 * 4096.0 * 4096 + 3 * 4096.0 * 11008) +
                       32 * 4 * 4096.0 * (2048 + 1) / 2 + 2 * 4096.0 * 32000;
  const Json unmasked = planned_with({"--training-tokens", "0 10000", "--reference-finetuning"});
  CHECK(number(unmasked, "/search/operations/training") == Approx(5 * 10000 * 3 * dense).epsilon(1e-9));
  const Json again = planned_with({"--training-tokens", "0 10000", "--reference-finetuning", "--recompute"});
  const double layers = dense - 2 * 4096.0 * 32000;
  CHECK(number(again, "/search/operations/training") ==
        Approx(5 * 10000 * (3 * dense + layers)).epsilon(1e-9));
  // Working weights, gradients, master weights and two moments, of the whole model.
  CHECK(number(unmasked, "/search/memory/training") > (2 + 4 + 12) * 6738415616.0);
  // AdamW after every sequence takes memory bandwidth.
  const auto seconds = [&](const char* training_tokens) {
    return number(planned_with({"--training-tokens", training_tokens, "--peak-tflops", "100000",
                                "--memory-bandwidth", "100"}),
                  "/search/seconds/generations");
  };
  const double of_candidate = 5 * (10 * 4 + 8 + 2 + 3 * 2) * number(tuned, "/search/parameters");
  CHECK(seconds("0 10240") - seconds("0 0") > 10 * 0.25 * of_candidate / 50e9);
}

TEST_CASE("a distillation of Llama-2-7B's layers", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const Json plan =
      planned(model, {"distil", "--ranks", "8", "--nodes", "2", "--tokens", "1048576", "--epochs", "2",
                      "--sequence-length", "4096", "--step-tokens", "32768", "--reference", model.path()});
  constexpr double layer = 4 * 4096.0 * 4096 + 3 * 4096.0 * 11008 + 2 * 4096;
  CHECK(number(plan, "/distil/updates") == 2 * 28);  // an eighth is held out
  // Three layers in bf16; of an eighth of the text, what comes into and out of a layer.
  CHECK(number(plan, "/distil/memory/weights") == 3 * 2 * layer);
  CHECK(number(plan, "/distil/memory/hidden_states") == 2 * 1048576 / 8 * 4096 * 4.0);
  // What does not grow with the batch: a copy of a layer, the metric, and the fit, for which there are second
  // moments and targets in two parts, their sum, and the change with its product and two that are weighed.
  // Gradients and an eighth of AdamW's three values come after it, and are less.
  const auto training = [&](const char* batch) {
    return number(planned(model, {"distil", "--ranks", "8", "--tokens", "1048576", "--sequence-length", "512",
                                  "--batch-tokens", batch, "--reference", model.path()}),
                  "/distil/memory/training");
  };
  CHECK(2 * training("1024") - training("2048") ==
        Approx(4 * layer + 3 * 4 * 4096.0 * 4096 + 4 * (3 * 11008.0 * 11008 + 8 * 11008.0 * 4096))
            .epsilon(1e-3));
  const double forward = 32 * (2 * (4 * 4096.0 * 4096 + 3 * 4096.0 * 11008) + 4 * 4096.0 * (4096 + 1) / 2);
  // Both models once, both errors, and forward and back twice on what is not held out.
  const double unfitted = 1048576 * (4 + 6 * 7.0 / 8) * forward;
  // With a fit both attention parts, the layer twice, sums over tokens, and on every rank seven solutions.
  const double attention = 32 * (2 * 4 * 4096.0 * 4096 + 4 * 4096.0 * (4096 + 1) / 2);
  const auto per_part = [](const std::function<double(double)>& cost) {
    return 32 * (cost(4096) + cost(11008));
  };
  const double sums = 2 * attention + 2 * forward + per_part([](double n) { return n * n + 2 * n * 4096; });
  const double solving = per_part([](double n) { return 7 * (n * n * n / 3 + 2 * n * n * 4096); });
  CHECK(number(plan, "/distil/operations/total") ==
        Approx(unfitted + 1048576 * sums + 8 * solving).epsilon(1e-9));
  CHECK(number(plan, "/distil/operations/rank") ==
        Approx((unfitted + 1048576 * sums) / 8 + solving).epsilon(1e-9));
  CHECK(number(plan, "/distil/moved") == Approx(56 * 32 * 2 * 4 * layer * 7 / 8).epsilon(1e-9));
  // Where an update is one sequence a rank trains while the others wait; the rest they share.
  const Json lonely =
      planned(model, {"distil", "--ranks", "8", "--tokens", "1048576", "--epochs", "2", "--refit", "none",
                      "--sequence-length", "4096", "--step-tokens", "4096", "--reference", model.path()});
  CHECK(number(lonely, "/distil/operations/total") == Approx(unfitted).epsilon(1e-9));
  CHECK(number(lonely, "/distil/operations/rank") ==
        Approx(1048576 * (4.0 / 8 + 6 * 7.0 / 8) * forward).epsilon(1e-9));
  CHECK(::plan(model, {"plan", "distil", "--ranks", "8"}).code == 2);
}

TEST_CASE("a training of Llama-2-7B", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const std::vector<std::string> options = {"train",   "--ranks",        "8",           "--nodes",
                                            "2",       "--tokens",       "10000000000", "--step-tokens",
                                            "4194304", "--batch-tokens", "4096",        "--checkpoint-every",
                                            "100"};
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> words = options;
    words.insert(words.end(), more.begin(), more.end());
    return planned(model, words);
  };
  const Json plan = with({});
  constexpr double all = 6738415616;
  CHECK(number(plan, "/train/updates") == 2385);
  CHECK(number(plan, "/train/memory/weights") == 2 * all);
  CHECK(number(plan, "/train/memory/gradients") == 4 * all);
  // An eighth of master weights and two moments.
  CHECK(number(plan, "/train/memory/optimiser") == 3 * 4 * all / 8);
  CHECK(number(plan, "/train/memory/data") == 4e10);
  CHECK(number(plan, "/train/memory/evaluation") == 0);
  CHECK(number(plan, "/train/file_bytes") == 2 * all);
  CHECK(number(plan, "/train/checkpoint_bytes") == 12 * all);
  CHECK(number(plan, "/train/checkpoints") == 24);
  // Of a layer: q, k, v and their mixture, a sum for each head, the states between and the two parts of the
  // feed-forward; what goes into it; and working space of one layer; 256 logits and what goes into them with
  // its gradient.
  const double tape = 4 * 4096 + 32 + 4096 + 2 * 11008, states = (32 + 4) * 4096, space = 11008 + 4 * 4096;
  const double logits = 256 * (32000 + 2 * 4096);
  const double small = 64 + 2 * 4096;  // the rotation's frequencies, gradients that nobody asks for
  CHECK(number(plan, "/train/memory/activations") ==
        4 * (4096 * (32 * tape + states + space) + logits + small));
  const Json again = with({"--recompute"});
  CHECK(number(again, "/train/memory/activations") == 4 * (4096 * (tape + states + space) + logits + small));
  CHECK(number(again, "/train/memory/activations") == number(plan, "/train/memory/activations_recomputed"));
  CHECK(number(plan, "/train/memory/total") - number(again, "/train/memory/total") == 4.0 * 4096 * 31 * tape);

  const double layer = 2 * (4 * 4096.0 * 4096 + 3 * 4096.0 * 11008) + 4 * 4096.0 * (4096 + 1) / 2;
  const double forward = 32 * layer + 2 * 4096.0 * 32000;
  CHECK(number(plan, "/train/operations/total") == Approx(3e10 * forward).epsilon(1e-9));
  CHECK(number(plan, "/train/operations/update") == Approx(3 * 4194304 * forward).epsilon(1e-9));
  CHECK(number(plan, "/train/operations/update_rank") ==
        Approx(number(plan, "/train/operations/update") / 8).epsilon(1e-9));
  CHECK(number(again, "/train/operations/total") == Approx(1e10 * (3 * forward + 31 * layer)).epsilon(1e-9));
  // Every rank receives seven eighths of the sums and of the weights, in fp32.
  CHECK(number(plan, "/train/moved/exchanged_per_update") == Approx(2 * 4 * all * 7 / 8).epsilon(1e-9));
  const Json alone = planned(model, {"train", "--ranks", "1", "--tokens", "10000"});
  CHECK(number(alone, "/train/moved/exchanged_per_update") == 0);
  CHECK(number(alone, "/train/memory/optimiser") == 3 * 4 * all);

  // Fewer sequences in an update than there are ranks: some have none.
  const Json few = planned(model, {"train", "--ranks", "8", "--tokens", "100000", "--step-tokens", "16384"});
  CHECK(number(few, "/train/operations/update_rank") ==
        Approx(number(few, "/train/operations/update") / 4).epsilon(1e-9));

  const Json distilled = with({"--reference", model.path()});
  CHECK(number(distilled, "/train/operations/total") == Approx(4e10 * forward).epsilon(1e-9));
  CHECK(number(distilled, "/train/memory/reference") > 2 * all);
  CHECK(number(distilled, "/train/memory/reference") < 2.2 * all);
  CHECK(number(distilled, "/train/memory/hidden_states") == 0);
  // The reference's logits, with two values that they need, are beside the model's.
  CHECK(number(distilled, "/train/memory/activations") - number(plan, "/train/memory/activations") ==
        4 * 256 * (32000 + 2));
  // A copy of the logits for the text's loss, and what the reference has after all layers but the last, which
  // it keeps anyway; of the responses, a byte a token says so.
  const Json recovered = with({"--reference", model.path(), "--text-weight", "0.5", "--hidden-loss", "cosine",
                               "--loss-on", "response"});
  CHECK(number(recovered, "/train/memory/activations") - number(distilled, "/train/memory/activations") ==
        4 * 256 * 32000);
  CHECK(number(recovered, "/train/memory/hidden_states") == 4.0 * 4096 * 31 * 4096);
  CHECK(number(recovered, "/train/memory/reference") - number(distilled, "/train/memory/reference") ==
        4.0 * 4096 * 31 * 4096);
  CHECK(number(recovered, "/train/memory/data") == 5e10);
  const Json last = with({"--reference", model.path(), "--logit-weight", "0", "--hidden-loss", "normalised",
                          "--hidden-layers", "15,31"});
  CHECK(number(last, "/train/memory/hidden_states") == 4.0 * 4096 * 4096);
  CHECK(number(last, "/train/operations/total") == Approx(4e10 * 32 * layer).epsilon(1e-9));

  const Json timed = with({"--peak-tflops", "100", "--network", "10", "--disk", "5"});
  CHECK(number(timed, "/train/seconds/layers") == Approx(3e10 * forward / 8 / 50e12).epsilon(1e-9));
  CHECK(number(timed, "/train/seconds/network") == Approx(2385 * 7 * all / 5e9).epsilon(1e-9));
  CHECK(number(timed, "/train/seconds/disk") ==
        Approx((2 * 2 * all + 24 * 12 * all + 2 * all) / 2.5e9).epsilon(1e-9));

  std::vector<std::string> strict = options;
  strict.insert(strict.begin(), "plan");
  strict.insert(strict.end(), {"--memory-per-node", "256G", "--strict"});
  const test::Ended failed = ::plan(model, strict);
  CHECK(failed.code == 4);
  CHECK(test::count_lines(failed.output, "TOO SMALL") == 1);
  CHECK(test::count_lines(failed.errors, "train: a rank needs") == 1);
  strict.insert(strict.end(), {"--clip", "-1"});
  CHECK(::plan(model, strict).code == 2);
}

TEST_CASE("what collectives move among shards", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const test::Ended ended =
      test::run_program({test::program(), "plan", "collectives", "--model", model.path(), "--json"});
  REQUIRE(ended.code == 0);
  const Json json = parse_json(ended.output, "plan");
  constexpr double states = 4 * 4096;  // of a token, fp32
  CHECK(number(json, "/evaluation/1/total") == 0);
  CHECK(number(json, "/evaluation/2/layers") == 64 * states);
  CHECK(number(json, "/evaluation/4/layers") == 1.5 * 64 * states);
  CHECK(number(json, "/evaluation/8/embedding") == 1.75 * states);
  CHECK(number(json, "/evaluation/8/head") == 0);
  CHECK(number(json, "/evaluation/4/losses") == 3 * 40);
  CHECK(number(json, "/training/4/layers") == 1.5 * 128 * states);
  CHECK(number(json, "/training/4/head") == 1.5 * states);
  CHECK(number(json, "/recomputing/4/layers") == 1.5 * (128 + 31) * states);
  const test::Ended table =
      test::run_program({test::program(), "plan", "collectives", "--model", model.path()});
  CHECK(test::count_lines(table.output, "1.00 MiB    1.50 MiB    1.75 MiB") == 1);
  CHECK(test::run_program({test::program(), "plan", "collectives"}).code == 2);
}

TEST_CASE("an evaluation and a search on shards", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const auto with = [&](const char* command, std::vector<std::string> more) {
    std::vector<std::string> words = {command, "--ranks", "8", "--peak-tflops", "100", "--network", "10"};
    words.insert(words.end(), more.begin(), more.end());
    return planned(model, words);
  };
  constexpr double all = 6738415616, states = 4 * 4096;
  const std::vector<std::string> data = {"--tokens", "100000", "--shards", "4"};
  Json plan = with("eval", data);
  CHECK(number(plan, "/eval/grid/replicas") == 2);
  CHECK(number(plan, "/eval/grid/shards") == 4);
  CHECK(number(plan, "/eval/operations/rank") == Approx(number(plan, "/eval/operations/total") / 8));
  CHECK(number(plan, "/eval/memory/total") > 2 * all / 4);
  CHECK(number(plan, "/eval/memory/total") < 1.2 * 2 * all / 4);
  const double moved = 50000 * 1.5 * 65 * states + 50000 * 3 * 40;
  CHECK(number(plan, "/eval/moved/shards/total") == Approx(moved).epsilon(1e-9));
  CHECK_FALSE(plan.at("eval").at("seconds").contains("network"));  // replicas lie within a node
  // Of 2 ranks a node, a ring passes each node once; of 3 a node, one has ranks of two replicas.
  const auto seconds = [&](const char* nodes) {
    std::vector<std::string> words = data;
    words.insert(words.end(), {"--nodes", nodes});
    return number(with("eval", words), "/eval/seconds/network");
  };
  CHECK(seconds("4") == Approx(moved / 5e9).epsilon(1e-9));
  CHECK(seconds("3") == Approx(2 * moved / 5e9).epsilon(1e-9));
  plan = with("eval", {"--tokens", "100000", "--shards", "4", "--reference", model.path()});
  CHECK(number(plan, "/eval/moved/shards/layers") == Approx(50000 * 1.5 * 128 * states).epsilon(1e-9));
  CHECK(number(plan, "/eval/moved/shards/losses") == 50000.0 * 3 * (24 + 16 + 16 + 16 + 32));

  const auto searched = [&](const char* shards) {
    return with("search", {"--levels", "10", "--target-level", "5", "--calibration-tokens", "100000",
                           "--islands", "2", "--shards", shards});
  };
  const Json one = searched("1"), two = searched("2"), four = searched("4");
  CHECK(number(one, "/search/ranks_of_island") == 4);
  CHECK(number(four, "/search/ranks_of_island") == 1);
  CHECK(number(two, "/search/memory/weights") == Approx(all).epsilon(0.05));
  CHECK(number(four, "/search/memory/weights") == Approx(all / 2).epsilon(0.05));
  CHECK(number(four, "/search/memory/modules") ==
        Approx(number(one, "/search/memory/modules") / 4).epsilon(0.05));
  CHECK(number(one, "/search/moved/shards/generation") == 0);
  // The two replicas share the answers.
  CHECK(number(four, "/search/moved/shards/answers") == Approx(50000 * 1.5 * 65 * states).epsilon(1e-9));
  // At most every layer of every candidate, the parent's once a stage, and little beside the layers.
  const double tokens = 16 * 1024 + 8 * 2048 + 4 * 4096 + 3 * 8192, stages = 1024 + 2048 + 4096 + 8192;
  const double most = 1.5 * 65 * states * (tokens + stages);
  CHECK(number(four, "/search/moved/shards/generation") > 0.5 * most);
  CHECK(number(four, "/search/moved/shards/generation") < most);

  CHECK(::plan(model, {"plan", "eval", "--ranks", "8", "--shards", "3"}).code == 2);
  CHECK(::plan(model, {"plan", "search", "--ranks", "8", "--shards", "3"}).code == 2);
  CHECK(::plan(model, {"plan", "search", "--ranks", "8", "--shards", "0"}).code == 2);
}

TEST_CASE("texts are written to the end of the model's context", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const auto with = [&](const char* tokens) {
    return planned(model, {"generate", "--ranks", "1", "--samples", "8", "--max-new-tokens", tokens})
        .at("generate");
  };
  CHECK(with("100000") == with("4095"));
  CHECK(number(with("4095"), "/operations/rank") > number(with("4094"), "/operations/rank"));
}

TEST_CASE("a training on shards", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {
        "train", "--ranks",        "8",    "--nodes",       "2",   "--tokens",  "10000000", "--step-tokens",
        "65536", "--batch-tokens", "4096", "--peak-tflops", "100", "--network", "10"};
    words.insert(words.end(), more.begin(), more.end());
    return planned(model, words);
  };
  constexpr double all = 6738415616, states = 4 * 4096;
  const Json plan = with({"--shards", "4"}), again = with({"--shards", "4", "--recompute"});
  CHECK(number(plan, "/train/memory/weights") == Approx(2 * all / 4).epsilon(0.001));
  CHECK(number(plan, "/train/memory/gradients") == Approx(all).epsilon(0.001));
  CHECK(number(plan, "/train/memory/optimiser") == Approx(3 * 4 * all / 8).epsilon(0.001));
  CHECK(number(plan, "/train/operations/update_rank") ==
        Approx(number(plan, "/train/operations/update") / 8));
  CHECK(number(plan, "/train/moved/exchanged_per_update") == Approx(all).epsilon(0.001));
  const double tokens = 32768;
  CHECK(number(plan, "/train/moved/shards_per_update/layers") == tokens * 1.5 * 128 * states);
  CHECK(number(again, "/train/moved/shards_per_update/layers") == tokens * 1.5 * (128 + 31) * states);
  // A replica a node: through the network go the gradients and weights of four parts, which make the model.
  const double updates = number(plan, "/train/updates");
  CHECK(number(plan, "/train/seconds/network") == Approx(updates * 4 * all / 5e9).epsilon(0.001));
  CHECK(::plan(model, {"plan", "train", "--ranks", "8", "--tokens", "1000", "--shards", "3"}).code == 2);
}

TEST_CASE("all commands of one INI file, with times", "[plan]") {
  const ConfigOnly model(qwen25_14b);
  test::write_text(
      model.folder / "x.ini",
      "precision = bf16\n[database]\ncalibration-tokens = 2000000\nlevels = 8\n[search]\n"
      "target-level = 4\ncalibration-tokens = 50000\nislands = 16\n[train]\ntokens = 3000\n[eval]\n"
      "tokens = 1000\n");
  const std::vector<std::string> words = {
      "--ranks", "64", "--nodes",   "16", "--peak-tflops", "2",
      "--disk",  "50", "--network", "25", "--config",      (model.folder / "x.ini").string()};
  const Json plan = planned(model, words);
  CHECK(number(plan, "/database/calibration_tokens") == 2e6);
  CHECK(number(plan, "/search/calibration_tokens") == 50000);
  CHECK(number(plan, "/eval/tokens") == 1000);
  CHECK(plan.at("assumed").empty());
  CHECK(number(plan, "/database/seconds/collection") >
        number(plan, "/database/operations/collection_rank") / 1e12 * 0.999);
  CHECK(number(plan, "/stitch/parameters") == number(plan, "/search/parameters"));
  CHECK(number(plan, "/train/tokens") == 3000);
  CHECK(number(plan, "/train/parameters") == number(plan, "/stitch/parameters"));  // the pruned model
  CHECK(number(plan, "/stitch/file_bytes") == 2 * number(plan, "/search/parameters"));
  std::vector<std::string> text = words;
  text.insert(text.begin(), "plan");
  const test::Ended table = ::plan(model, text);
  CHECK(table.code == 0);
  CHECK(test::count_lines(table.output, "memory of a rank") == 6);
  CHECK(test::count_lines(table.output, "TOO SMALL") == 0);
}

TEST_CASE("memory of GPUs apart from the node's", "[plan]") {
  const ConfigOnly model(llama2_7b);
  const auto search = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"search", "--ranks", "4", "--calibration-tokens", "4194304"};
    words.insert(words.end(), more.begin(), more.end());
    return planned(model, words);
  };
  const auto cache = [](const Json& plan) { return plan.at("search").at("level_cache").get<std::string>(); };
  const Json any = search({"--gpu-memory", "1024G"});
  const double dense = number(any, "/search/memory/weights"), built = number(any, "/search/levels/built"),
               stored = number(any, "/search/levels/stored"),
               answers = number(any, "/search/memory/node_answers");
  const double rest = number(any, "/search/memory/total") - number(any, "/search/memory/modules");
  CHECK(answers == 4194304.0 * 4096 * 4);
  // On a GPU weights of 16 bits have activations of 16 bits: what a layer holds, beside a hidden state.
  CHECK(any.at("model").at("precision") == "bf16");
  const double layer = 4096 + 2 * 64 * 128 + 2 * 11008, states = 4096, frequencies = 4 * 64;
  CHECK(number(any, "/search/memory/activations") == 4096 * (2 * layer + 4 * states) + frequencies);
  CHECK(number(search({}), "/search/memory/activations") == 4096 * (4 * layer + 4 * states) + frequencies);

  // The answers, 64 GiB, take nothing of a GPU: each of these holds exactly what the replica needs.
  const auto bytes = [](double of) { return std::to_string(static_cast<std::int64_t>(of / 0.85) + 1); };
  const Json all = search({"--gpu-memory", bytes(rest + built)});
  CHECK(cache(all) == "device");
  CHECK(number(all, "/search/memory/limit") >= rest + built);
  CHECK(all.at("warnings").empty());
  CHECK(cache(search({"--gpu-memory", bytes(rest + built - 1e6)})) == "host");
  const double model_of_modules = dense;  // at most: what is cached are modules, no embeddings
  const std::string some = bytes(rest + model_of_modules);
  const double shared = answers + stored;
  CHECK(cache(search({"--gpu-memory", some, "--memory-per-node", bytes(shared)})) == "host");
  CHECK(cache(search({"--gpu-memory", some, "--memory-per-node", bytes(shared - 1e6)})) == "file");
  const Json no_room = search({"--gpu-memory", some, "--memory-per-node", bytes(answers - 1e6)});
  CHECK(no_room.at("warnings").size() == 1);
  CHECK(search({"--gpu-memory", bytes(rest)}).at("warnings").size() == 1);
  CHECK(search({"--gpu-memory", bytes(rest), "--shards", "4"}).at("warnings").empty());

  // An inverse in fp64: a copy of the ffn's Hessian and as much to work in.
  const auto pruning = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"database", "--ranks", "4", "--calibration-tokens", "1048576"};
    words.insert(words.end(), more.begin(), more.end());
    return number(planned(model, words), "/database/memory/pruning");
  };
  CHECK(pruning({"--gpu-memory", "80G"}) - pruning({}) == 2 * 11008.0 * 11008 * 8);

  // With the node's memory alone the same runs share it.
  CHECK(search({"--memory-per-node", bytes(4 * (rest + built))}).at("search").at("level_cache") != "device");

  const test::Ended table = plan(model, {"plan", "eval", "--ranks", "4", "--gpu-memory", "80G"});
  CHECK(test::count_lines(table.output, "a GPU of 80.00 GiB each") == 1);
  CHECK(test::count_lines(table.output, "memory of a GPU") == 1);
  CHECK(plan(model, {"plan", "eval", "--ranks", "4", "--gpu-memory", "8G", "--strict"}).code == 0);
  CHECK(plan(model, {"plan", "eval", "--ranks", "1", "--gpu-memory", "8G", "--strict"}).code == 4);
  CHECK(plan(model, {"plan", "eval", "--ranks", "4", "--gpu-memory", "8G", "--backend", "cpu"}).code == 2);
  CHECK(planned(model, {"stitch", "--ranks", "4", "--gpu-memory", "1M"}).at("warnings").empty());
}

TEST_CASE("what does not fit is said, and fails where that is asked for", "[plan]") {
  const ConfigOnly model(qwen25_14b);
  const std::vector<std::string> words = {"plan", "database", "--ranks", "4", "--memory-per-node", "16G"};
  const test::Ended warned = plan(model, words);
  CHECK(warned.code == 0);
  CHECK(test::count_lines(warned.output, "TOO SMALL") == 1);
  std::vector<std::string> strict = words;
  strict.push_back("--strict");
  const test::Ended failed = plan(model, strict);
  CHECK(failed.code == 4);
  CHECK(test::count_lines(failed.output, "TOO SMALL") == 1);
  CHECK(test::count_lines(failed.errors, "--memory-limit") == 1);

  CHECK(plan(model, {"plan", "database"}).code == 2);
  CHECK(plan(model, {"plan", "database", "--ranks", "2", "--lanes", "5"}).code == 2);
  CHECK(plan(model, {"plan", "sensitivity", "--ranks", "2", "--lanes", "5"}).code == 2);
  CHECK(plan(model, {"plan", "cooking", "--ranks", "4"}).code == 2);
  CHECK(plan(model, {"plan", "--ranks", "4", "search"}).code == 2);
  CHECK(plan(model, {"plan", "--ranks", "4", "--no-such-option", "4"}).code == 2);
  CHECK(plan(model, {"plan", "--ranks", "4", "--nodes", "5"}).code == 2);
  CHECK(plan(model, {"plan", "database", "--ranks", "4", "--lanes", "5"}).code == 2);
  CHECK(plan(model, {"plan", "--ranks", "4", "--efficiency", "2"}).code == 2);
  const test::TemporaryFolder empty;
  CHECK(test::run_program({test::program(), "plan", "--ranks", "4", "--model", empty.path().string()}).code ==
        3);
}
