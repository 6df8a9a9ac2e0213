#include "bad/bad_inputs.hpp"

#include "bad/bad_input.hpp"
#include "draw.hpp"
#include "phase.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <set>
#include <stdexcept>
#include <thread>

#include <galapagos/core/file.hpp>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

/// Longer than that no refusal takes, on however busy a machine.
constexpr double longest = 60;

/// The good files of which each input spoils one.
void make_good(const fs::path& inputs, const fs::path& good) {
  fs::create_directories(good);
  for (const char* name : {"x.h5", "s.h5", "a.txt"})
    fs::copy_file(inputs / name, good / name, fs::copy_options::skip_existing);
  const fs::path model = test::data_file("models/llama3_tiny");
  if (!fs::exists(good / "model")) fs::copy(model, good / "model", fs::copy_options::recursive);
  fs::copy_file(test::data_file("text/sample.jsonl"), good / "text.jsonl", fs::copy_options::skip_existing);
  const auto make = [&](const char* name, const Words& words) {
    if (fs::exists(good / name)) return;
    const test::Ended ended = test::run_galapagos(1, words);
    if (ended.code != 0) throw std::runtime_error("no good inputs can be made: " + ended.errors);
  };
  make("t.bin", {"tokenize", "--tokenizer", model.string(), "--input", (good / "text.jsonl").string(),
                 "--output", (good / "t.bin").string()});
  make("t.csv",
       {"profile", "--model", model.string(), "--database", (good / "x.h5").string(), "--context-length",
        "16", "--repeats", "1", "--threads", "1", "--output", (good / "t.csv").string()});
  test::write_text(good / "o.ini", "");
  test::write_text(good / "prompts.jsonl", "{\"prompt\": \"one\"}\n");
}

/// Links to the good files, and one of its own that is spoilt.
void lay_out(const BadInput& input, const fs::path& good, const fs::path& folder) {
  fs::remove_all(folder);
  fs::create_directories(folder / "model");
  for (const auto& entry : fs::recursive_directory_iterator(good)) {
    if (entry.is_regular_file()) fs::create_symlink(entry.path(), folder / fs::relative(entry.path(), good));
  }
  const fs::path spoilt = folder / input.file;
  fs::remove(spoilt);
  fs::copy_file(good / input.file, spoilt);
  input.spoil(spoilt);
}

std::string replaced(std::string text, const std::string& old, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(old, at)) != std::string::npos; at += with.size())
    text.replace(at, old.size(), with);
  return text;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

/// The error line, or all that was said.
std::string message_of(const std::string& errors, const fs::path& folder) {
  const std::string mark = "galapagos: error: ";
  const std::size_t at = errors.find(mark);
  const std::string line = at == std::string::npos
                               ? errors
                               : errors.substr(at + mark.size(), errors.find('\n', at) - at - mark.size());
  return replaced(line, folder.string() + "/", "");
}

std::string wrong_with(const BadInput& input, const test::Ended& ended, const std::string& message,
                       const std::set<std::string>& left) {
  if (ended.code == 0) return "";
  if (ended.code < 2 || ended.code > 5) return fmt::format("code {}", ended.code);
  const int lines = test::count_lines(ended.errors, "galapagos: error: ");
  if (lines != 1) return fmt::format("{} error lines", lines);
  const fs::path file = input.file;
  const bool named =
      message.find(file.filename()) != std::string::npos ||
      (file.has_parent_path() && message.find("[" + file.parent_path().string()) != std::string::npos) ||
      message.find("[--") != std::string::npos;
  if (!named) return "the file is not named";
  for (const std::string& name : left) {
    if (name.starts_with("out") && name.find(".part") == std::string::npos) return name + " is left";
  }
  return "";
}

Json try_one(const BadInput& input, const fs::path& good, const fs::path& folder, int ranks) {
  lay_out(input, good, folder);
  Words words = input.words;
  for (std::string& word : words) {
    if (word.starts_with("@/")) word = (folder / word.substr(2)).string();
  }
  const auto begin = std::chrono::steady_clock::now();
  const test::Ended ended = test::run_galapagos(ranks, words, longest);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const std::string message = ended.code == 0 ? "" : message_of(ended.errors, folder);
  Json line = {{"input", input.what}, {"command", words.front()}, {"ranks", ranks},
               {"code", ended.code},  {"seconds", seconds},       {"message", message}};
  const std::string wrong = wrong_with(input, ended, message, names_in(folder));
  if (!wrong.empty()) line["wrong"] = wrong;
  if (wrong.empty()) fs::remove_all(folder);
  return line;
}

void summarise_inputs(const std::vector<Json>& lines) {
  std::set<std::string> messages;
  std::int64_t refused = 0, taken = 0, failed = 0;
  for (const Json& line : lines) {
    if (line.contains("wrong"))
      ++failed;
    else
      ++(line.at("code") == 0 ? taken : refused);
    if (line.at("code") == 0) fmt::print("taken: {}\n", line.at("input").get<std::string>());
    if (line.at("code") != 0 && !line.contains("wrong"))
      messages.insert(line.at("message").get<std::string>());
  }
  for (const Json& line : lines) {
    if (line.contains("wrong"))
      fmt::print("FAILED {}: {}\n  {}\n", line.at("input").get<std::string>(),
                 line.at("wrong").get<std::string>(), line.at("message").get<std::string>());
  }
  fmt::print("{} bad inputs: {} refused with {} different messages, {} taken as they are, {} failed\n",
             lines.size(), refused, messages.size(), taken, failed);
}

}  // namespace

std::int64_t try_bad_inputs(const Options& options, const Ledger& ledger) {
  make_inputs(options.folder / "inputs");
  const fs::path good = options.folder / "good";
  make_good(options.folder / "inputs", good);
  std::vector<BadInput> all;
  for (auto* some : {&bad_models, &bad_tokenizers, &bad_texts, &bad_assignments, &bad_databases})
    for (BadInput& one : some()) all.push_back(std::move(one));
  Draw draw(options.seed, 0);
  for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[draw.index(i)]);
  if (static_cast<std::int64_t>(all.size()) > options.bad_inputs)
    all.resize(static_cast<std::size_t>(options.bad_inputs));
  std::set<std::string> done;
  for (const Json& line : ledger.read()) done.insert(line.value("input", std::string()));
  std::atomic<std::size_t> next = 0;
  std::vector<std::thread> threads;
  for (int job = 0; job < options.jobs; ++job) {
    threads.emplace_back([&] {
      for (std::size_t i = next++; i < all.size(); i = next++) {
        if (done.contains(all[i].what)) continue;
        try {
          ledger.add({try_one(all[i], good, options.folder / "bad" / std::to_string(i), i % 4 == 0 ? 3 : 1)});
        } catch (const std::exception& error) {
          ledger.add({{{"input", all[i].what},
                       {"code", -1},
                       {"message", error.what()},
                       {"wrong", "the storm itself"}}});
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<Json> lines = ledger.read();
  summarise_inputs(lines);
  return std::count_if(lines.begin(), lines.end(), [](const Json& line) { return line.contains("wrong"); });
}

}  // namespace galapagos::storm
