#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace galapagos {

/// Paths that a run writes, below its folder: as "model/*.safetensors", where * is no /.
using OwnFiles = std::vector<std::string>;

/// The same below `prefix`/.
OwnFiles below(const std::string& prefix, std::span<const std::string> files);

/// InputError where one of the subfolders that hold something of `files` holds something else, too. What lies
/// beside them is nobody's business.
void check_own_files(const std::filesystem::path& folder, std::span<const std::string> files);

/// The same, and then removes them, and the subfolders that are empty then.
void remove_own_files(const std::filesystem::path& folder, std::span<const std::string> files);

/// InputError where removing the `files` would take one of the `inputs`, files or folders, or some of it.
void check_inputs_stay(const std::filesystem::path& folder, std::span<const std::string> files,
                       std::span<const std::filesystem::path> inputs);

/// The command that wrote a run's `config.ini`, "search"; empty where that is not there or not of ours.
std::string command_of_run(const std::filesystem::path& folder);

/// InputError where the folder is one of another command's runs than `command`.
void check_command_of_run(const std::filesystem::path& folder, const std::string& command);

/// For --fresh: removes the `files` of a run of `command`, where there are any. InputError where nothing says
/// that they are such a run's, or as above; with `only_check` nothing is removed.
void clear_run(const std::filesystem::path& folder, const std::string& command,
               std::span<const std::string> files, bool only_check);

}  // namespace galapagos
