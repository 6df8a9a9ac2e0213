#pragma once

#include "support/files.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace galapagos::test {

/// The words of `galapagos database` for a small model and the sample text.
inline std::vector<std::string> database_words(const std::filesystem::path& output,
                                               std::vector<std::string> more = {}) {
  std::vector<std::string> words = {"database",
                                    "--model",
                                    data_file("models/llama3_tiny").string(),
                                    "--calibration",
                                    data_file("text/sample.jsonl").string(),
                                    "--levels",
                                    "8",
                                    "--sequence-length",
                                    "256",
                                    "--output",
                                    output.string(),
                                    "--threads",
                                    "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace galapagos::test
