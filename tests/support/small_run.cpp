#include "support/small_run.hpp"

#include "support/files.hpp"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <iterator>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>

namespace galapagos::test {

SharedFolder::SharedFolder(const Communicator& comm) : comm_(comm) {
  std::string name;
  if (comm.is_root()) {
    name = (std::filesystem::temp_directory_path() / "galapagos-mpi-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) name.clear();
  }
  path_ = comm.broadcast_string(name);
  start_logging("off", comm.rank());
}

SharedFolder::~SharedFolder() {
  comm_.barrier();
  std::error_code ignored;
  if (comm_.is_root()) std::filesystem::remove_all(path_, ignored);
}

DatabaseOptions small_database(const std::string& model, const std::filesystem::path& output) {
  DatabaseOptions options;
  options.model = data_file("models/" + model);
  options.calibration = {data_file("text/sample.jsonl")};
  options.calibration_tokens = 3000;
  options.sequence_length = 128;
  options.batch_tokens = 256;
  options.levels = 4;
  options.output = output;
  return options;
}

DatabaseOptions on_path(const Communicator& comm, DatabaseOptions options, std::int64_t first,
                        std::int64_t step, const std::optional<Compensation>& compensation) {
  options.path = options.output.string() + ".txt";
  if (comm.is_root()) {
    DatabaseOptions plain = options;
    plain.path.reset();
    const DatabaseHeader header = make_header(plain, read_hf_config(options.model), DType::f32);
    std::string text;
    std::int64_t level = first;
    for (const ModuleId& module : header.modules()) {
      text += name_of(module) + ": " + std::to_string(level % std::ssize(header.removed(module))) + "\n";
      level += step;
    }
    write_text(*options.path, text);
  }
  comm.barrier();
  options.compensation = compensation;
  return options;
}

int code_of_build(const Communicator& world, const DatabaseOptions& options) {
  try {
    build_database(world, ops::Context(), options);
    return 0;
  } catch (const Error& error) {
    return error.agreed() ? static_cast<int>(error.code()) : -1;  // which no test asks for
  }
}

namespace {

/// What the file holds of an expert's use; nothing of other modules.
std::vector<double> use_of(const DatabaseReader& database, const ModuleId& module) {
  const std::optional<ExpertUse> use = database.use(module);
  if (!use) return {};
  return {use->tokens, use->weights, use->outputs, use->squares};
}

Difference difference_of(const DatabaseReader& a, const DatabaseReader& b) {
  Difference difference;
  for (const ModuleId& module : a.header().modules()) {
    difference.same_order = difference.same_order && a.order(module) == b.order(module);
    const std::vector<double> loss_a = a.loss(module), loss_b = b.loss(module);
    difference.same_bits = difference.same_bits && loss_a == loss_b &&
                           a.damping(module) == b.damping(module) && use_of(a, module) == use_of(b, module);
    for (std::size_t i = 0; i < loss_a.size(); ++i) {
      difference.largest_loss =
          std::max(difference.largest_loss, std::abs(loss_a[i] - loss_b[i]) / (std::abs(loss_a[i]) + 1e-12));
    }
    for (std::int64_t level = a.header().first_stored(); level < std::ssize(a.header().removed(module));
         ++level) {
      const auto bytes_a = a.level_bytes(module, level);
      const auto bytes_b = b.level_bytes(module, level);
      difference.same_bits = difference.same_bits && bytes_a == bytes_b;
      const DType type = a.header().dtype;
      std::vector<float> weight_a(bytes_a.size() / size_of(type)), weight_b(weight_a.size());
      convert_to_float(type, bytes_a.data(), weight_a);
      convert_to_float(type, bytes_b.data(), weight_b);
      double scale = 1e-12, most = 0;
      for (std::size_t i = 0; i < weight_a.size(); ++i) {
        scale = std::max(scale, std::abs(static_cast<double>(weight_a[i])));
        most = std::max(most, std::abs(static_cast<double>(weight_a[i]) - weight_b[i]));
      }
      difference.largest_weight = std::max(difference.largest_weight, most / scale);
    }
  }
  difference.same_bits = difference.same_bits && difference.same_order;
  return difference;
}

}  // namespace

Difference compare(const std::filesystem::path& first, const std::filesystem::path& second) {
  try {
    return difference_of(DatabaseReader(first), DatabaseReader(second));
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return {false, false, 1e300, 1e300};
  }
}

}  // namespace galapagos::test
