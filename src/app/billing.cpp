#include "billing.hpp"

#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <optional>

#include <galapagos/comm/bill.hpp>
#include <galapagos/core/line_file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/system.hpp>

namespace galapagos::app {
namespace fs = std::filesystem;
namespace {

/// The output of the command that has begun, empty where it has none.
std::optional<fs::path>& opened() {
  static std::optional<fs::path> output;
  return output;
}

/// What the earlier parts of a run took.
struct Earlier {
  int parts = 0;
  double node_hours = 0, gpu_hours = 0;
};

Earlier read_earlier(const fs::path& path) {
  Earlier earlier;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const Json part = Json::parse(line, nullptr, false);
    if (!part.is_object() || !part.contains("node_hours") || !part["node_hours"].is_number()) continue;
    ++earlier.parts;
    earlier.node_hours += part["node_hours"].get<double>();
    if (part.contains("gpu_hours") && part["gpu_hours"].is_number())
      earlier.gpu_hours += part["gpu_hours"].get<double>();
  }
  return earlier;
}

std::string with_earlier(const Earlier& earlier, const Bill& bill) {
  std::string text = fmt::format("; with {} earlier part{} {:.3g} node-hours", earlier.parts,
                                 earlier.parts == 1 ? "" : "s", earlier.node_hours + bill.node_hours());
  const double gpu_hours = earlier.gpu_hours + bill.gpu_hours();
  return gpu_hours > 0 ? text + fmt::format(" and {:.3g} GPU-hours", gpu_hours) : text;
}

}  // namespace

void open_bill(const Options& options) {
  if (opened()) return;
  opened() = options.declares("output") && options.has("output") ? options.words("output").front() : "";
}

void close_bill(const Communicator& world, Billed billed, const std::string& command,
                const std::string& ended) {
  if (billed == Billed::no || !opened()) return;
  // A run that was complete already has cost nothing.
  if (billed == Billed::kept && ended == "done" && !world.any(meter().asked())) return;
  const Bill bill = bill_of(world, meter().total());
  if (!world.is_root()) return;
  const fs::path kept = *opened() / "bill.jsonl";
  std::error_code error;
  if (billed == Billed::said || !fs::is_directory(*opened(), error)) return log_info("{}", bill.text());
  const Earlier earlier = read_earlier(kept);
  log_info("{}{}", bill.text(), earlier.parts > 0 ? with_earlier(earlier, bill) : "");
  Json line = {{"command", command}, {"ended", ended}, {"at", utc_now()}};
  line.update(bill.json());
  try {
    append_text(kept, line.dump() + "\n");
  } catch (const Error& failure) {  // the run itself is safe
    log_warning("the bill is not kept: {}", failure.what());
  }
}

}  // namespace galapagos::app
