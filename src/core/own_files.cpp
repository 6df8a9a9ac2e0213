#include <algorithm>
#include <fnmatch.h>
#include <fstream>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/core/own_files.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

struct Sorted {
  std::vector<fs::path> own;  // relative
  std::vector<fs::path> other;
};

Sorted sort_files(const fs::path& folder, std::span<const std::string> files) {
  Sorted sorted;
  if (!fs::is_directory(folder)) return sorted;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_directory() && !entry.is_symlink()) continue;
    const fs::path path = entry.path().lexically_relative(folder);
    const bool own = std::any_of(files.begin(), files.end(), [&](const std::string& pattern) {
      return ::fnmatch(pattern.c_str(), path.c_str(), FNM_PATHNAME) == 0;
    });
    (own ? sorted.own : sorted.other).push_back(path);
  }
  return sorted;
}

/// The subfolder of the run's folder that it lies in; empty for none.
fs::path top_of(const fs::path& path) {
  return path.has_parent_path() ? *path.begin() : fs::path();
}

Sorted checked(const fs::path& folder, std::span<const std::string> files) {
  Sorted sorted = sort_files(folder, files);
  std::set<fs::path> tops;
  for (const fs::path& path : sorted.own) tops.insert(top_of(path));
  for (const fs::path& path : sorted.other) {
    if (top_of(path).empty() || !tops.contains(top_of(path))) continue;
    throw InputError("a file that is not of this run lies among its files", (folder / path).string(),
                     "move it elsewhere, or choose another --output");
  }
  return sorted;
}

}  // namespace

OwnFiles below(const std::string& prefix, std::span<const std::string> files) {
  OwnFiles all;
  for (const std::string& file : files) all.push_back(prefix + "/" + file);
  return all;
}

void check_own_files(const fs::path& folder, std::span<const std::string> files) {
  checked(folder, files);
}

void remove_own_files(const fs::path& folder, std::span<const std::string> files) {
  std::set<fs::path> folders;
  for (const fs::path& path : checked(folder, files).own) {
    fs::remove(folder / path);
    for (fs::path above = path.parent_path(); !above.empty(); above = above.parent_path())
      folders.insert(above);
  }
  for (auto above = folders.rbegin(); above != folders.rend(); ++above) {  // what lies deeper comes later
    if (fs::is_empty(folder / *above)) fs::remove(folder / *above);
  }
}

void check_inputs_stay(const fs::path& folder, std::span<const std::string> files,
                       std::span<const fs::path> inputs) {
  for (const fs::path& path : sort_files(folder, files).own) {
    const fs::path file = fs::weakly_canonical(folder / path);
    for (const fs::path& input : inputs) {
      if (input.empty()) continue;
      const fs::path read = fs::weakly_canonical(input.has_filename() ? input : input.parent_path());
      if (std::mismatch(read.begin(), read.end(), file.begin(), file.end()).first == read.end())
        throw InputError("is to be read, and --fresh would remove it", file.string(),
                         "choose another --output");
    }
  }
}

std::string command_of_run(const fs::path& folder) {
  std::ifstream file(folder / "config.ini");
  std::string mark, program, command;
  if (file >> mark >> program >> command && mark == "#" && program == "galapagos") return command;
  return {};
}

void check_command_of_run(const fs::path& folder, const std::string& command) {
  const std::string found = command_of_run(folder);
  if (found.empty() || found == command) return;
  throw InputError("a run of 'galapagos " + printable(found) + "' is there", folder.string(),
                   "choose another --output");
}

void clear_run(const fs::path& folder, const std::string& command, std::span<const std::string> files,
               bool only_check) {
  check_command_of_run(folder, command);
  const bool known = command_of_run(folder) == command;
  if (!known && !sort_files(folder, files).own.empty()) {
    throw InputError("nothing says that this is a run of 'galapagos " + command + "'", folder.string(),
                     "remove what is there by hand, or choose another --output");
  }
  if (only_check) return check_own_files(folder, files);
  if (known) remove_own_files(folder, files);
}

}  // namespace galapagos
