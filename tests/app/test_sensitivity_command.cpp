#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::run_galapagos;

namespace {

std::vector<std::string> sensitivity_words(const std::filesystem::path& output,
                                           std::vector<std::string> more = {}) {
  std::vector<std::string> words = {"sensitivity",
                                    "--model",
                                    test::data_file("models/llama3_tiny").string(),
                                    "--calibration",
                                    test::data_file("text/sample.jsonl").string(),
                                    "--calibration-tokens",
                                    "2000",
                                    "--sequence-length",
                                    "256",
                                    "--output",
                                    output.string(),
                                    "--threads",
                                    "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

TEST_CASE("from sensitivities to a weighed database, and at an assignment of it", "[app]") {
  const test::TemporaryFolder folder;
  const std::string first = (folder / "first.h5").string(), database = (folder / "x.h5").string();
  const test::Ended measured = run_galapagos(2, sensitivity_words(first));
  INFO(measured.errors);
  CHECK(measured.code == 0);
  CHECK(test::count_lines(measured.errors, "is complete: 8 modules") == 1);
  CHECK(!std::filesystem::exists(first + ".part"));
  const Json info = parse_json(run_galapagos(1, {"info", first, "--json"}).output, "info");
  CHECK(info.at("kind") == "sensitivities");
  CHECK(info.at("complete") == true);
  CHECK(info.at("calibration_tokens") == 2000);
  CHECK(info.at("modules").size() == 8);
  for (const Json& module : info.at("modules")) CHECK(module.at("mean_diagonal").get<double>() > 0);
  CHECK(test::count_lines(run_galapagos(1, {"info", first}).output, "attn") == 4);

  const test::Ended built = run_galapagos(
      2, test::database_words(database, {"--calibration-tokens", "2000", "--sensitivity", first}));
  INFO(built.errors);
  CHECK(built.code == 0);
  const Json weighed = parse_json(run_galapagos(1, {"info", database, "--json", "--verify"}).output, "info");
  for (const Json& module : weighed.at("modules")) {
    const auto losses = module.at("end_loss").get<std::vector<double>>();
    CHECK(losses.front() == 0);
    CHECK(losses.back() > losses.at(1));
  }

  // Sensitivities of the unpruned model are not what a path wants, which is said once.
  std::string ones;
  for (const Json& module : weighed.at("modules")) ones += module.at("module").get<std::string>() + ": 1\n";
  test::write_text(folder / "one.txt", ones);
  const test::Ended path = run_galapagos(
      2, test::database_words(folder / "path.h5", {"--calibration-tokens", "2000", "--sensitivity", first,
                                                   "--path", (folder / "one.txt").string()}));
  INFO(path.errors);
  CHECK(path.code == 0);
  CHECK(test::count_lines(path.errors, "was measured on the unpruned model") == 1);
  CHECK(test::count_lines(built.errors, "was measured") == 0);

  // What is kept of an assignment, refitted as it is exported.
  const std::vector<std::string> stitch = {"stitch",
                                           "--model",
                                           test::data_file("models/llama3_tiny").string(),
                                           "--database",
                                           database,
                                           "--assignment",
                                           (folder / "one.txt").string(),
                                           "--threads",
                                           "1"};
  const std::vector<std::string> text = {"--calibration", test::data_file("text/sample.jsonl").string(),
                                         "--sequence-length", "128"};
  const auto refitted = [&](const std::string& output, std::vector<std::string> more) {
    std::vector<std::string> words = stitch;
    words.insert(words.end(), {"--output", (folder / output).string()});
    if (!more.empty()) words.insert(words.end(), text.begin(), text.end());
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const test::Ended exported = run_galapagos(2, refitted("refitted", {"--refit", "auto"}));
  INFO(exported.errors);
  CHECK(exported.code == 0);
  CHECK(test::count_lines(exported.errors, "modules refitted, ridge") == 1);
  CHECK(parse_json(read_file(folder / "refitted" / "pruning.json"), "pruning.json")
            .at("refit")
            .at("ridges")
            .size() == 8);
  CHECK(run_galapagos(1, refitted("plain", {})).code == 0);
  CHECK(!parse_json(read_file(folder / "plain" / "pruning.json"), "pruning.json").contains("refit"));
  CHECK(run_galapagos(1, refitted("no", {"--refit", "banana"})).code == 2);
  CHECK(run_galapagos(1, refitted("no", {"--refit", "0"})).code == 2);
  CHECK(run_galapagos(1, refitted("no", {"--format", "dense"})).code == 2);  // text, and no refit
  CHECK(!std::filesystem::exists(folder / "no"));

  // The same model with levels put in has other gradients, and says so.
  std::string assignment;
  for (const Json& module : weighed.at("modules"))
    assignment += module.at("module").get<std::string>() + ": 2\n";
  test::write_text(folder / "two.txt", assignment);
  const std::string second = (folder / "second.h5").string();
  const test::Ended pruned = run_galapagos(
      3, sensitivity_words(second, {"--database", database, "--assignment", (folder / "two.txt").string()}));
  INFO(pruned.errors);
  CHECK(pruned.code == 0);
  const Json other = parse_json(run_galapagos(1, {"info", second, "--json"}).output, "info");
  CHECK(other.at("assignment_fingerprint") != info.at("assignment_fingerprint"));
  CHECK(other.at("modules")[0].at("mean_diagonal") != info.at("modules")[0].at("mean_diagonal"));

  // With the slope of the divergence, in a sketch, for a database on its path.
  const std::string third = (folder / "third.h5").string(), sloped_path = (folder / "sloped.h5").string();
  const std::string two = (folder / "two.txt").string();
  const std::string dense = test::data_file("models/llama3_tiny").string();
  const test::Ended sloped =
      run_galapagos(2, sensitivity_words(third, {"--database", database, "--assignment", two, "--from", "kl",
                                                 "--reference", dense, "--form", "lowrank", "--rank", "8"}));
  INFO(sloped.errors);
  CHECK(sloped.code == 0);
  const std::string shown = run_galapagos(1, {"info", third}).output;
  CHECK(test::count_lines(shown, "lowrank of rank 8, and the first order of the divergence") == 1);
  const Json kept = parse_json(run_galapagos(1, {"info", third, "--json"}).output, "info");
  CHECK(kept.at("rank") == 8);
  CHECK(kept.at("from") == "kl");
  // The same drawn ids, the same diagonal.
  for (std::size_t i = 0; i < 8; ++i)
    CHECK(kept.at("modules")[i].at("mean_diagonal").get<double>() ==
          Approx(other.at("modules")[i].at("mean_diagonal").get<double>()).epsilon(1e-3));
  const test::Ended along = run_galapagos(
      2, test::database_words(sloped_path,
                              {"--calibration-tokens", "2000", "--sensitivity", third, "--path", two}));
  INFO(along.errors);
  CHECK(along.code == 0);
  const Json changes =
      parse_json(run_galapagos(1, {"info", sloped_path, "--json", "--verify"}).output, "info");
  CHECK(changes.at("end_loss_from") == "kl");
  for (const Json& module : changes.at("modules")) {
    const auto losses = module.at("end_loss").get<std::vector<double>>();
    CHECK(losses.size() == 9);
    CHECK(losses.front() != 0);  // the path has level 2
  }
  CHECK(test::count_lines(run_galapagos(1, {"info", sloped_path}).output, "changes of the divergence") == 1);
  const test::Ended assigned =
      run_galapagos(1, {"assign", "--model", dense, "--database", sloped_path, "--output",
                        (folder / "assigned.txt").string(), "--target-level", "2"});
  INFO(assigned.errors);
  CHECK(assigned.code == 0);
  const std::string ordinary = (folder / "y.h5").string();
  CHECK(run_galapagos(1, test::database_words(ordinary, {"--sensitivity", third})).code == 3);
  CHECK(run_galapagos(1, sensitivity_words((folder / "z.h5").string(),
                                           {"--database", database, "--assignment", two, "--from", "kl",
                                            "--reference", test::data_file("models/qwen2_tiny").string()}))
            .code == 3);
}

TEST_CASE("what sensitivity refuses", "[app]") {
  const test::TemporaryFolder folder;
  const auto with = [&](const std::string& name, std::vector<std::string> more) {
    return [words = sensitivity_words(folder / name, std::move(more))](int) { return words; };
  };
  test::write_text(folder / "there.h5", "something");
  test::check_refused(
      {{with("a.h5", {"--samples", "0"}), 2, "--samples", {}},
       {with("b.h5", {"--form", "half"}), 2, "unknown form 'half'", {}},
       {with("b.h5", {"--form", "lowrank"}), 2, "--rank", {}},
       {with("b.h5", {"--form", "lowrank", "--rank", "65"}), 2, "a rank of 65 with a hidden size of 64", {}},
       {with("b.h5", {"--rank", "4"}), 2, "use it together with --form lowrank", {}},
       {with("b.h5", {"--from", "ppl"}), 2, "unknown word 'ppl'", {}},
       {with("b.h5", {"--from", "kl", "--reference", "x"}), 2, "only once it is pruned", {}},
       {with("b.h5", {"--from", "kl"}), 2, "--reference", {}},
       {with("b.h5", {"--reference", "x"}), 2, "use it together with --from kl", {}},
       {with("c.h5", {"--lanes", "9"}), 2, "9 lanes do not fit", {}},
       {with("d.h5", {"--calibration-tokens", "-1"}), 2, "--calibration-tokens", {}},
       {with("e.h5", {"--assignment", "x.txt"}), 2, "only one of the two is given", {}},
       {with("f.h5", {"--resume"}), 3, "there is no unfinished run to go on with", {}},
       {with("there.h5", {"--resume", "no"}), 3, "there is a file already", {}},
       {with("there.h5", {}), 3, "there.h5", {}},
       {with("there.h5", {"--fresh"}), 3, "there.h5", {}},
       {with("there.h5", {"--fresh", "--resume"}), 2, "give one of the two", {}},
       {with("g.h5", {"--memory-limit", "100K"}), 4, "the model and its gradients need", folder / "g.h5"},
       {[&](int) {
          return test::database_words(folder / "h.h5", {"--sensitivity", (folder / "there.h5").string()});
        },
        3, "there.h5", folder / "h.h5"}});
}
