#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/core/own_files.hpp>
#include <galapagos/core/resume.hpp>

using namespace galapagos;
namespace fs = std::filesystem;

namespace {

void put(const fs::path& path) {
  fs::create_directories(path.parent_path());
  test::write_text(path, "x");
}

template <typename Work>
std::string refusal(const Work& work) {
  try {
    work();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a run's own files are removed, and nothing else", "[own_files]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  const OwnFiles files = {"config.ini", "metrics.jsonl*", "model/*.safetensors", "stage-*/model/*.json"};
  for (const char* name : {"config.ini", "metrics.jsonl.part", "model/a.safetensors", "stage-1/model/a.json",
                           "notes.txt", "mine/a.json"})
    put(run / name);
  SECTION("files beside them stay") {
    remove_own_files(run, files);
    CHECK(fs::exists(run / "notes.txt"));
    CHECK(fs::exists(run / "mine" / "a.json"));
    CHECK(std::distance(fs::directory_iterator(run), fs::directory_iterator()) == 2);
  }
  SECTION("a file of someone else's among them is named and nothing removed") {
    for (const char* name : {"model/mine.gguf", "stage-1/model/deep/a.json"}) {
      put(run / name);
      CHECK(refusal([&] { remove_own_files(run, files); }).find(name) != std::string::npos);
      CHECK(fs::exists(run / "config.ini"));
      CHECK(fs::exists(run / "model" / "a.safetensors"));
      fs::remove(run / name);
    }
  }
  SECTION("what is to be read stays") {
    for (const fs::path& input :
         {run / "model", run / "model/", run, run / "config.ini", run / "x" / ".." / "model"}) {
      const std::vector<fs::path> inputs = {folder / "elsewhere", input};
      CHECK(refusal([&] { check_inputs_stay(run, files, inputs); }).find("to be read") != std::string::npos);
    }
    const std::vector<fs::path> others = {run / "mine", run / "notes.txt", run / "mod", fs::path()};
    CHECK_NOTHROW(check_inputs_stay(run, files, others));
  }
  SECTION("links are not followed") {
    fs::create_directory_symlink(run / "mine", run / "model" / "other.safetensors");
    remove_own_files(run, files);
    CHECK(fs::exists(run / "mine" / "a.json"));
    CHECK(!fs::exists(run / "model"));
  }
  remove_own_files(folder / "none", files);
}

TEST_CASE("only what says that it is a command's run is cleared", "[own_files]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  const OwnFiles files = {"config.ini", "best.txt"};
  put(run / "best.txt");
  CHECK(refusal([&] { clear_run(run, "search", files, false); }).find("by hand") != std::string::npos);
  test::write_text(run / "config.ini", "# galapagos train\n");
  CHECK(refusal([&] { clear_run(run, "search", files, false); }).find("galapagos train") !=
        std::string::npos);
  CHECK(fs::exists(run / "best.txt"));
  test::write_text(run / "config.ini", "# galapagos search\n# default\nseed = 0\n");
  clear_run(run, "search", files, true);
  CHECK(fs::exists(run / "best.txt"));
  clear_run(run, "search", files, false);
  CHECK(fs::is_empty(run));
  CHECK_NOTHROW(clear_run(run, "search", files, false));
}

TEST_CASE("what --resume allows", "[resume]") {
  for (const Found found : {Found::nothing, Found::unfinished, Found::complete}) {
    CHECK(refusal([&] { check_found(Resume::automatic, found, "search", "run"); }).empty());
    CHECK((refusal([&] { check_found(Resume::yes, found, "search", "run"); }) != "") ==
          (found == Found::nothing));
    CHECK((refusal([&] { check_found(Resume::no, found, "search", "run"); }).find("--fresh") !=
           std::string::npos) == (found != Found::nothing));
  }
}
