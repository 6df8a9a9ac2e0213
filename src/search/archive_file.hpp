#pragma once

#include <string>

#include <galapagos/io/hdf5.hpp>
#include <galapagos/search/evolution.hpp>

namespace galapagos {

/// Writes what the islands have measured in the last generation, and the moments of all before, into a
/// checkpoint.
void write_archive(Hdf5File& file, const Population& population);

/// Reads that into a population of as many islands. InputError, naming `path`, where it cannot be of this
/// space.
void read_archive(const Hdf5File& file, const std::string& path, const SearchSpace& space,
                  Population& population);

}  // namespace galapagos
