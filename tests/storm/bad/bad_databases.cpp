#include "bad/bad_input.hpp"
#include "support/flip_byte.hpp"

#include <cmath>
#include <fmt/format.h>
#include <limits>

#include <galapagos/io/hdf5.hpp>

namespace galapagos::storm {
namespace {

using Words = std::vector<std::string>;
using Spoil = std::function<void(const std::filesystem::path&)>;

/// Lets `change` act on the file as it is.
template <typename Change>
Spoil in_hdf5(Change change) {
  return [=](const std::filesystem::path& path) {
    Hdf5File file = Hdf5File::open_to_change(path);
    change(file);
    file.close();
  };
}

template <typename T>
Spoil attribute(const char* name, const T& value) {
  return in_hdf5([=](Hdf5File& file) { file.write_attribute("/", name, value); });
}

template <typename T>
Spoil values(const char* name, Hdf5Type type, const std::function<void(std::vector<T>& values)>& change) {
  return in_hdf5([=](Hdf5File& file) {
    std::vector<T> all = file.read_values<T>(name, type, 1 << 20);
    change(all);
    file.write_values(name, type, all);
  });
}

Spoil flip(const char* dataset, std::int64_t place) {
  return [=](const std::filesystem::path& path) { test::flip_byte(path, dataset, place); };
}

/// In levels 1 to 5, of which an assignment uses one.
Spoil flip_all(const std::string& before, const std::string& behind, std::int64_t place) {
  return [=](const std::filesystem::path& path) {
    for (int level = 1; level < 6; ++level)
      test::flip_byte(path, before + std::to_string(level) + behind, place);
  };
}

std::vector<BadInput> bad_files(const char* file, const Words& words) {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what, const Spoil& spoil) {
    all.push_back({std::string(file) + ": " + what, file, spoil, words});
  };
  add("empty", put(""));
  add("a text", put("not HDF5\n"));
  add("zeros", put(std::string(100000, '\0')));
  for (const double share : {0.0005, 0.01, 0.3, 0.7, 0.95, 0.9999})
    add(fmt::format("cut at {}", share), cut(share));
  add("another signature", edit([](std::string bytes) { return bytes.replace(1, 3, "XYZ"); }));
  add("zeros instead of names",
      edit([](std::string bytes) { return bytes.replace(600, 4000, std::string(4000, '\0')); }));
  add("format 99", attribute("format_version", std::int64_t{99}));
  add("format -1", attribute("format_version", std::int64_t{-1}));
  add("a config that is no JSON", attribute("model_config", std::string("{")));
  add("an empty config", attribute("model_config", std::string("{}")));
  add("a config of other layers",
      attribute("model_config", std::string("{\"model_type\":\"llama\",\"hidden_size\":64}")));
  add("another model", attribute("model_fingerprint", std::string("0000000000000000")));
  return all;
}

const Words use_database = {"stitch",       "--model", "@/model",  "--database", "@/x.h5",
                            "--assignment", "@/a.txt", "--output", "@/out"};
const Words search_in = {"search",
                         "--model",
                         "@/model",
                         "--database",
                         "@/x.h5",
                         "--calibration",
                         "@/text.jsonl",
                         "--sequence-length",
                         "64",
                         "--calibration-tokens",
                         "600",
                         "--target-sparsity",
                         "0.4",
                         "--generations",
                         "1",
                         "--offspring",
                         "2",
                         "--survivors",
                         "1",
                         "--tokens",
                         "96",
                         "--compare-tokens",
                         "96",
                         "--threads",
                         "1",
                         "--output",
                         "@/out"};

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

void add_database_changes(std::vector<BadInput>& all) {
  const auto add = [&](const std::string& what, const Spoil& spoil, const Words& words = use_database) {
    all.push_back({"x.h5: " + what, "x.h5", spoil, words});
  };
  add("unfinished", attribute("complete", std::int64_t{0}));
  add("an unknown type", attribute("dtype", std::string("float8")));
  add("an unknown unit of attention", attribute("attention_unit", std::string("tail")));
  add("an unknown precision", attribute("precision", std::string("int3")));
  const auto levels = [&](const char* what, const std::function<void(std::vector<std::int64_t>&)>& change) {
    add(what, values<std::int64_t>("/levels/ffn", Hdf5Type::i64, change));
  };
  levels("levels that fall", [](auto& removed) { std::swap(removed[1], removed[2]); });
  levels("a negative level", [](auto& removed) { removed[1] = -4; });
  levels("more removed than there are", [](auto& removed) { removed.back() = 1000; });
  levels("a level 0 that is pruned", [](auto& removed) { removed[0] = 1; });
  const auto order = [&](const char* what, const std::function<void(std::vector<std::int32_t>&)>& change) {
    add(what, values<std::int32_t>("/modules/2/ffn/order", Hdf5Type::i32, change));
  };
  order("a structure removed twice", [](auto& all_of) { all_of[3] = all_of[4]; });
  order("a structure that is not there", [](auto& all_of) { all_of[3] = 100000; });
  order("a negative structure", [](auto& all_of) { all_of[3] = -1; });
  order("another order", [](auto& all_of) { std::swap(all_of[0], all_of[100]); });
  add("a loss that is no number",
      values<double>("/modules/1/attn/loss", Hdf5Type::f64, [](auto& loss) { loss[1] = nan; }), search_in);
  add("an end loss that is no number",
      values<double>("/modules/1/attn/end_loss", Hdf5Type::f64, [](auto& loss) { loss[1] = nan; }),
      search_in);
  add("a negative end loss",
      values<double>("/modules/1/attn/end_loss", Hdf5Type::f64, [](auto& loss) { loss[1] = -5; }), search_in);
  add("a module that is not done",
      values<std::uint8_t>("/modules/2/ffn/state", Hdf5Type::u8, [](auto& state) { state[0] = 0; }));
  add("a state of 7",
      values<std::uint8_t>("/modules/2/ffn/state", Hdf5Type::u8, [](auto& state) { state[0] = 7; }));
  for (const Words& words : {use_database, search_in}) {
    const std::string by = " (" + words.front() + ")";
    add("a bit of a weight of every level" + by, flip_all("/modules/2/ffn/level_", "/weight", 77), words);
    add("a bit of every checksum" + by, flip_all("/modules/2/attn/level_", "/checksum", 2), words);
    add("a bit of an order" + by, flip("/modules/2/ffn/order", 0), words);
    add("a bit of a summary's checksum" + by, flip("/modules/2/attn/checksum", 5), words);
  }
}

void add_sensitivity_changes(std::vector<BadInput>& all, const Words& words) {
  const auto add = [&](const std::string& what, const Spoil& spoil) {
    all.push_back({"s.h5: " + what, "s.h5", spoil, words});
  };
  add("another kind", attribute("kind", std::string("tides")));
  add("unfinished", attribute("batches_done", std::int64_t{3}));
  add("a negative number of batches", attribute("batches_done", std::int64_t{-3}));
  add("an unknown form", attribute("form", std::string("round")));
  add("another form", attribute("form", std::string("diagonal")));
  add("an unknown precision", attribute("precision", std::string("int3")));
  add("a bit of a matrix", flip("/modules/2/ffn/sensitivity", 400));
}

}  // namespace

std::vector<BadInput> bad_databases() {
  const Words weighed = {"database",
                         "--model",
                         "@/model",
                         "--calibration",
                         "@/text.jsonl",
                         "--calibration-tokens",
                         "300",
                         "--sequence-length",
                         "64",
                         "--levels",
                         "2",
                         "--threads",
                         "1",
                         "--sensitivity",
                         "@/s.h5",
                         "--output",
                         "@/out.h5"};
  std::vector<BadInput> all = bad_files("x.h5", use_database);
  add_database_changes(all);
  for (BadInput& one : bad_files("s.h5", weighed)) all.push_back(std::move(one));
  add_sensitivity_changes(all, weighed);
  return all;
}

}  // namespace galapagos::storm
