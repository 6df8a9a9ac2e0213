#include "parent.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/stitch.hpp>

using namespace galapagos;

namespace {

/// A format as unlike safetensors as may be: three tensors a file, the last first and the bytes of each in
/// reverse, and before them one that the format has of its own.
class Backwards : public Exporter {
 public:
  std::vector<ExportFile> begin(const ExportedModel& model, std::uint64_t) override {
    model_ = &model;
    std::vector<ExportFile> files;
    for (std::size_t first = 0; first < model.tensors.size(); first += 3) {
      ExportFile file{"file" + std::to_string(first), "head", {}};
      for (std::size_t i = first; i < std::min(first + 3, model.tensors.size()); ++i)
        file.tensors.push_back({"my " + model.tensors[i].name, i, 0, model.tensors[i].bytes});
      file.tensors.push_back({"own", {}, 0, 100});
      std::uint64_t place = file.head.size();
      for (auto tensor = file.tensors.rbegin(); tensor != file.tensors.rend(); ++tensor) {
        tensor->place = place;
        place += tensor->bytes;
      }
      files.push_back(std::move(file));
    }
    return files;
  }

  void tensor(const StoredTensor& stored, std::span<std::byte> out) override {
    if (!stored.source) {
      std::ranges::fill(out, std::byte{7});
      return;
    }
    if (stored.name == fails_at) throw InputError("cannot be put backwards", stored.name, "leave it");
    model_->tensors[*stored.source].fill(out);
    std::ranges::reverse(out);
  }

  void finish(std::span<const ExportFile> files, const std::filesystem::path& folder) override {
    Json list = {{"parent", model_->parent.string()}, {"layers", model_->config.layers}};
    for (const ExportFile& file : files)
      for (const StoredTensor& tensor : file.tensors)
        list["tensors"].push_back({file.name, tensor.name, tensor.place, tensor.bytes});
    write_file_atomically(folder / "list.json", list.dump());
    write_file_atomically(folder / "assignment.txt", model_->texts.at("assignment.txt"));
  }

  static inline std::string fails_at;

 private:
  const ExportedModel* model_ = nullptr;
};

constexpr ExportFormat backwards = {
    "backwards",
    "for a test",
    true,
    true,
    true,
    [](const HfConfig& parent, const std::vector<LayerShape>&) { return parent.source; },
    [](const ExportOptions&) { return std::unique_ptr<Exporter>(new Backwards); }};

}  // namespace

TEST_CASE("a further format is a row and an exporter", "[exporter]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const test::Parent parent = test::small_parent(world, "qwen2_tiny", folder);
  const Assignment assignment = test::with_holes(parent.space);
  const auto write = [&](const ExportFormat& format) {
    StitchOptions options;
    options.formats = {&format};
    options.output = folder / format.name;
    stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
  };
  write(export_format_of("hf"));
  Backwards::fails_at = "my model.norm.weight";
  CHECK_THROWS_AS(write(backwards), Error);  // on one rank, and so on all
  CHECK_FALSE(std::filesystem::exists(folder / "backwards"));
  Backwards::fails_at.clear();
  write(backwards);

  const Checkpoint same(folder / "hf");
  const Json list = read_json(folder / "backwards/list.json");
  CHECK(list["parent"] == parent.folder.string());
  CHECK(list["layers"] == parent.config.layers);
  CHECK(read_file(folder / "backwards/assignment.txt") == read_file(folder / "hf/assignment.txt"));
  std::set<std::string> seen;
  for (const Json& tensor : list["tensors"]) {
    const std::string file = read_file((folder / "backwards") / tensor[0].get<std::string>());
    CHECK(file.starts_with("head"));
    std::string bytes = file.substr(tensor[2].get<std::size_t>(), tensor[3].get<std::size_t>());
    const auto name = tensor[1].get<std::string>();
    CAPTURE(name);
    if (name == "own") {
      CHECK(bytes == std::string(100, '\7'));
      continue;
    }
    std::ranges::reverse(bytes);
    const std::span<const std::byte> data = same.entry(name.substr(3)).data;
    CHECK((bytes.size() == data.size() && std::memcmp(bytes.data(), data.data(), data.size()) == 0));
    seen.insert(name.substr(3));
  }
  CHECK(seen.size() == same.names().size());
}

TEST_CASE("formats are told by their names", "[exporter]") {
  CHECK(export_format_of("dense").name == std::string("dense"));
  CHECK(list_export_formats() == "hf, dense, family, gguf or decilm");
  CHECK_THROWS_AS(export_format_of("gguff"), UsageError);
  CHECK(export_formats_of({"gguf", "hf"}) == std::vector{&export_format_of("gguf"), &export_format_of("hf")});
  CHECK_THROWS_AS(export_formats_of({"hf", "hf"}), UsageError);
  CHECK_THROWS_AS(export_formats_of({}), UsageError);
}
