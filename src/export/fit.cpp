#include "fit.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/model/layer_tensors.hpp>

namespace galapagos {
namespace {

/// The query heads of each KV head.
std::vector<std::vector<std::int32_t>> heads_by_kv(const LayerShape& layer) {
  std::vector<std::vector<std::int32_t>> heads(static_cast<std::size_t>(layer.kv_heads));
  for (std::size_t h = 0; h < layer.kv_of_head.size(); ++h)
    heads[static_cast<std::size_t>(layer.kv_of_head[h])].push_back(static_cast<std::int32_t>(h));
  return heads;
}

/// Of each row or column to come, the old one that it is.
using Sources = std::vector<std::int64_t>;

Sources in_blocks(const std::vector<std::int32_t>& blocks, std::int64_t size) {
  Sources sources;
  for (const std::int32_t block : blocks) {
    for (std::int64_t i = 0; i < size; ++i)
      sources.push_back(block == LayerFit::none ? LayerFit::none : block * size + i);
  }
  return sources;
}

Sources counted(std::int64_t count, std::int64_t of) {
  Sources sources(static_cast<std::size_t>(of), LayerFit::none);
  std::iota(sources.begin(), sources.begin() + std::min(count, of), 0);
  return sources;
}

bool unchanged(const Sources& sources, std::int64_t count) {
  return sources == counted(count, count);
}

/// Of each of a layer's axes that a fit changes.
struct LayerSources {
  Sources q, kv, columns;

  LayerSources(const HfConfig& config, const LayerShape& layer, const LayerFit& fit)
      : q(in_blocks(fit.heads, config.head_dim)),
        kv(in_blocks(fit.kv_heads, config.head_dim)),
        columns(counted(layer.columns, fit.columns)) {}

  const Sources* of(Axis axis) const {
    if (axis == Axis::q) return &q;
    if (axis == Axis::kv) return &kv;
    return axis == Axis::ffn ? &columns : nullptr;
  }
};

/// Bytes of one element.
std::size_t width_of(const ExportedTensor& tensor) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : tensor.shape) elements *= extent;
  return elements == 0 ? 0 : tensor.bytes / static_cast<std::size_t>(elements);
}

ExportedTensor with_rows(const ExportedTensor& source, const Sources& rows) {
  ExportedTensor tensor = source;
  const std::size_t row = source.bytes / static_cast<std::size_t>(source.shape[0]);
  tensor.shape[0] = std::ssize(rows);
  tensor.bytes = rows.size() * row;
  tensor.fill = [&source, rows, row](std::span<std::byte> out) {
    std::vector<std::byte> whole(source.bytes);
    source.fill(whole);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::byte* to = out.data() + i * row;
      if (rows[i] == LayerFit::none) {
        std::memset(to, 0, row);
      } else {
        std::memcpy(to, whole.data() + static_cast<std::size_t>(rows[i]) * row, row);
      }
    }
  };
  return tensor;
}

ExportedTensor with_columns(const ExportedTensor& source, const Sources& columns) {
  ExportedTensor tensor = source;
  const std::size_t element = width_of(source), old_row = static_cast<std::size_t>(source.shape[1]) * element,
                    new_row = columns.size() * element;
  tensor.shape[1] = std::ssize(columns);
  tensor.bytes = static_cast<std::size_t>(source.shape[0]) * new_row;
  tensor.fill = [&source, columns, element, old_row, new_row](std::span<std::byte> out) {
    std::vector<std::byte> whole(source.bytes);
    source.fill(whole);
    std::ranges::fill(out, std::byte{0});
    for (std::int64_t r = 0; r < source.shape[0]; ++r) {
      const std::byte* from = whole.data() + static_cast<std::size_t>(r) * old_row;
      std::byte* to = out.data() + static_cast<std::size_t>(r) * new_row;
      for (std::size_t i = 0; i < columns.size(); ++i) {
        if (columns[i] != LayerFit::none)
          std::memcpy(to + i * element, from + static_cast<std::size_t>(columns[i]) * element, element);
      }
    }
  };
  return tensor;
}

/// A tensor of a part that has nothing left, of zeros: with no output weights what its norm is makes no
/// difference.
ExportedTensor zeros(const HfConfig& config, const std::string& name, const TensorSpec& spec,
                     const LayerFit& fit, const ExportedTensor& like) {
  const Shape shape = Extents(config, fit.shape()).shape(spec);
  ExportedTensor tensor{
      name, like.dtype, {}, static_cast<std::uint64_t>(shape.elements()) * width_of(like), {}};
  for (int i = 0; i < shape.rank(); ++i) tensor.shape.push_back(shape[i]);
  tensor.fill = [](std::span<std::byte> out) { std::ranges::fill(out, std::byte{0}); };
  return tensor;
}

}  // namespace

std::vector<LayerShape> shapes_of(std::span<const LayerFit> fits) {
  std::vector<LayerShape> shapes;
  for (const LayerFit& fit : fits) shapes.push_back(fit.shape());
  return shapes;
}

LayerFit in_groups(const LayerShape& layer, std::int64_t size) {
  LayerFit fit;
  fit.columns = layer.columns;
  std::int32_t kv = 0;
  for (const std::vector<std::int32_t>& heads : heads_by_kv(layer)) {
    for (std::size_t first = 0; first < heads.size(); first += static_cast<std::size_t>(size)) {
      fit.kv_heads.push_back(kv);
      for (std::size_t h = first; h < first + static_cast<std::size_t>(size); ++h)
        fit.heads.push_back(h < heads.size() ? heads[h] : LayerFit::none);
    }
    ++kv;
  }
  return fit;
}

std::int64_t groups_of(const LayerShape& layer, std::int64_t size) {
  std::int64_t groups = 0;
  for (const std::vector<std::int32_t>& heads : heads_by_kv(layer))
    groups += (std::ssize(heads) + size - 1) / size;
  return groups;
}

std::int64_t cheapest_group(std::span<const LayerShape> layers) {
  std::int64_t largest = 1;
  for (const LayerShape& layer : layers) {
    for (const std::vector<std::int32_t>& heads : heads_by_kv(layer))
      largest = std::max<std::int64_t>(largest, std::ssize(heads));
  }
  std::int64_t best = 1, least = 0;
  for (std::int64_t size = 1; size <= largest; ++size) {
    std::int64_t groups = 0;
    for (const LayerShape& layer : layers) groups = std::max(groups, groups_of(layer, size));
    const std::int64_t heads = groups * (size + 1);
    if (size > 1 && heads > least) continue;
    best = size;
    least = heads;
  }
  return best;
}

void fill_groups(LayerFit& fit, std::int64_t size, std::int64_t kv_heads) {
  fit.kv_heads.resize(static_cast<std::size_t>(kv_heads), LayerFit::none);
  fit.heads.resize(static_cast<std::size_t>(kv_heads * size), LayerFit::none);
}

std::vector<LayerFit> unpruned_shapes(const HfConfig& config) {
  const std::int64_t group = config.heads / config.kv_heads;
  std::vector<LayerFit> fits;
  for (const LayerShape& layer : config.layer_shapes) {
    LayerFit fit = in_groups(layer, group);
    if (fit.kv_count() > config.kv_heads || layer.columns > config.intermediate_size)
      throw InputError(fmt::format("layer {} has more in it than the unpruned model", fits.size()),
                       "config.json", "choose another format");
    fill_groups(fit, group, config.kv_heads);
    fit.columns = config.intermediate_size;
    fits.push_back(std::move(fit));
  }
  return fits;
}

std::vector<ExportedTensor> fitted(const ExportedModel& model, std::span<const LayerFit> fits) {
  const HfConfig& config = model.config;
  std::map<std::string, const ExportedTensor*> sources;
  for (const ExportedTensor& tensor : model.tensors) sources[tensor.name] = &tensor;
  const ExportedTensor& like = *sources.at(layer_tensors::embedding.name);
  std::vector<ExportedTensor> tensors;
  std::map<std::string, bool> of_layers;
  std::vector<ExportedTensor> in_layers;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerFit& fit = fits[static_cast<std::size_t>(layer)];
    const LayerShape& shape = config.shape(layer);
    const LayerSources places(config, shape, fit);
    const auto fit_tensor = [&](const TensorSpec& spec, bool present, bool gone) {
      if (!spec.present(config, shape)) return;
      const std::string name = layer_tensor_name(layer, spec.name);
      of_layers[name] = true;
      if (!present) return;
      const auto source = sources.find(name);
      if (source == sources.end() && gone) return in_layers.push_back(zeros(config, name, spec, fit, like));
      if (source == sources.end())
        throw InputError("a tensor is missing", name, "copy or download the model again");
      const ExportedTensor& old = *source->second;
      const Sources *rows = places.of(spec.rows), *columns = places.of(spec.columns);
      if (rows != nullptr && !unchanged(*rows, old.shape[0])) {
        in_layers.push_back(with_rows(old, *rows));
      } else if (columns != nullptr && !unchanged(*columns, old.shape[1])) {
        in_layers.push_back(with_columns(old, *columns));
      } else {
        in_layers.push_back(old);
      }
    };
    for (const auto& tensor : layer_tensors::attention)
      fit_tensor(tensor.spec, fit.head_count() > 0, shape.heads() == 0);
    for (const auto& tensor : layer_tensors::feed_forward)
      fit_tensor(tensor.spec, fit.columns > 0, shape.columns == 0);
  }
  // In their order: what comes before the layers, the layers, and what comes behind them.
  bool placed = false;
  for (const ExportedTensor& tensor : model.tensors) {
    const bool in_layer = of_layers.contains(tensor.name);
    if (in_layer && !placed) {
      placed = true;
      std::ranges::move(in_layers, std::back_inserter(tensors));
    }
    if (!in_layer) tensors.push_back(tensor);
  }
  if (!placed) std::ranges::move(in_layers, std::back_inserter(tensors));
  return tensors;
}

}  // namespace galapagos
