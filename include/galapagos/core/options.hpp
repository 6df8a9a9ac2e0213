#pragma once

#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos {

/// What is said of an option beside its name, member and help.
struct OptionRules {
  /// The range of a number, where `above` without its lower end; {} in the refusal is the number.
  double least = -std::numeric_limits<double>::infinity(), most = std::numeric_limits<double>::infinity();
  bool above = false;
  std::string refusal = "{}", remedy = {};
  bool none_at_0 = false;    ///< a number's 0 means that it was not given: it is no default
  bool required = false;     ///< the command does not run without
  bool decides = false;      ///< the course of a run: stands in its identity
  bool list = false;         ///< of whole numbers in one text: they may come without quotes
  bool indirectly = false;   ///< what becomes of it does, as a text's fingerprint
  std::string implied = {};  ///< the word that the option alone stands for, where it may stand alone
  std::string takes = {};    ///< its words or its range, made from the choices or the above
};

/// Words that an option takes and what they stand for.
template <typename T>
using Choices = std::vector<std::pair<std::string, T>>;

/// Values under their names.
template <typename T>
Choices<T> named(std::initializer_list<T> values) {
  Choices<T> choices;
  for (const T& value : values) choices.emplace_back(name_of(value), value);
  return choices;
}

/// The options of one command, each bound once to a member of what the command is asked for, which must
/// outlive them and holds the default. They come from the command line, then from an INI file
/// (`--config FILE`, keys `name = value`), then from defaults. One INI file serves several commands: what
/// stands under `[command]` is for that command alone, what stands above all sections for every one (options
/// of computing, as `precision`, are passed over where a command has none). Abbreviations are off; an unknown
/// or repeated option, a wrong value, an unknown key or an unknown section is a UsageError.
/// The words of an option that takes several come all from the command line or all from the file.
/// `--config`, `--print-config`, `--print-options`, `--print-man` and `--help` are there already.
class Options {
 public:
  Options();

  /// Of what command they are. `positional`: the name of the option that takes bare words, where one does.
  void describe(std::string command, std::string summary, std::string positional = {});

  /// Binds an option to a number, a flag, a text, a path or a list of them, which may be optional. It has no
  /// default where the member is empty.
  template <typename T>
  void add(const std::string& name, T& member, const std::string& help, const OptionRules& rules = {});
  /// Bytes, as 64G, and seconds, as 01:30:00.
  void add_bytes(const std::string& name, std::uint64_t& member, const std::string& help);
  void add_seconds(const std::string& name, double& member, const std::string& help);
  /// One of some words, each of which stands for a value; any other is an unknown `kind`.
  template <typename T>
  void add_choice(const std::string& name, T& member, const std::string& kind, const Choices<T>& choices,
                  const std::string& help, const OptionRules& rules = {});
  /// A text that `write` makes from the member, empty where that is, and `read` the member from.
  void add_text(const std::string& name, const std::function<std::string()>& write,
                const std::function<void(const std::string&)>& read, const std::string& help,
                const OptionRules& rules = {});

  /// Parses the words after the command's name.
  void parse(const std::vector<std::string>& words);
  /// UsageError where one that is required was not given.
  void require_all() const;
  /// Writes what parse() found to the members; UsageError where a text stands for nothing.
  void take();
  /// UsageError where a member is out of its range, whatever wrote it.
  void check() const;
  /// What the members say of the options that decide the course of a run, by name; -1 for a number that is
  /// not there.
  Json identity() const;

  bool declares(const std::string& name) const;
  bool has(const std::string& name) const { return values_.count(name) != 0; }
  bool flag(const std::string& name) const { return has(name) && get<bool>(name); }
  template <typename T>
  const T& get(const std::string& name) const {
    require(name);
    return values_[name].as<T>();
  }
  /// The words that say so, where it was given or has a default.
  std::vector<std::string> words(const std::string& name) const;
  /// Whether the command line or the file says so, not the default.
  bool given(const std::string& name) const { return has(name) && !values_[name].defaulted(); }
  /// Whether the file's section of this command says so.
  bool in_section(const std::string& name) const;
  /// Whether that or the command line does: neither the default nor what stands above all sections, for every
  /// command.
  bool given_here(const std::string& name) const;
  /// UsageError where the option was not given and has no default.
  void require(const std::string& name) const;

  std::string help() const;
  /// A line for each option: name, default, whether it decides the course of a run, help and range or words.
  std::string reference() const;
  /// The same as a page of the manual, for man(1): `galapagos-<command>(1)`.
  std::string manual() const;
  /// The options as an INI file that --config reads back, each with where its value came from.
  std::string resolved() const;

 private:
  struct Bound {
    std::string name, help;
    OptionRules rules;
    std::function<Json()> value;  ///< null where nothing is there
    Json absent;                  ///< stands for that in an identity
  };
  void add_word(const std::string& name, const std::string& kind, const std::vector<std::string>& words,
                const std::function<std::ptrdiff_t()>& place, const std::function<void(std::size_t)>& choose,
                const std::string& help, OptionRules rules);
  void keep(const boost::program_options::value_semantic* semantic, Bound option);
  std::vector<std::string> with_words_joined(const std::vector<std::string>& words) const;
  bool on_command_line(const std::string& name) const;
  static std::vector<std::string> words_of(const boost::any& value);
  UsageError explained(const boost::program_options::error& error, const std::vector<std::string>& words,
                       const std::string& where) const;

  std::string command_;
  std::string summary_;
  std::string positional_;
  boost::program_options::options_description declared_;
  std::vector<Bound> bound_;
  boost::program_options::variables_map values_;
  std::vector<std::string> from_command_line_, from_section_;
};

template <typename T>
void Options::add_choice(const std::string& name, T& member, const std::string& kind,
                         const Choices<T>& choices, const std::string& help, const OptionRules& rules) {
  std::vector<std::string> words;
  for (const auto& [word, value] : choices) words.push_back(word);
  const auto place = [&member, choices] {
    const auto is = [&](const auto& choice) { return choice.second == member; };
    return std::find_if(choices.begin(), choices.end(), is) - choices.begin();
  };
  add_word(
      name, kind, words, place, [&member, choices](std::size_t i) { member = choices[i].second; }, help,
      rules);
}

/// UsageError where a number of `options` is out of the range that it is bound with.
template <typename T>
void check_ranges(T options) {
  Options list;
  bind(list, options);
  list.check();
}

/// Of the `options` those that decide the course of a run, by name.
template <typename T>
Json deciding(T options) {
  Options list;
  bind(list, options);
  return list.identity();
}

/// Whole numbers from one text separated by spaces or commas: "0 256 512". UsageError naming the option.
std::vector<std::int64_t> parse_integers(const std::string& text, const std::string& option);

}  // namespace galapagos
