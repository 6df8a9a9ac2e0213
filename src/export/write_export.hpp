#pragma once

#include <filesystem>
#include <initializer_list>
#include <map>
#include <span>
#include <string>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/export/exporter.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// Collective. Makes the new folder `output` of the files that `exporter` has begun. The ranks write a part
/// of the files each, in turns; where a replica's shards have parts of the tensors, those of `grid` bring a
/// file's tensors together on the one of them that writes it. `device`: which their bytes come from. The
/// folder gets its name once the exporter has finished it. InputError where it exists already, ResourceError
/// where the disk is too small.
void write_export(const Communicator& comm, Exporter& exporter, const ExportedModel& model,
                  std::span<const ExportFile> files, const std::filesystem::path& output,
                  const ReplicaGrid* grid = nullptr, Device device = Device::cpu);

/// The rank that writes a file, of so many that write alone.
inline int writer_of(std::size_t file, int ranks) {
  return static_cast<int>(file % static_cast<std::size_t>(ranks));
}

/// On this rank alone. InputError and ResourceError as above, before the tensors are there to be written.
void check_export(const std::filesystem::path& output, std::span<const ExportFile> files);

/// What the files of a folder with these names say, as far as they are there.
std::map<std::string, std::string> texts_of(const std::filesystem::path& folder,
                                            std::initializer_list<const char*> names);

}  // namespace galapagos
