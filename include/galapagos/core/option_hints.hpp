#pragma once

#include <boost/program_options.hpp>
#include <functional>
#include <string>
#include <vector>

// What a slip on the command line is answered with.
namespace galapagos {

/// The whole numbers that follow an option whose name `is_list` made one word: `--survivors 4 2 1` is
/// `--survivors "4 2 1"`.
std::vector<std::string> with_lists_joined(const std::vector<std::string>& words,
                                           const std::function<bool(const std::string&)>& is_list);

/// Of the words that belong to no option the one after so many, empty where there are no more.
std::string bare_word(const std::vector<std::string>& words,
                      const boost::program_options::options_description& declared, std::size_t after);

/// Of `known` the one that is nearest to `name`, empty where none is near.
std::string nearest_name(const std::string& name, const std::vector<std::string>& known);

/// What to do about an option that there is not: the nearest that there is, ours for one of DarwinLM's
/// scripts, or `otherwise`.
std::string remedy_for_unknown_option(const std::string& name,
                                      const boost::program_options::options_description& declared,
                                      const std::string& otherwise);

}  // namespace galapagos
