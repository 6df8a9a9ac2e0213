#include "search_command.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"

#include <cmath>
#include <span>
#include <sstream>

#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/hdf5.hpp>

namespace galapagos::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::string model() {
  return data_file("models/llama3_tiny").string();
}
std::string text() {
  return data_file("text/sample.jsonl").string();
}

}  // namespace

const TemporaryFolder& search_inputs() {
  static const TemporaryFolder folder;
  if (fs::exists(folder / "x.h5")) return folder;
  const Ended built = run_galapagos(
      2, {"database", "--model", model(), "--calibration", text(), "--levels", "6", "--sequence-length",
          "128", "--calibration-tokens", "3000", "--output", (folder / "x.h5").string(), "--threads", "1"});
  INFO(built.errors);
  REQUIRE(built.code == 0);
  fs::copy_file(folder / "x.h5", folder / "s.h5");
  add_end_losses(folder / "s.h5", [](int layer, bool ffn, int level) {
    return 0.01 * (ffn ? 1 + layer : 4 - layer) * std::pow(level, ffn ? 1.5 : 2.0);
  });
  std::istringstream lines(read_file(text()));
  std::string some, line;
  for (int i = 0; i < 20 && std::getline(lines, line); ++i) some += line + "\n";
  write_text(folder / "eval.jsonl", some);
  return folder;
}

void add_end_losses(const fs::path& database,
                    const std::function<double(int layer, bool ffn, int level)>& loss) {
  constexpr std::uint64_t most = 1 << 20;  // values of a dataset
  Hdf5File file = Hdf5File::open_to_change(database);
  for (int layer = 0; file.has("/modules/" + std::to_string(layer)); ++layer) {
    for (const bool ffn : {false, true}) {
      const std::string kind = ffn ? "ffn" : "attn";
      const auto levels = file.describe("/levels/" + kind).elements;
      std::vector<double> values;
      for (std::uint64_t level = 0; level < levels; ++level)
        values.push_back(loss(layer, ffn, static_cast<int>(level)));
      const std::string module = "/modules/" + std::to_string(layer) + "/" + kind + "/";
      file.create_dataset(module + "end_loss", Hdf5Type::f64, {levels});
      file.write_values(module + "end_loss", Hdf5Type::f64, values);
      const auto order = file.read_values<std::int32_t>(module + "order", Hdf5Type::i32, most);
      const auto losses = file.read_values<double>(module + "loss", Hdf5Type::f64, most);
      const auto damping = file.read_values<double>(module + "damping", Hdf5Type::f64, most);
      Hash64 sum;  // as the database's writer has it
      sum.add(std::as_bytes(std::span(order))).add(std::as_bytes(std::span(losses)));
      sum.add(std::as_bytes(std::span(damping))).add(std::as_bytes(std::span(values)));
      file.write_values(module + "checksum", Hdf5Type::u64, std::vector<std::uint64_t>{sum.value()});
    }
  }
  file.write_attribute("/", "sensitivity_fingerprint", std::string("0123456789abcdef"));
  file.close();
}

Words search_words(const fs::path& output, const std::map<std::string, std::string>& change) {
  std::map<std::string, std::string> options = {{"--model", model()},
                                                {"--database", (search_inputs() / "x.h5").string()},
                                                {"--calibration", text()},
                                                {"--output", output.string()},
                                                {"--target-level", "3"},
                                                {"--islands", "4"},
                                                {"--generations", "7"},
                                                {"--offspring", "6"},
                                                {"--survivors", "3 1"},
                                                {"--tokens", "96 160"},
                                                {"--sequence-length", "128"},
                                                {"--calibration-tokens", "2000"},
                                                {"--compare-tokens", "200"},
                                                {"--eval-every", "3"},
                                                {"--eval-data", (search_inputs() / "eval.jsonl").string()},
                                                {"--batch-tokens", "256"},
                                                {"--migration-interval", "2"},
                                                {"--migrants", "2"},
                                                {"--seed", "3"},
                                                {"--threads", "1"}};
  for (const auto& [option, value] : change) options[option] = value;
  Words words = {"search"};
  for (const auto& [option, value] : options) {
    if (value == "-") continue;
    words.push_back(option);
    if (!value.empty()) words.push_back(value);
  }
  return words;
}

std::string content(const fs::path& path) {
  return fs::exists(path) ? read_file(path) : "nothing";
}

std::string findings(const fs::path& run) {
  std::string all =
      content(run / "best.txt") + content(run / "migrations.csv") + content(run / "candidates.jsonl");
  std::istringstream lines(content(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    Json json = parse_json(line, "metrics.jsonl");
    json.erase("seconds");
    json.erase("elapsed");
    all += json.dump() + "\n";
  }
  return all;
}

int generations_done(const fs::path& run) {
  const std::string metrics = content(run / "metrics.jsonl");
  return count_lines(metrics, "\"island\":0");
}

}  // namespace galapagos::test
