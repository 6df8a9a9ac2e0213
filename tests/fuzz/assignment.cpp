#include "target.hpp"

#include <galapagos/pruning/assignment_text.hpp>

// The text of an assignment.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  static const std::vector<ModuleId> modules = {{0, ModuleKind::attention},
                                                {0, ModuleKind::ffn},
                                                {1, ModuleKind::attention},
                                                {1, ModuleKind::ffn, 0},
                                                {1, ModuleKind::ffn, 1}};
  static const std::vector<std::int16_t> last = {1, 2, 3, INT16_MAX, 4};
  const auto levels = read_assignment_text(modules, last, folder.write("x.txt", input));
  for (std::size_t i = 0; i < modules.size(); ++i)
    if (levels[i] < 0 || levels[i] > last[i]) throw std::logic_error("a level that there is not");
}

const Target target("assignment", read);

}  // namespace
}  // namespace galapagos::fuzz
