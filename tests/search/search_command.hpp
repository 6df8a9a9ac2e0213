#pragma once

#include "support/files.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace galapagos::test {

/// A database of the small model (x.h5) and some text to measure perplexity on (eval.jsonl), made once.
const TemporaryFolder& search_inputs();

/// The words of a small search. `change` replaces the values of options, or adds some; "" stands for an
/// option without value, "-" for one that is left out.
std::vector<std::string> search_words(const std::filesystem::path& output,
                                      const std::map<std::string, std::string>& change = {});

std::string content(const std::filesystem::path& path);

/// What a search has found out, without times.
std::string findings(const std::filesystem::path& run);

int generations_done(const std::filesystem::path& run);

}  // namespace galapagos::test
