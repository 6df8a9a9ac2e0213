#include "support/catch.hpp"
#include "support/process.hpp"

#include <cctype>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <galapagos/core/file.hpp>

// What the papers (README.md and those that it leads to) say of commands and options.

using namespace galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::set<std::string>;

const fs::path root = GALAPAGOS_SOURCE_DIR;

std::vector<fs::path> papers() {
  std::vector<fs::path> found;
  for (const char* name : {"README.md", "src/README.md", "src/app/README.md", "tests/bench/README.md",
                           "jobs/README.md", "config/README.md"})
    found.push_back(root / name);
  return found;
}

Words all_of(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  Words words;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at)
    words.insert(at->str(1));
  return words;
}

Words options_in(const std::string& text) {
  return all_of(text, R"((?:^|[^\w-])(--[a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?![\w-]))");
}

/// The options of each command, and of all of them under "".
const std::map<std::string, Words>& options_of_commands() {
  static const std::map<std::string, Words> known = [] {
    std::map<std::string, Words> options;
    const std::string help = test::run_galapagos(1, {"--help"}).output;
    options[""] = options_in(help);
    for (const std::string& command : all_of(help, "\n  ([a-z]+) ")) {
      const test::Ended of_command = test::run_galapagos(1, {command, "--help"});
      if (of_command.code != 0) continue;
      options[command] = options_in(of_command.output);
      options[""].insert(options[command].begin(), options[command].end());
    }
    options["help"] = {"--all"};
    return options;
  }();
  return known;
}

/// What a heading is called in links.
Words anchors_of(const std::string& text) {
  Words anchors;
  for (std::string heading : all_of(text, "\n#+ ([^\n]+)")) {
    std::string anchor;
    for (const char c : heading) {
      if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_')
        anchor += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (c == ' ') anchor += '-';
    }
    anchors.insert(anchor);
  }
  return anchors;
}

/// Lines that end in a backslash joined with the next.
std::string joined(std::string text) {
  for (std::size_t at; (at = text.find("\\\n")) != std::string::npos;) text.replace(at, 2, " ");
  return text;
}

}  // namespace

TEST_CASE("commands and options that the papers name exist", "[papers]") {
  const std::map<std::string, Words>& known = options_of_commands();
  CHECK(known.size() > 12);
  // Of CMake, launchers, engines and our own scripts.
  const Words others = {"--build",           "--preset",        "--install",   "--prefix",
                        "--target",          "--map-by",        "--bind-to",   "--mpi",
                        "--ntasks-per-node", "--cpus-per-task", "--check",     "--parts",
                        "--oversubscribe",   "--dense",         "--local-dir", "--trust-remote-code",
                        "--model-impl",      "--checks",        "--all"};
  for (const fs::path& paper : papers()) {
    INFO(paper);
    const std::string text = joined(read_file(paper));
    for (const std::string& command : all_of(text, "galapagos ([a-z]+)")) {
      INFO(command);
      CHECK(known.contains(command));
    }
    for (const std::string& option : options_in(text)) {
      INFO(option);
      CHECK((known.at("").contains(option) || others.contains(option)));
    }
    // Whole command lines: each option is one of that command's.
    static const std::regex line("galapagos ([a-z]+)([^`\n#]*)");
    for (std::sregex_iterator at(text.begin(), text.end(), line), end; at != end; ++at) {
      const auto command = known.find(at->str(1));
      // plan takes those of the command that it plans.
      if (command == known.end() || command->first == "plan") continue;
      for (const std::string& option : options_in(at->str(2))) {
        INFO("galapagos " << at->str(1) << ' ' << option);
        CHECK((command->second.contains(option) || others.contains(option)));
      }
    }
  }
}

TEST_CASE("files that the papers lead to exist", "[papers]") {
  for (const fs::path& paper : papers()) {
    for (const std::string& link : all_of(read_file(paper), R"(\]\(([^):]+)\))")) {
      INFO(paper << " -> " << link);
      const std::size_t hash = link.find('#');
      const fs::path target = hash == 0 ? paper : paper.parent_path() / link.substr(0, hash);
      CHECK(fs::exists(target));
      if (hash != std::string::npos && fs::exists(target))
        CHECK(anchors_of(read_file(target)).contains(link.substr(hash + 1)));
    }
  }
}
