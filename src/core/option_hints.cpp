#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

#include <galapagos/core/option_hints.hpp>

namespace galapagos {
namespace po = boost::program_options;
namespace {

struct ForeignOption {
  std::string_view name, ours;
};

/// The options of DarwinLM's scripts that have other names here.
constexpr std::array foreign_options = std::to_array<ForeignOption>({
    {"model-name-or-path", "--model FOLDER"},
    {"tokenizer-name", "no option: the tokenizer is the one in the model's folder"},
    {"calibration-data", "--calibration FILE..."},
    {"calibration-sequence-length", "--sequence-length"},
    {"eval-sequence-length", "--sequence-length"},
    {"cols-removed-attn", "--attn-removed \"0 512 1024 ...\""},
    {"cols-removed-mlp", "--ffn-removed \"0 512 1024 ...\""},
    {"save-dir", "--output"},
    {"dtype", "--precision"},
    {"eval-datasets", "--eval-data FILE..."},
    {"eval-tokens", "--eval-data FILE..., all of which is used"},
    {"fitness-fn", "--fitness"},
    {"sparse-weights-path", "--database X.h5"},
    {"sparse-weight-path", "--database X.h5"},
    {"sparse-config-path", "--assignment FILE"},
    {"survivors-per-selection", "--survivors"},
    {"tokens-per-selection", "--tokens"},
    {"training-tokens-per-selection", "--training-tokens"},
    {"initially-generated", "--start"},
    {"initial-tokens", "--start"},
    {"gradual-target-level", "no option: see 'galapagos prune', which goes in stages"},
    {"step-size", "no option: levels move by one"},
    {"save-freq", "no option: every generation is saved"},
    {"log-wandb", "no option: metrics.jsonl in the run's folder has the figures"},
    {"attn-implementation", "no option: there is one attention"},
    {"low-cpu-mem-usage", "--memory-limit"},
    {"cpu-offload-modules", "--memory-limit"},
    {"cpu-offload-activations", "--memory-limit"},
    {"model-shrink", "no option: see 'galapagos stitch'"},
    {"kv-ignore", "--attention-unit head"},
});

/// In the way option names are written here.
std::string plain(std::string name) {
  name.erase(0, name.find_first_not_of('-'));
  std::replace(name.begin(), name.end(), '_', '-');
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return c < 128 ? static_cast<char>(std::tolower(c)) : '?'; });
  return name;
}

/// Letters to insert, take away, replace or swap with their neighbour (Damerau 1964, each letter once).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), now(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before = last;
    last = now;
  }
  return last[b.size()];
}

bool is_option(const std::string& word) {
  return word.size() > 2 && word.starts_with("--");
}

bool is_numbers(const std::string& word) {
  return !word.empty() && word.find_first_not_of("0123456789,; ") == std::string::npos;
}

/// What is declared of "--name" or "--name=value", null where nothing is.
const po::option_description* declaration(const std::string& word, const po::options_description& declared) {
  return declared.find_nothrow(word.substr(2, word.find('=') - 2), false);
}

}  // namespace

std::vector<std::string> with_lists_joined(const std::vector<std::string>& words,
                                           const std::function<bool(const std::string&)>& is_list) {
  std::vector<std::string> joined;
  bool takes_list = false;
  for (const std::string& word : words) {
    if (is_option(word)) {
      takes_list = is_list(word.substr(2));
    } else if (takes_list && is_numbers(word) && !is_option(joined.back())) {
      joined.back() += " " + word;
      continue;
    } else if (!is_numbers(word)) {
      takes_list = false;
    }
    joined.push_back(word);
  }
  return joined;
}

std::string bare_word(const std::vector<std::string>& words, const po::options_description& declared,
                      std::size_t after) {
  unsigned taken = 0;
  for (const std::string& word : words) {
    if (is_option(word)) {
      const po::option_description* option = declaration(word, declared);
      const bool has_value = word.find('=') != std::string::npos;
      taken = option == nullptr || has_value ? 0 : option->semantic()->max_tokens();
    } else if (taken > 0) {
      --taken;
    } else if (after-- == 0) {
      return word;
    }
  }
  return {};
}

std::string nearest_name(const std::string& name, const std::vector<std::string>& known) {
  const std::string wanted = plain(name);
  std::string nearest;
  std::size_t least = std::min<std::size_t>(3, wanted.size() / 3) + 1;
  for (const std::string& one : known) {
    const std::size_t distance = edit_distance(wanted, one);
    if (distance >= least) continue;
    least = distance;
    nearest = one;
  }
  if (!nearest.empty() || wanted.size() < 3) return nearest;
  for (const std::string& one : known) {
    const bool begins = one.starts_with(wanted) || wanted.starts_with(one + "-");
    if (begins && (nearest.empty() || one.size() < nearest.size())) nearest = one;
  }
  return nearest;
}

std::string remedy_for_unknown_option(const std::string& name, const po::options_description& declared,
                                      const std::string& otherwise) {
  const std::string wanted = plain(name);
  const auto foreign = std::find_if(foreign_options.begin(), foreign_options.end(),
                                    [&](const ForeignOption& option) { return option.name == wanted; });
  if (foreign != foreign_options.end())
    return (foreign->ours.starts_with("--") ? "here it is " : "here there is ") + std::string(foreign->ours);
  std::vector<std::string> known;
  for (const auto& option : declared.options()) known.push_back(option->long_name());
  const std::string nearest = nearest_name(name, known);
  return nearest.empty() ? otherwise : "did you mean '--" + nearest + "'? " + otherwise;
}

}  // namespace galapagos
