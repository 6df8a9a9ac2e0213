#include <algorithm>
#include <cstdint>
#include <fmt/format.h>

#include <galapagos/core/options.hpp>
#include <galapagos/core/roff.hpp>

namespace galapagos {
namespace po = boost::program_options;
namespace {

/// What stands for an option's value.
std::string value_name(const po::value_semantic& semantic, const OptionRules& rules) {
  if (semantic.max_tokens() == 0) return "";
  if (semantic.max_tokens() > 1) return "WORD...";
  if (rules.list) return "\"N...\"";
  if (dynamic_cast<const po::typed_value<std::int64_t>*>(&semantic) != nullptr) return "N";
  if (dynamic_cast<const po::typed_value<double>*>(&semantic) != nullptr) return "X";
  return "WORD";
}

std::string with_value(const std::string& name, const std::string& value) {
  return fmt::format("\\fB{}\\fR{}", roff_name("--" + name),
                     value.empty() ? "" : " \\fI" + roff_name(value) + "\\fR");
}

std::string sentence(const std::string& text) {
  return text.empty() ? "" : roff(text) + (text.ends_with('.') ? "\n" : ".\n");
}

}  // namespace

std::string Options::manual() const {
  std::string page = "galapagos-" + command_;
  std::replace(page.begin(), page.end(), ' ', '-');
  std::string text = roff_title(page);
  text += fmt::format(".SH NAME\n{} \\- {}\n", roff_name(page), roff(summary_));
  text += fmt::format(".SH SYNOPSIS\n.nh\n.ad l\n\\fBgalapagos {}\\fR", command_);
  const auto name_of_value = [&](const Bound& option) {
    return value_name(*declared_.find(option.name, false).semantic(), option.rules);
  };
  for (const Bound& option : bound_) {
    if (option.name == positional_)
      text += option.rules.required ? fmt::format(" \\fI{}\\fR", roff_name(option.name))
                                    : fmt::format(" [\\fI{}\\fR]", roff_name(option.name));
    else if (option.rules.required)
      text += " " + with_value(option.name, name_of_value(option));
  }
  text += " [\\fIoptions\\fR]\n.ad b\n.hy\n.SH OPTIONS\n";
  for (const Bound& option : bound_) {
    const OptionRules& rules = option.rules;
    text += ".TP\n" + with_value(option.name, name_of_value(option)) + "\n" + sentence(option.help);
    if (!rules.takes.empty() && option.help.find(rules.takes) == std::string::npos)
      text += sentence("It takes " + rules.takes);
    boost::any usual;
    if (rules.required)
      text += "Required.\n";
    else if (name_of_value(option) != "" &&
             declared_.find(option.name, false).semantic()->apply_default(usual))
      text += sentence("Default: " + words_of(usual).front());
    if (declares("resume") && (rules.decides || rules.indirectly))
      text += "A run is not gone on with under another value.\n";
  }
  text += ".SS Of every command\n";
  for (const char* name : {"config", "print-config", "print-options", "print-man", "help"}) {
    const po::option_description& option = declared_.find(name, false);
    text += ".TP\n" + with_value(name, option.semantic()->max_tokens() == 0 ? "" : "FILE") + "\n" +
            sentence(option.description());
  }
  return text + ".SH SEE ALSO\n.BR galapagos (1)\n";
}

}  // namespace galapagos
