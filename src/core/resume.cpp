#include <galapagos/core/error.hpp>
#include <galapagos/core/resume.hpp>

namespace galapagos {

void check_found(Resume resume, Found found, const std::string& run, const std::string& where) {
  if (resume == Resume::no && found != Found::nothing) {
    throw InputError(
        "there is a " + run + " already", where,
        "leave '--resume no' out to go on, give --fresh to begin anew, or choose another --output");
  }
  if (resume == Resume::yes && found == Found::nothing)
    throw InputError("there is no " + run + " to go on with", where, "leave --resume out");
}

}  // namespace galapagos
