#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/option_hints.hpp>
#include <galapagos/core/options.hpp>

namespace galapagos {
namespace po = boost::program_options;
namespace {

constexpr int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing &
                      ~po::command_line_style::allow_sticky;

// What stands in an INI file: everything but what only makes sense on the command line.
bool is_setting(const std::string& name) {
  return name != "config" && name != "print-config" && name != "print-options" && name != "print-man" &&
         name != "help" && name != "fresh";
}

// The text of an INI file without the sections of other commands; their lines stay as empty ones, so that the
// numbers in messages are right.
struct OwnPart {
  std::string all, section;  // with what stands above all sections, and without
};

OwnPart own_part(std::istream& file, const std::string& command, const std::string& path) {
  constexpr std::array commands = {"sensitivity", "database", "assign",  "search",   "rounds", "prune",
                                   "stitch",      "distil",   "eval",    "generate", "train",  "tokenize",
                                   "plan",        "info",     "profile", "convert",  "top",    "report"};
  OwnPart own;
  bool mine = true, in_section = false;
  for (std::string line; std::getline(file, line);) {
    const std::size_t open = line.find_first_not_of(" \t");
    if (open != std::string::npos && line[open] == '[') {
      const std::size_t close = line.find(']');
      if (close == std::string::npos)
        throw UsageError("no ] behind '" + printable(line) + "'", path, "name a command, as in [search]");
      const std::string section = line.substr(open + 1, close - open - 1);
      mine = in_section = section == command;
      if (!mine && std::find(commands.begin(), commands.end(), section) == commands.end()) {
        throw UsageError("unknown section [" + printable(section) + "]", path,
                         "name a command, as in [search]");
      }
      line.clear();
    }
    if (mine) own.all += line;
    if (in_section) own.section += line;
    own.all += '\n';
    own.section += '\n';
  }
  return own;
}

template <typename T>
std::vector<std::string> as_words(const T& value) {
  return {fmt::format("{}", value)};
}

}  // namespace

Options::Options() {
  declared_.add_options()("config", po::value<std::string>(), "read further options from this INI file")(
      "print-config", po::bool_switch(), "print the options as resolved and leave")(
      "print-options", po::bool_switch(), "print what the options take and decide and leave")(
      "print-man", po::bool_switch(), "print a page of the manual for man(1) and leave")(
      "help", po::bool_switch(), "print this and leave");
}

std::vector<std::string> Options::words_of(const boost::any& value) {
  if (const auto* text = boost::any_cast<std::string>(&value)) return {*text};
  if (const auto* list = boost::any_cast<std::vector<std::string>>(&value)) return *list;
  if (const auto* number = boost::any_cast<std::int64_t>(&value)) return as_words(*number);
  if (const auto* real = boost::any_cast<double>(&value)) return as_words(*real);
  if (const auto* flag = boost::any_cast<bool>(&value)) return as_words(*flag);
  throw FailureError("an option has a type that cannot be printed", "--print-config",
                     "report this as a defect");
}

void Options::describe(std::string command, std::string summary, std::string positional) {
  command_ = std::move(command);
  summary_ = std::move(summary);
  positional_ = std::move(positional);
}

/// The same error as the library's with what the user can do about it.
UsageError Options::explained(const po::error& error, const std::vector<std::string>& words,
                              const std::string& where) const {
  const std::string remedy = "see 'galapagos " + command_ + " --help'";
  if (const auto* unknown = dynamic_cast<const po::unknown_option*>(&error)) {
    const std::string name = unknown->get_option_name();
    return {"there is no option '" + printable(name) + "'", where,
            remedy_for_unknown_option(name, declared_, remedy)};
  }
  if (const auto* wrong = dynamic_cast<const po::invalid_option_value*>(&error)) {
    const std::string name = wrong->get_option_name();  // with its hyphens
    const auto bound = std::find_if(bound_.begin(), bound_.end(),
                                    [&](const Bound& option) { return "--" + option.name == name; });
    if (bound != bound_.end() && !bound->rules.remedy.empty())
      return {error.what(), where, bound->rules.remedy};
  }
  if (dynamic_cast<const po::too_many_positional_options_error*>(&error) != nullptr)
    return {
        "'" + printable(bare_word(words, declared_, positional_.empty() ? 0 : 1)) + "' belongs to no option",
        where, "put what belongs together in quotes; " + remedy};
  return {error.what(), where, remedy};
}

void Options::parse(const std::vector<std::string>& given) {
  const std::string where = "galapagos " + command_;
  const std::vector<std::string> words = with_lists_joined(given, [&](const std::string& name) {
    return std::ranges::any_of(bound_,
                               [&](const Bound& option) { return option.rules.list && option.name == name; });
  });
  try {
    po::positional_options_description bare;
    if (!positional_.empty())
      bare.add(positional_.c_str(), declared_.find(positional_, false).semantic()->max_tokens() > 1 ? -1 : 1);
    const auto parsed = po::command_line_parser(with_words_joined(words))
                            .options(declared_)
                            .positional(bare)
                            .style(style)
                            .run();
    for (const auto& option : parsed.options) from_command_line_.push_back(option.string_key);
    po::store(parsed, values_);
    if (flag("help") || flag("print-options") || flag("print-man")) return;
    if (has("config")) {
      const std::string path = values_["config"].as<std::string>();
      std::ifstream file(path);
      if (!file)
        throw InputError("cannot open the configuration file", path, "check the path given to --config");
      try {
        po::options_description settings;
        for (const auto& option : declared_.options()) {
          if (is_setting(option->long_name())) settings.add(option);
        }
        const OwnPart part = own_part(file, command_, path);
        std::istringstream own(part.all), section(part.section);
        // What is common to most commands may stand above the sections also for those that do without it.
        po::options_description unused;
        for (const char* common : {"log-level", "backend", "precision", "batch-tokens", "memory-limit",
                                   "threads", "allow-gpu-sharing", "collectives", "no-collectives-check",
                                   "text-key", "skip-bad-lines", "allow-invalid-utf8", "chat-template"}) {
          if (settings.find_nothrow(common, false) == nullptr)
            unused.add_options()(common, po::value<std::string>());
        }
        settings.add(unused);
        auto from_file = po::parse_config_file(own, settings);
        for (const auto& option : po::parse_config_file(section, settings).options)
          from_section_.push_back(option.string_key);
        std::erase_if(from_file.options,
                      [&](const auto& option) { return on_command_line(option.string_key); });
        po::store(from_file, values_);
      } catch (const po::error& error) {
        throw explained(error, words, path);
      }
    }
  } catch (const po::error& error) {
    throw explained(error, words, where);
  }
}

/// A word after an option that may stand alone is its own, where no bare words are taken.
std::vector<std::string> Options::with_words_joined(const std::vector<std::string>& words) const {
  std::vector<std::string> joined;
  for (const std::string& word : words) {
    const auto takes = [&](const Bound& option) {
      return !option.rules.implied.empty() && joined.back() == "--" + option.name;
    };
    if (positional_.empty() && !joined.empty() && !word.starts_with('-') &&
        std::any_of(bound_.begin(), bound_.end(), takes)) {
      joined.back() += "=" + word;
    } else {
      joined.push_back(word);
    }
  }
  return joined;
}

void Options::require_all() const {
  for (const Bound& option : bound_)
    if (option.rules.required) require(option.name);
}

void Options::take() {
  po::notify(values_);
}

std::vector<std::string> Options::words(const std::string& name) const {
  return words_of(values_[name].value());
}

bool Options::declares(const std::string& name) const {
  return declared_.find_nothrow(name, false) != nullptr;
}

bool Options::on_command_line(const std::string& name) const {
  return std::find(from_command_line_.begin(), from_command_line_.end(), name) != from_command_line_.end();
}

bool Options::in_section(const std::string& name) const {
  return std::find(from_section_.begin(), from_section_.end(), name) != from_section_.end();
}

bool Options::given_here(const std::string& name) const {
  return on_command_line(name) || in_section(name);
}

void Options::require(const std::string& name) const {
  if (has(name)) return;
  throw UsageError("the option '--" + name + "' is required", "galapagos " + command_,
                   "see 'galapagos " + command_ + " --help'");
}

std::string Options::help() const {
  std::ostringstream text;
  text << "galapagos " << command_ << ": " << summary_ << "\n\n" << declared_;
  return text.str();
}

std::string Options::reference() const {
  std::string text = fmt::format("galapagos {}: {}\n\n", command_, summary_);
  for (const auto& [name, help, rules, value, absent] : bound_) {
    boost::any usual;
    const bool has_default = declared_.find(name, false).semantic()->apply_default(usual);
    const bool said = rules.takes.empty() || help.find(rules.takes) != std::string::npos;
    text += fmt::format("  --{:<21} {:<20} {:<8} {}{}\n", name,
                        rules.required ? "required"
                        : has_default  ? words_of(usual).front()
                                       : "",
                        declares("resume") && (rules.decides || rules.indirectly) ? "decides" : "", help,
                        said ? "" : " [" + rules.takes + "]");
  }
  return text + "\n";
}

std::string Options::resolved() const {
  std::string text = fmt::format("# galapagos {}\n", command_);
  for (const auto& option : declared_.options()) {
    const std::string& name = option->long_name();
    if (!is_setting(name)) continue;
    if (!has(name)) {
      text += fmt::format("# {} is not set\n", name);
      continue;
    }
    const char* source = values_[name].defaulted() ? "default"
                         : on_command_line(name)   ? "command line"
                                                   : "configuration file";
    text += fmt::format("# {}\n", source);
    for (const std::string& word : words(name)) text += fmt::format("{} = {}\n", name, word);
  }
  return text;
}

}  // namespace galapagos
