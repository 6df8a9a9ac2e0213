#pragma once

#include "support/files.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace galapagos::test {

/// A database of the small model (x.h5), the same with end losses (s.h5) and some text to measure perplexity
/// on (eval.jsonl), made once.
const TemporaryFolder& search_inputs();

/// The words of a small search. `change` replaces the values of options, or adds some; "" stands for an
/// option without value, "-" for one that is left out.
std::vector<std::string> search_words(const std::filesystem::path& output,
                                      const std::map<std::string, std::string>& change = {});

/// Gives a database of the small model end losses that `loss` says of a module's place and level.
void add_end_losses(const std::filesystem::path& database,
                    const std::function<double(int layer, bool ffn, int level)>& loss);

std::string content(const std::filesystem::path& path);

/// What a search has found out, without times.
std::string findings(const std::filesystem::path& run);

int generations_done(const std::filesystem::path& run);

}  // namespace galapagos::test
