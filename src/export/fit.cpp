#include "fit.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <numeric>
#include <set>
#include <string_view>

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
  Sources q, kv, columns, experts;

  LayerSources(const HfConfig& config, const LayerShape& layer, const LayerFit& fit)
      : q(in_blocks(fit.heads, config.head_dim)),
        kv(in_blocks(fit.kv_heads, config.head_dim)),
        columns(counted(layer.columns, fit.columns)),
        experts(counted(std::ssize(layer.experts), std::ssize(fit.experts))) {}
  /// Those of an expert with so many columns, of which there are to be so many.
  LayerSources(std::int64_t own, std::int64_t fitted) : columns(counted(own, fitted)) {}

  const Sources* of(Axis axis) const {
    if (axis == Axis::q) return &q;
    if (axis == Axis::kv) return &kv;
    if (axis == Axis::experts) return &experts;
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
ExportedTensor zeros(const std::string& name, const Shape& shape, const ExportedTensor& like) {
  ExportedTensor tensor{
      name, like.dtype, {}, static_cast<std::uint64_t>(shape.elements()) * width_of(like), {}};
  for (int i = 0; i < shape.rank(); ++i) tensor.shape.push_back(shape[i]);
  tensor.fill = [](std::span<std::byte> out) { std::ranges::fill(out, std::byte{0}); };
  return tensor;
}

/// The tensors of layers under their fits.
class Fitter {
 public:
  explicit Fitter(const ExportedModel& model) : config_(model.config) {
    for (const ExportedTensor& tensor : model.tensors) sources_[tensor.name] = &tensor;
    like_ = sources_.at(layer_tensors::embedding.name);
  }

  void add_layer(std::int64_t layer, const LayerFit& fit) {
    const LayerShape& shape = config_.shape(layer);
    const LayerSources places(config_, shape, fit);
    const LayerShape fitted = fit.shape();
    const Extents extents(config_, fitted);
    const auto add_part = [&](const auto& table, bool present, bool gone) {
      for (const auto& tensor : table) {
        const TensorSpec& spec = tensor.spec;
        const std::string name = layer_tensor_name(layer, spec.name);
        if (spec.present(config_, shape)) of_layers_.insert(name);
        if (!present || !spec.present(config_, fitted)) continue;
        // The only expert is chosen by every token, with the weight 1: it is a feed-forward part.
        const bool of_expert = shape.mixture() && !fitted.mixture() && spec.along(Axis::ffn);
        add(name,
            of_expert ? layer_tensor_name(layer, 0, std::string_view(spec.name).substr(mlp.size())) : name,
            spec, places, extents, gone);
      }
    };
    add_part(layer_tensors::attention, fit.head_count() > 0, shape.heads() == 0);
    add_part(layer_tensors::feed_forward, fit.columns > 0, shape.columns == 0);
    add_experts(layer, shape, fit);
  }

  bool in_layer(const std::string& name) const { return of_layers_.contains(name); }
  std::vector<ExportedTensor>& tensors() { return tensors_; }

 private:
  static constexpr std::string_view mlp = "mlp.";

  void add_experts(std::int64_t layer, const LayerShape& shape, const LayerFit& fit) {
    for (std::size_t e = 0; e < std::max(shape.experts.size(), fit.experts.size()); ++e) {
      const bool gone = e >= shape.experts.size();
      for (const auto& tensor : layer_tensors::expert) {
        const std::string name = layer_tensor_name(layer, static_cast<std::int64_t>(e), tensor.spec.name);
        of_layers_.insert(name);
        if (e >= fit.experts.size()) continue;
        add(name, name, tensor.spec, LayerSources(gone ? 0 : shape.experts[e], fit.experts[e]),
            Extents::of_expert(config_, {0, fit.experts[e]}), gone);
      }
    }
  }

  /// Of a part that is gone zeros, where the model has no such tensor.
  void add(const std::string& name, const std::string& source, const TensorSpec& spec,
           const LayerSources& places, const Extents& extents, bool gone) {
    const auto found = sources_.find(source);
    if (found == sources_.end() && gone) {
      tensors_.push_back(zeros(name, extents.shape(spec), *like_));
      return;
    }
    if (found == sources_.end())
      throw InputError("a tensor is missing", source, "copy or download the model again");
    const ExportedTensor& old = *found->second;
    const Sources *rows = places.of(spec.rows), *columns = places.of(spec.columns);
    if (rows != nullptr && !unchanged(*rows, old.shape[0])) {
      tensors_.push_back(with_rows(old, *rows));
    } else if (columns != nullptr && !unchanged(*columns, old.shape[1])) {
      tensors_.push_back(with_columns(old, *columns));
    } else {
      tensors_.push_back(old);
    }
    tensors_.back().name = name;
  }

  const HfConfig& config_;
  std::map<std::string, const ExportedTensor*> sources_;
  const ExportedTensor* like_ = nullptr;
  std::set<std::string> of_layers_;
  std::vector<ExportedTensor> tensors_;
};

}  // namespace

LayerShape LayerFit::shape() const {
  LayerShape shape = even_layer_shape(head_count(), kv_count(), columns);
  shape.experts = experts;
  return shape;
}

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
  Fitter fitter(model);
  for (std::int64_t layer = 0; layer < model.config.layers; ++layer)
    fitter.add_layer(layer, fits[static_cast<std::size_t>(layer)]);
  std::vector<ExportedTensor> tensors;
  // In their order: what comes before the layers, the layers, and what comes behind them.
  bool placed = false;
  for (const ExportedTensor& tensor : model.tensors) {
    const bool in_layer = fitter.in_layer(tensor.name);
    if (in_layer && !placed) {
      placed = true;
      std::ranges::move(fitter.tensors(), std::back_inserter(tensors));
    }
    if (!in_layer) tensors.push_back(tensor);
  }
  if (!placed) std::ranges::move(fitter.tensors(), std::back_inserter(tensors));
  return tensors;
}

}  // namespace galapagos
