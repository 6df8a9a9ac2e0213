#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/small_run.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/pruning/database.hpp>

using namespace galapagos;

namespace {

// The modules that a file of an unfinished or finished run says are done, each with sound checksums.
std::set<ModuleId> done_modules(const std::filesystem::path& output) {
  std::set<ModuleId> done;
  for (const auto& path : {part_path(output), output}) {
    if (!std::filesystem::exists(path)) continue;
    const DatabaseReader reader(path);
    for (const ModuleId& module : reader.header().modules()) {
      if (!reader.done(module)) continue;
      reader.verify(module);
      done.insert(module);
    }
  }
  return done;
}

std::string every_column() {
  std::string list;
  for (int column = 0; column <= 176; ++column) list += std::to_string(column) + " ";
  return list;
}

// How many modules an unfinished file says are done, read as quickly as can be while it is being written; -1
// before there is such a file.
int count_done(const std::filesystem::path& output, const std::vector<ModuleId>& modules) {
  try {
    const Hdf5File file = Hdf5File::open(part_path(output));
    int done = 0;
    for (const ModuleId& module : modules)
      done += file.read_values<std::uint8_t>(group_of(module) + "/state", Hdf5Type::u8, 1).at(0);
    return done;
  } catch (const Error&) {
    return -1;
  }
}

}  // namespace

TEST_CASE("a run killed at any moment can be resumed, keeps what was done and ends in the same file",
          "[kill][.slow]") {
  const test::TemporaryFolder folder;
  const std::vector<ModuleId> modules = modules_of(read_hf_config(test::data_file("models/llama3_tiny")));
  for (const int ranks : {1, 3}) {
    const auto name = [&](const std::string& stem) {
      return folder / (stem + std::to_string(ranks) + ".h5");
    };
    // Many levels, so that writing takes its time.
    const auto words = [](const std::filesystem::path& output, std::vector<std::string> more = {}) {
      more.insert(more.end(), {"--ffn-removed", every_column()});
      return test::database_words(output, more);
    };
    const std::filesystem::path reference = name("reference");
    const auto begin = std::chrono::steady_clock::now();
    REQUIRE(test::run_galapagos(ranks, words(reference)).code == 0);
    const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

    std::multiset<std::size_t> seen;
    const auto kill_and_resume = [&](const std::string& stem, double seconds,
                                     const std::function<bool(const std::filesystem::path&)>& until) {
      const std::filesystem::path output = name(stem);
      test::run_galapagos(ranks, words(output), seconds, [&] { return until && until(output); });
      const std::set<ModuleId> before = done_modules(output);
      seen.insert(before.size());
      // Killed a second time, while it resumes.
      test::run_galapagos(ranks, words(output), 0.8 * whole);
      const std::set<ModuleId> after = done_modules(output);
      CHECK(std::includes(after.begin(), after.end(), before.begin(), before.end()));
      CHECK(test::run_galapagos(ranks, words(output)).code == 0);
      CHECK(test::compare(reference, output).same_bits);
      CHECK(!std::filesystem::exists(part_path(output)));
      std::filesystem::remove(output);
    };
    constexpr int moments = 8;
    for (int moment = 0; moment < moments; ++moment) {
      kill_and_resume("time" + std::to_string(moment), (0.3 + 0.7 * moment / moments) * whole, {});
    }
    kill_and_resume(
        "new", 60, [](const auto& output) { return std::filesystem::exists(output.string() + ".part.new"); });
    for (int done = 0; done < 8; ++done) {
      kill_and_resume("done" + std::to_string(done), 60,
                      [&](const auto& output) { return count_done(output, modules) >= done; });
    }
    std::cout << ranks << " ranks: killed with this many of 8 modules done:";
    for (const std::size_t count : seen) std::cout << ' ' << count;
    std::cout << '\n';
    CHECK(std::set<std::size_t>(seen.begin(), seen.end()).size() > 2);
  }
}

TEST_CASE("a mixture's run killed between its experts is gone on with and ends in the same file", "[kill]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path model = test::data_file("models/qwen3_moe_tiny");
  const std::vector<ModuleId> modules = modules_of(read_hf_config(model));
  const int all = static_cast<int>(modules.size());
  for (const int ranks : {1, 3}) {
    const auto words = [&](const std::filesystem::path& output) -> std::vector<std::string> {
      return {"database",
              "--model",
              model.string(),
              "--calibration",
              test::data_file("text/sample.jsonl").string(),
              "--sequence-length",
              "256",
              "--levels",
              "12",
              "--lanes",
              "1",
              "--output",
              output.string(),
              "--threads",
              "1"};
    };
    const std::filesystem::path reference = folder / ("reference" + std::to_string(ranks) + ".h5");
    REQUIRE(test::run_galapagos(ranks, words(reference)).code == 0);
    int killed = 0;
    for (const int done : {1, all / 3, 3 * all / 4}) {
      const std::filesystem::path output =
          folder / ("done" + std::to_string(ranks) + "_" + std::to_string(done) + ".h5");
      test::run_galapagos(ranks, words(output), 60, [&] { return count_done(output, modules) >= done; });
      const std::set<ModuleId> before = done_modules(output);
      if (!before.empty() && static_cast<int>(before.size()) < all) ++killed;
      CHECK(test::run_galapagos(ranks, words(output)).code == 0);
      const std::set<ModuleId> after = done_modules(output);
      CHECK(std::includes(after.begin(), after.end(), before.begin(), before.end()));
      CHECK(test::compare(reference, output).same_bits);
      CHECK(!std::filesystem::exists(part_path(output)));
    }
    CHECK(killed > 0);
  }
}
