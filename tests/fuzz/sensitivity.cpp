#include "hdf5_script.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

// A file of sensitivities, by a script.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  const auto path = write_hdf5(folder, input);
  for (const bool unfinished : {false, true}) {
    try {
      const SensitivityReader reader(path, unfinished);
      reader.header().file_bytes();
      reader.header().form_text();
      for (const ModuleId& module : reader.header().modules()) {
        reader.values(module);
        if (!reader.header().has_first_order()) continue;
        reader.first_order(module);
        if (!unfinished) reader.in_place(module);
      }
    } catch (const Error&) {
      if (unfinished) throw;
    }
  }
}

const Target target("sensitivity", read);

}  // namespace
}  // namespace galapagos::fuzz
