#include "info.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos::app {
namespace {

/// tr(G) / n of a module: the mean of the diagonal, whatever is kept of G.
double mean_diagonal(const SensitivityReader& reader, const ModuleId& module) {
  const SensitivityHeader& header = reader.header();
  const std::vector<float> values = reader.values(module);
  double sum = 0;
  if (header.form == SensitivityForm::lowrank) {
    const auto n = static_cast<std::size_t>(header.config.hidden_size);
    const std::size_t factor = values.size() - n;
    for (std::size_t i = 0; i < factor; ++i) sum += static_cast<double>(values[i]) * values[i];
    for (std::size_t i = factor; i < values.size(); ++i) sum += static_cast<double>(values[i]);
    return sum / static_cast<double>(n);
  }
  std::size_t terms = 0;
  const bool full = header.form == SensitivityForm::full;
  // Row r of the triangle ends with its diagonal, r + 1 numbers long.
  for (std::size_t at = 0; at < values.size(); at += full ? terms + 1 : 1) {
    sum += static_cast<double>(values[at]);
    ++terms;
  }
  return sum / static_cast<double>(terms);
}

}  // namespace

bool is_sensitivity(const std::filesystem::path& path) {
  return Hdf5File::open(path).has_attribute("/", "kind");
}

Description describe_sensitivity(const std::filesystem::path& path) {
  const SensitivityReader reader(path, true);
  const SensitivityHeader& header = reader.header();
  Description description;
  Json& json = description.json;
  json["kind"] = "sensitivities";
  json["complete"] = reader.batches_done() == 0;
  json["model_fingerprint"] = header.model_fingerprint;
  json["assignment_fingerprint"] = header.assignment_fingerprint;
  json["calibration_tokens"] = header.calibration_tokens;
  json["samples"] = header.samples;
  json["seed"] = header.seed;
  json["form"] = name_of(header.form);
  if (header.form == SensitivityForm::lowrank) json["rank"] = header.rank;
  json["from"] = header.has_first_order() ? "kl" : "drawn";
  json["fingerprint"] = reader.fingerprint();
  description.text = fmt::format(
      "sensitivities  {}\nmodel          {}, {} layers, fingerprint {}{}\ntokens         {}, {} ids drawn "
      "for each, "
      "seed {}\nform           {}{}\nmade           {} by {}\n",
      reader.batches_done() == 0 ? "complete"
                                 : fmt::format("unfinished, {} batches done", reader.batches_done()),
      header.config.model_type, header.config.layers, header.model_fingerprint,
      header.assignment_fingerprint.empty() ? "" : " with an assignment",
      human_count(static_cast<std::uint64_t>(header.calibration_tokens)), header.samples, header.seed,
      header.form_text(), header.has_first_order() ? ", and the first order of the divergence" : "",
      header.created, header.tool_version);
  if (reader.batches_done() > 0) return description;  // sums, not means
  description.text += "\nmean of the diagonal, nats per squared unit of what a module puts out\n";
  std::vector<double> means;
  for (const ModuleId& module : header.modules()) means.push_back(mean_diagonal(reader, module));
  const double most = std::max(*std::max_element(means.begin(), means.end()), 1e-300);
  std::size_t at = 0;
  for (const ModuleId& module : header.modules()) {
    const double mean = means[at++];
    constexpr double widest = 40;
    const auto length = static_cast<std::size_t>(std::lround(std::sqrt(mean / most) * widest));
    description.text += fmt::format("{:>4} {:<5} {:>10.3g}  {}\n", module.layer, name_of(module.kind), mean,
                                    std::string(length, '#'));
    json["modules"].push_back(
        {{"layer", module.layer}, {"kind", name_of(module.kind)}, {"mean_diagonal", mean}});
  }
  description.text += "(bars: square roots)\n";
  return description;
}

}  // namespace galapagos::app
