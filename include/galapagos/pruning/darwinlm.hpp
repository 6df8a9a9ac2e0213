#pragma once

#include <filesystem>
#include <string>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/pruning/database.hpp>

// The database of DarwinLM's own programs: FOLDER/<module>/<level>.pth, a weight [hidden size, columns] each
// whose removed columns are zeros, and FOLDER/metadata.pth, the columns removed at levels 0, 1, ....
namespace galapagos {

/// Collective. Makes a database of such a folder, made from the model that has this fingerprint. What is kept
/// at a level is told by the columns that are zero and the numbers in metadata.pth; where that is missing, by
/// the columns alone. Structures that one level removes are in ascending order; losses and damping, which
/// are not in the folder, are NaN. InputError where the folder is of another model or its levels are not
/// nested, or where `output` exists; ResourceError where the disk is too small.
void import_darwinlm(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
                     const std::string& model_fingerprint, const std::filesystem::path& folder,
                     const std::filesystem::path& output);

/// Collective. The way back: writes a complete database, made from that model, as such a folder. InputError
/// where `output` exists or modules of a kind have other levels than each other; ResourceError where the disk
/// is too small.
void export_darwinlm(const Communicator& comm, const Checkpoint& checkpoint, const DatabaseReader& database,
                     const std::filesystem::path& output);

}  // namespace galapagos
