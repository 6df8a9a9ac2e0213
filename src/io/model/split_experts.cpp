#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>

// transformers 5 holds the experts of a layer as two tensors, and can be made to save them so.
namespace galapagos {
namespace {

constexpr std::string_view gate_up = "mlp.experts.gate_up_proj", down = "mlp.experts.down_proj";

bool of_all_experts(std::string_view name) {
  return name.ends_with(gate_up) || name.ends_with(down);
}

/// Whether a name behind "model.layers.3.mlp." is one that a mixture of so many experts has.
bool of_mixture(std::string_view name, std::size_t experts) {
  if (name == "gate.weight") return true;
  constexpr std::string_view begin = "experts.";
  if (!name.starts_with(begin)) return false;
  name.remove_prefix(begin.size());
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || number >= experts) return false;
  name.remove_prefix(static_cast<std::size_t>(end - name.data()));
  return name == ".gate_proj.weight" || name == ".up_proj.weight" || name == ".down_proj.weight";
}

}  // namespace

void Checkpoint::split_experts() {
  bool any = false;
  for (const auto& [name, entry] : tensors_) any = any || of_all_experts(name);
  if (!any) return;
  const HfConfig config = read_config_alone(folder_);
  if (!config.mixture) return;
  const auto add = [&](const TensorEntry& whole, const std::string& name, Shape shape, std::size_t first) {
    const std::size_t bytes = whole.data.size() / static_cast<std::size_t>(whole.shape[0] * whole.shape[1]) *
                              static_cast<std::size_t>(shape[0]);
    const TensorEntry& part = parts_.emplace_back(
        TensorEntry{name, whole.dtype, std::move(shape), whole.data.subspan(first, bytes)});
    if (tensors_.emplace(part.name, &part).second) return;
    throw InputError(fmt::format("tensor '{}' is there both by itself and in '{}'", part.name, whole.name),
                     folder_.string(), "remove the files that do not belong to the model");
  };
  const std::int64_t hidden = config.hidden_size;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::vector<std::int64_t>& experts = config.shape(layer).experts;
    if (experts.empty()) continue;
    const auto count = static_cast<std::int64_t>(experts.size());
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const auto split = [&](std::string_view name, std::int64_t rows, std::int64_t columns,
                           std::initializer_list<const char*> parts) {
      const auto found = tensors_.find(prefix + std::string(name));
      if (found == tensors_.end()) return;
      const TensorEntry& whole = entry_of_shape(found->first, {count, rows, columns});
      tensors_.erase(found);
      const std::int64_t rows_of_part = rows / std::ssize(parts);
      const std::size_t bytes = whole.data.size() / static_cast<std::size_t>(count * std::ssize(parts));
      std::size_t first = 0;
      for (std::int64_t expert = 0; expert < count; ++expert) {
        for (const char* part : parts) {
          add(whole, fmt::format("{}mlp.experts.{}.{}.weight", prefix, expert, part), {rows_of_part, columns},
              first);
          first += bytes;
        }
      }
    };
    split(gate_up, 2 * experts[0], hidden, {"gate_proj", "up_proj"});
    split(down, hidden, experts[0], {"down_proj"});
  }
}

/// What else a mixture has in its files, as an expert that all tokens go to, would be missing in the result.
void Checkpoint::check_experts() const {
  const auto of_expert = [](const auto& item) {
    return item.first.find(".mlp.experts.") != std::string::npos;
  };
  std::error_code none;  // without a configuration there are but tensors
  if (std::ranges::none_of(tensors_, of_expert) || !std::filesystem::exists(folder_ / "config.json", none))
    return;
  const HfConfig config = read_config_alone(folder_);
  if (!config.mixture) return;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerShape& shape = config.shape(layer);
    if (!shape.mixture()) continue;
    const std::string prefix = fmt::format("model.layers.{}.mlp.", layer);
    for (auto item = tensors_.lower_bound(prefix); item != tensors_.end() && item->first.starts_with(prefix);
         ++item) {
      if (of_mixture(item->first.substr(prefix.size()), shape.experts.size())) continue;
      throw InputError(fmt::format("tensor '{}' belongs to none of the {} experts of that layer",
                                   printable(item->second->name), shape.experts.size()),
                       folder_.string(), "give the model with the config.json that it was saved with");
    }
  }
}

}  // namespace galapagos
