#include <array>
#include <fmt/format.h>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t format_version = 1;
constexpr std::array forms = {SensitivityForm::full, SensitivityForm::diagonal, SensitivityForm::scalar};
constexpr std::array precisions = {DType::f32, DType::bf16, DType::f16};

std::string path_of(const ModuleId& module) {
  return "/modules/" + std::to_string(module.layer) + "/" + name_of(module.kind);
}

void create_file(const std::filesystem::path& path, const SensitivityHeader& header,
                 std::int64_t batches_done) {
  check_room(header, path, 1);
  Hdf5File file = Hdf5File::create(path);
  file.create_group("/modules");
  for (const ModuleId& module : header.modules()) {
    const std::string layer = "/modules/" + std::to_string(module.layer), at = path_of(module);
    if (!file.has(layer)) file.create_group(layer);
    file.create_group(at);
    file.create_dataset(at + "/sensitivity", Hdf5Type::f32, {header.values()});
    file.create_dataset(at + "/checksum", Hdf5Type::u64, {1});
  }
  file.write_attribute("/", "format_version", format_version);
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
  file.write_attribute("/", "batches_done", batches_done);
  file.close();
}

[[noreturn]] void damaged(const std::string& what, const std::string& path) {
  throw InputError("the file of sensitivities is damaged: " + what, path, "remove it and make it anew");
}

template <typename Choices>
auto named(const Choices& choices, const std::string& name, const std::string& path) {
  for (const auto choice : choices) {
    if (name_of(choice) == name) return choice;
  }
  damaged("unknown word '" + printable(name) + "'", path);
}

SensitivityHeader read_header(const Hdf5File& file, const std::string& path) {
  if (!file.has_attribute("/", "kind") || file.read_string("/", "kind") != "sensitivities") {
    throw InputError("this is no file of sensitivities", path, "make one with 'galapagos sensitivity'");
  }
  if (const std::int64_t version = file.read_integer("/", "format_version"); version != format_version) {
    throw InputError(
        fmt::format("sensitivities of format {}, this program reads format {}", version, format_version),
        path, "use the version of Galapagos that made them");
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
  return header;
}

std::uint64_t checksum_of(const std::vector<float>& values) {
  return Hash64().add(std::as_bytes(std::span(values))).value();
}

}  // namespace

std::string name_of(SensitivityForm form) {
  switch (form) {
    case SensitivityForm::full:
      return "full";
    case SensitivityForm::diagonal:
      return "diagonal";
    default:
      return "scalar";
  }
}

SensitivityForm sensitivity_form_of(const std::string& name) {
  for (const SensitivityForm form : forms) {
    if (name_of(form) == name) return form;
  }
  throw UsageError("unknown form '" + printable(name) + "'", "--form", "choose full, diagonal or scalar");
}

std::vector<ModuleId> SensitivityHeader::modules() const {
  DatabaseHeader same;
  same.config = config;
  return same.modules();
}

std::uint64_t SensitivityHeader::values() const {
  const auto n = static_cast<std::uint64_t>(config.hidden_size);
  switch (form) {
    case SensitivityForm::full:
      return n * (n + 1) / 2;
    case SensitivityForm::diagonal:
      return n;
    default:
      return 1;
  }
}

std::uint64_t SensitivityHeader::file_bytes() const {
  return (1 << 20) + modules().size() * values() * sizeof(float);
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
                     "give the options it was begun with, or another --output");
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
}

void write_sensitivities(const Communicator& comm, const std::filesystem::path& path,
                         const SensitivityHeader& header, std::int64_t batches_done,
                         const Sensitivities& mine) {
  const std::filesystem::path unfinished = path.string() + ".new";
  agree_at_root(comm, [&] { create_file(unfinished, header, batches_done); });
  std::optional<Hdf5File> file(agree_on(comm, [&] { return Hdf5File::open_parallel(unfinished, comm); }));
  agree(comm, [&] {
    for (const auto& [module, values] : mine) {
      file->write_values(path_of(module) + "/sensitivity", Hdf5Type::f32, values);
      file->write_values<std::uint64_t>(path_of(module) + "/checksum", Hdf5Type::u64, {checksum_of(values)});
    }
  });
  agree(comm, [&] { file->close(); });
  file.reset();
  agree_at_root(comm, [&] { publish_file(unfinished, path); });
}

SensitivityReader::SensitivityReader(const std::filesystem::path& path, bool unfinished)
    : path_(path), file_(Hdf5File::open(path)), header_(read_header(file_, path.string())) {
  batches_done_ = file_.read_integer("/", "batches_done");
  if (batches_done_ < 0) damaged("an impossible number of batches", path_.string());
  if (!unfinished && batches_done_ > 0) {
    throw InputError("the sensitivities are unfinished", path.string(),
                     "finish them with 'galapagos sensitivity --resume'");
  }
  Hash64 all;
  for (const ModuleId& module : header_.modules()) {
    const Hdf5DatasetInfo found = file_.describe(path_of(module) + "/sensitivity");
    if (found.type != Hdf5Type::f32 || found.shape != std::vector<std::uint64_t>{header_.values()}) {
      damaged(name_of(module) + " has another type or shape than its form says", path_.string());
    }
    all.add(file_.read_values<std::uint64_t>(path_of(module) + "/checksum", Hdf5Type::u64, 1).at(0));
  }
  fingerprint_ = hex64(all.add(name_of(header_.form)).value());
}

std::vector<float> SensitivityReader::values(const ModuleId& module) const {
  const auto values =
      file_.read_values<float>(path_of(module) + "/sensitivity", Hdf5Type::f32, header_.values());
  if (file_.read_values<std::uint64_t>(path_of(module) + "/checksum", Hdf5Type::u64, 1).at(0) !=
      checksum_of(values)) {
    throw InputError("the checksum of " + name_of(module) + " does not fit", path_.string(),
                     "remove the file and make it anew");
  }
  return values;
}

}  // namespace galapagos
