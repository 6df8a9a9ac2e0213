#pragma once

#include <boost/program_options.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace galapagos {

/// The options of one command: declared with Boost.Program_options, taken from the command line, then from an
/// INI file
/// (`--config FILE`, keys `name = value`), then from defaults. One INI file serves several commands: what
/// stands under `[command]` is for that command alone, what stands above all sections for every one (options
/// of computing, as `precision`, are passed over where a command has none). Abbreviations are off; an unknown
/// or repeated option, a wrong value, an unknown key or an unknown section is a UsageError.
/// The words of an option that takes several come all from the command line or all from the file.
/// `--config`, `--print-config` and `--help` are declared here.
class Options {
 public:
  /// `positional`: the name of the option that takes bare words; empty where the command takes none.
  Options(std::string command, std::string summary, std::string positional = {});

  /// options().add_options()("name", value<T>()->default_value(...), "help")...
  boost::program_options::options_description& declared() { return declared_; }

  /// Parses the words after the command's name.
  void parse(const std::vector<std::string>& words);

  bool has(const std::string& name) const { return values_.count(name) != 0; }
  bool flag(const std::string& name) const { return has(name) && get<bool>(name); }
  template <typename T>
  const T& get(const std::string& name) const {
    require(name);
    return values_[name].as<T>();
  }
  template <typename T>
  std::optional<T> find(const std::string& name) const {
    return has(name) ? std::optional<T>(values_[name].as<T>()) : std::nullopt;
  }
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
  /// The options as an INI file that --config reads back, each with where its value came from.
  std::string resolved() const;

 private:
  bool on_command_line(const std::string& name) const;

  std::string command_;
  std::string summary_;
  std::string positional_;
  boost::program_options::options_description declared_;
  boost::program_options::variables_map values_;
  std::vector<std::string> from_command_line_, from_section_;
};

/// Whole numbers from one text separated by spaces or commas: "0 256 512". UsageError naming the option.
std::vector<std::int64_t> parse_integers(const std::string& text, const std::string& option);

}  // namespace galapagos
