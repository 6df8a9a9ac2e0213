#include "options.hpp"

#include <stdexcept>

namespace galapagos::storm {

Options read_options(int argc, char** argv) {
  Options options;
  std::vector<std::string> words(argv + 1, argv + argc);
  for (std::size_t at = 0; at < words.size();) {
    const std::string name = words[at++];
    const auto value = [&] {
      if (at == words.size()) throw std::invalid_argument(name + " takes a value");
      return words[at++];
    };
    const auto values = [&](std::vector<std::string>& into) {
      into.push_back(value());
      while (at < words.size() && !words[at].starts_with("--")) into.push_back(words[at++]);
    };
    if (name == "--folder")
      options.folder = std::filesystem::absolute(value());
    else if (name == "--seed")
      options.seed = std::stoull(value());
    else if (name == "--minutes")
      options.minutes = std::stod(value());
    else if (name == "--kills")
      options.kills = std::stoll(value());
    else if (name == "--phase")
      values(options.phases);
    else if (name == "--kind")
      values(options.kinds);
    else if (name == "--jobs")
      options.jobs = std::stoi(value());
    else if (name == "--run")
      options.run = std::stoull(value());
    else if (name == "--fresh")
      options.fresh = true;
    else if (name == "--bad-inputs")
      options.bad_inputs = std::stoll(value());
    else
      throw std::invalid_argument("unknown option " + name);
  }
  if (options.folder.empty()) throw std::invalid_argument("--folder DIR is needed");
  if (options.minutes == 0 && options.kills == 0 && !options.run && options.bad_inputs == 0)
    throw std::invalid_argument("--minutes M, --kills N or --bad-inputs N says how long");
  return options;
}

}  // namespace galapagos::storm
