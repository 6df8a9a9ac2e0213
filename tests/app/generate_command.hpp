#pragma once

#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos::test {

/// The words of `galapagos generate` for a model's folder.
inline std::vector<std::string> generate_words(const std::filesystem::path& model,
                                               const std::filesystem::path& output,
                                               const std::vector<std::string>& more) {
  std::vector<std::string> words = {"generate",  "--model", model.string(), "--output", output.string(),
                                    "--threads", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

inline std::vector<Json> lines_of(const std::filesystem::path& file) {
  std::vector<Json> lines;
  std::istringstream text(read_file(file));
  for (std::string line; std::getline(text, line);) lines.push_back(parse_json(line, file.string()));
  return lines;
}

/// A file of prompts, one record a line.
inline std::string write_prompts(const std::filesystem::path& file, const std::vector<Json>& records) {
  std::string lines;
  for (const Json& record : records) lines += record.dump() + "\n";
  write_text(file, lines);
  return file.string();
}

/// What a command that has to go well writes behind prompts, one a line.
inline std::vector<Json> generated(const std::filesystem::path& model, const std::filesystem::path& output,
                                   const std::vector<std::string>& more, int ranks = 1) {
  std::vector<std::string> words = generate_words(model, output, more);
  words.emplace_back("--fresh");  // in the place of what was written before
  const Ended ended = run_galapagos(ranks, words);
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  return lines_of(output);
}

}  // namespace galapagos::test
