#pragma once

#include "target.hpp"

namespace galapagos::fuzz {

/// Writes an HDF5 file by the lines of a script, since files of any bytes would try HDF5 itself more than us.
/// An attribute, s a text, i an integer, d a number, n several integers:
///   @created s 2026-11-29T10:00:00Z
/// A dataset: path, type, shape as 3x4, and values, again from the first on; without "=" none are written:
///   /levels/attn i64 3 = 0 1 2
/// Lines that cannot be done are passed over.
std::filesystem::path write_hdf5(const Folder& folder, std::string_view script);

}  // namespace galapagos::fuzz
