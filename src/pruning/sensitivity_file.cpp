#include <array>
#include <fmt/format.h>
#include <optional>
#include <sstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>
#include <galapagos/pruning/sketch.hpp>

namespace galapagos {
namespace {

/// 2 with sketches or the first order, which programs that know only 1 could not take.
constexpr std::int64_t format_version = 1, newest_version = 2;
constexpr std::array forms = {SensitivityForm::full, SensitivityForm::diagonal, SensitivityForm::scalar,
                              SensitivityForm::lowrank};
constexpr std::array precisions = {DType::f32, DType::bf16, DType::f16};

constexpr const char *curvature_name = "sensitivity", *first_order_name = "first_order",
                     *in_place_name = "in_place";

/// The datasets of a module.
struct Part {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::vector<float> ModuleSensitivity::*values;
};

std::vector<Part> parts_of(const SensitivityHeader& header, const ModuleId& module, bool complete) {
  std::vector<Part> parts = {{curvature_name, {header.values()}, &ModuleSensitivity::curvature}};
  if (!header.has_first_order()) return parts;
  const auto hidden = static_cast<std::uint64_t>(header.config.hidden_size);
  const std::vector<std::uint64_t> shape = {header.weight_values(module) / hidden, hidden};
  parts.push_back({first_order_name, shape, &ModuleSensitivity::first_order});
  if (complete) parts.push_back({in_place_name, shape, &ModuleSensitivity::in_place});
  return parts;
}

/// Beside a dataset.
std::string checksum_path(const ModuleId& module, const std::string& name) {
  return group_of(module) + (name == curvature_name ? "/checksum" : "/" + name + "_checksum");
}

void create_file(const std::filesystem::path& path, const SensitivityHeader& header,
                 std::int64_t batches_done) {
  check_room(header, path, 1);
  Hdf5File file = Hdf5File::create(path);
  for (const ModuleId& module : header.modules()) {
    const std::string at = group_of(module);
    file.create_group(at);
    for (const Part& part : parts_of(header, module, batches_done == 0)) {
      file.create_dataset(at + "/" + part.name, Hdf5Type::f32, part.shape);
      file.create_dataset(checksum_path(module, part.name), Hdf5Type::u64, {1});
    }
  }
  const bool newer = header.form == SensitivityForm::lowrank || header.has_first_order();
  file.write_attribute("/", "format_version", newer ? newest_version : format_version);
  file.write_attribute("/", "kind", std::string("sensitivities"));
  file.write_attribute("/", "tool_version", header.tool_version);
  file.write_attribute("/", "created", header.created);
  file.write_attribute("/", "model_config", header.config.source.dump());
  file.write_attribute("/", "model_fingerprint", header.model_fingerprint);
  file.write_attribute("/", "assignment_fingerprint", header.assignment_fingerprint);
  file.write_attribute("/", "calibration_fingerprint", header.calibration_fingerprint);
  file.write_attribute("/", "calibration_tokens", header.calibration_tokens);
  file.write_attribute("/", "sequence_length", header.sequence_length);
  file.write_attribute("/", "batch_tokens", header.batch_tokens);
  file.write_attribute("/", "precision", name_of(header.precision));
  file.write_attribute("/", "samples", header.samples);
  file.write_attribute("/", "seed", header.seed);
  file.write_attribute("/", "form", name_of(header.form));
  if (header.form == SensitivityForm::lowrank) file.write_attribute("/", "rank", header.rank);
  if (header.has_first_order()) {
    file.write_attribute("/", "from", std::string("kl"));
    file.write_attribute("/", "kept", fmt::format("{}", fmt::join(header.kept, " ")));
  }
  file.write_attribute("/", "batches_done", batches_done);
  file.close();
}

[[noreturn]] void damaged_sensitivities(const std::string& what, const std::string& path) {
  throw InputError("the file of sensitivities is damaged: " + what, path, "remove it and make it anew");
}

template <typename Choices>
auto named(const Choices& choices, const std::string& name, const std::string& path) {
  for (const auto choice : choices) {
    if (name_of(choice) == name) return choice;
  }
  damaged_sensitivities("unknown word '" + printable(name) + "'", path);
}

SensitivityHeader read_sensitivity_header(const Hdf5File& file, const std::string& path) {
  if (!file.has_attribute("/", "kind") || file.read_string("/", "kind") != "sensitivities") {
    throw InputError("this is no file of sensitivities", path, "make one with 'galapagos sensitivity'");
  }
  const std::int64_t version = file.read_integer("/", "format_version");
  if (version < format_version || version > newest_version) {
    throw InputError(
        fmt::format("sensitivities of format {}, this program reads up to {}", version, newest_version), path,
        "use the version of Galapagos that made them");
  }
  SensitivityHeader header;
  header.tool_version = file.read_string("/", "tool_version");
  header.created = file.read_string("/", "created");
  header.config = parse_hf_config(parse_json(file.read_string("/", "model_config"), path), path);
  header.model_fingerprint = file.read_string("/", "model_fingerprint");
  header.assignment_fingerprint = file.read_string("/", "assignment_fingerprint");
  header.calibration_fingerprint = file.read_string("/", "calibration_fingerprint");
  header.calibration_tokens = file.read_integer("/", "calibration_tokens");
  header.sequence_length = file.read_integer("/", "sequence_length");
  header.batch_tokens = file.read_integer("/", "batch_tokens");
  header.precision = named(precisions, file.read_string("/", "precision"), path);
  header.samples = file.read_integer("/", "samples");
  header.seed = file.read_integer("/", "seed");
  header.form = named(forms, file.read_string("/", "form"), path);
  if (header.form == SensitivityForm::lowrank) {
    header.rank = file.read_integer("/", "rank");
    if (header.rank < 1 || header.rank > header.config.hidden_size)
      damaged_sensitivities("an impossible rank", path);
  }
  if (file.has_attribute("/", "kept")) {
    std::istringstream counts(file.read_string("/", "kept"));
    for (std::int64_t count = 0; counts >> count;) header.kept.push_back(count);
    if (!counts.eof() || header.kept.size() != header.modules().size())
      damaged_sensitivities("impossible numbers of columns kept", path);
  }
  return header;
}

std::uint64_t checksum_of(const std::vector<float>& values) {
  return Hash64().add(std::as_bytes(std::span(values))).value();
}

}  // namespace

std::string name_of(SensitivityForm form) {
  constexpr std::array names = {"full", "diagonal", "scalar", "lowrank"};
  return names.at(static_cast<std::size_t>(form));
}

std::string SensitivityHeader::form_text() const {
  return name_of(form) + (form == SensitivityForm::lowrank ? fmt::format(" of rank {}", rank) : "");
}

std::uint64_t sensitivity_values(SensitivityForm form, std::int64_t rank, std::int64_t hidden) {
  const auto n = static_cast<std::uint64_t>(hidden);
  switch (form) {
    case SensitivityForm::full:
      return n * (n + 1) / 2;
    case SensitivityForm::diagonal:
      return n;
    case SensitivityForm::lowrank:
      return sketch_values(rank, hidden);
    default:
      return 1;
  }
}

std::uint64_t SensitivityHeader::values() const {
  return sensitivity_values(form, rank, config.hidden_size);
}

std::uint64_t SensitivityHeader::weight_values(const ModuleId& module) const {
  return static_cast<std::uint64_t>(module_columns(config, module) * config.hidden_size);
}

std::uint64_t SensitivityHeader::file_bytes() const {
  std::uint64_t numbers = 0;
  for (const ModuleId& module : modules())
    numbers += values() + (has_first_order() ? 2 * weight_values(module) : 0);
  return (1 << 20) + numbers * sizeof(float);
}

void check_room(const SensitivityHeader& header, const std::filesystem::path& path, int files) {
  const std::uint64_t needed = static_cast<std::uint64_t>(files) * header.file_bytes(),
                      free = free_disk_bytes(path);
  if (needed <= free) return;
  throw ResourceError(
      fmt::format("the sensitivities need {} and {} are free", human_bytes(needed), human_bytes(free)),
      path.string(), "free space there, choose another file system, or --form diagonal");
}

void check_same_sensitivity(const SensitivityHeader& found, const SensitivityHeader& wanted,
                            const std::string& path) {
  const auto compare = [&](bool same, const std::string& what) {
    if (same) return;
    throw InputError("this run was begun with " + what, path,
                     "give the options it was begun with, another --output, or --fresh to begin anew");
  };
  compare(found.config.source == wanted.config.source && found.model_fingerprint == wanted.model_fingerprint,
          "another model");
  compare(found.assignment_fingerprint == wanted.assignment_fingerprint, "another assignment");
  compare(found.calibration_fingerprint == wanted.calibration_fingerprint, "other calibration data");
  compare(found.precision == wanted.precision, "--precision " + name_of(found.precision));
  compare(found.samples == wanted.samples, fmt::format("--samples {}", found.samples));
  compare(found.seed == wanted.seed, fmt::format("--seed {}", found.seed));
  // Batches are what is counted of a run.
  compare(found.batch_tokens == wanted.batch_tokens, fmt::format("--batch-tokens {}", found.batch_tokens));
  compare(found.form == wanted.form, "--form " + name_of(found.form));
  compare(found.rank == wanted.rank, fmt::format("--rank {}", found.rank));
  compare(found.kept == wanted.kept, found.has_first_order() ? "--from kl" : "--from drawn");
}

void write_sensitivities(const Communicator& comm, const std::filesystem::path& path,
                         const SensitivityHeader& header, std::int64_t batches_done,
                         const Sensitivities& mine) {
  const std::filesystem::path unfinished = path.string() + ".new";
  agree_at_root(comm, [&] { create_file(unfinished, header, batches_done); });
  std::optional<Hdf5File> file(agree_on(comm, [&] { return Hdf5File::open_parallel(unfinished, comm); }));
  agree(comm, [&] {
    for (const auto& [module, kept] : mine) {
      for (const Part& part : parts_of(header, module, batches_done == 0)) {
        const std::vector<float>& values = kept.*part.values;
        file->write_values(group_of(module) + "/" + part.name, Hdf5Type::f32, values);
        file->write_values<std::uint64_t>(checksum_path(module, part.name), Hdf5Type::u64,
                                          {checksum_of(values)});
      }
    }
  });
  agree(comm, [&] { file->close(); });
  file.reset();
  agree_at_root(comm, [&] { publish_file(unfinished, path); });
}

SensitivityReader::SensitivityReader(const std::filesystem::path& path, bool unfinished)
    : path_(path), file_(Hdf5File::open(path)), header_(read_sensitivity_header(file_, path.string())) {
  batches_done_ = file_.read_integer("/", "batches_done");
  if (batches_done_ < 0) damaged_sensitivities("an impossible number of batches", path_.string());
  if (!unfinished && batches_done_ > 0) {
    throw InputError("the sensitivities are unfinished", path.string(),
                     "finish them: run the command that began them again");
  }
  Hash64 all;
  for (const ModuleId& module : header_.modules()) {
    for (const Part& part : parts_of(header_, module, batches_done_ == 0)) {
      const Hdf5DatasetInfo found = file_.describe(group_of(module) + "/" + part.name);
      if (found.type != Hdf5Type::f32 || found.shape != part.shape)
        damaged_sensitivities(name_of(module) + " has another type or shape than its form says",
                              path_.string());
      all.add(file_.read_all<std::uint64_t>(checksum_path(module, part.name), Hdf5Type::u64, 1).front());
    }
  }
  fingerprint_ = hex64(all.add(name_of(header_.form)).value());
}

std::vector<float> SensitivityReader::values(const ModuleId& module) const {
  return read(module, curvature_name, header_.values());
}

std::vector<float> SensitivityReader::first_order(const ModuleId& module) const {
  return read(module, first_order_name, header_.weight_values(module));
}

std::vector<float> SensitivityReader::in_place(const ModuleId& module) const {
  return read(module, in_place_name, header_.weight_values(module));
}

std::vector<float> SensitivityReader::read(const ModuleId& module, const std::string& name,
                                           std::uint64_t count) const {
  auto values = file_.read_all<float>(group_of(module) + "/" + name, Hdf5Type::f32, count);
  if (file_.read_all<std::uint64_t>(checksum_path(module, name), Hdf5Type::u64, 1).front() !=
      checksum_of(values)) {
    throw InputError("the checksum of " + name_of(module) + " does not fit", path_.string(),
                     "remove the file and make it anew");
  }
  return values;
}

}  // namespace galapagos
