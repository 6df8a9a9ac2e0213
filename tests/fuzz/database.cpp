#include "hdf5_script.hpp"

#include <galapagos/assignment/space.hpp>
#include <galapagos/pruning/database.hpp>

// A pruning database, by a script.
namespace galapagos::fuzz {
namespace {

/// What is refused of one module does not keep from the others.
template <typename Ask>
void ask(const Ask& ask) {
  try {
    ask();
  } catch (const Error&) {
  }
}

void use(const DatabaseReader& database, const ModuleId& module) {
  const auto levels = static_cast<std::int64_t>(database.header().removed(module).size());
  ask([&] { database.loss(module); });
  ask([&] { database.damping(module); });
  ask([&] { database.use(module); });
  ask([&] { database.verify(module); });
  for (std::int64_t level = 0; level < levels; ++level) {
    ask([&] { database.kept(module, level); });
    ask([&] { touch(database.level_bytes(module, level)); });
    std::vector<std::byte> storage;
    ask([&] {
      const std::int64_t kept = database.header().kept_columns(module, level);
      touch(database.read_level_rows(module, level, kept / 2, kept - kept / 2, false, storage));
    });
  }
}

void read(std::string_view input) {
  static const Folder folder;
  const DatabaseReader database(write_hdf5(folder, input));
  const DatabaseHeader& header = database.header();
  header.file_bytes();
  std::vector<std::int32_t> orders;
  std::vector<double> end_losses;
  for (const ModuleId& module : header.modules()) use(database, module);
  for (const ModuleId& module : header.modules()) {
    const auto order = database.order(module);
    const auto losses = database.end_loss(module);
    orders.insert(orders.end(), order.begin(), order.end());
    end_losses.insert(end_losses.end(), losses.begin(), losses.end());
  }
  const SearchSpace space = make_space(header, orders, end_losses);
  space.smallest_parameters();
  space.shapes(header.config, Assignment(space.modules.size(), 0));
}

const Target target("database", read);

}  // namespace
}  // namespace galapagos::fuzz
