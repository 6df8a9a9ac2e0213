#include <galapagos/model/parameter_slices.hpp>

namespace galapagos {

Shape ParameterSlice::shape() const {
  Shape own = whole;
  if (slicing != Slicing::none) own[slicing == Slicing::rows ? 0 : 1] = range.count();
  return own;
}

std::vector<ParameterSlice> parameter_slices(const HfConfig& whole, const ModelPart& part) {
  std::vector<ParameterSlice> slices;
  const auto add = [&](std::string name, const TensorSpec& spec, const Extents& all, const Extents& own) {
    const Slicing slicing = spec.slicing();
    slices.push_back({std::move(name), all.shape(spec), slicing,
                      own.of(slicing == Slicing::columns ? spec.columns : spec.rows)});
  };
  const Extents all(whole, LayerShape()), own(whole, LayerPart(), part.vocabulary);
  const auto add_outer = [&](const TensorSpec& spec) { add(spec.name, spec, all, own); };
  add_outer(layer_tensors::embedding);
  for (std::int64_t layer = 0; layer < whole.layers; ++layer) {
    const LayerShape& shape = whole.shape(layer);
    const Extents of_layer(whole, shape), of_part(whole, part.layers[static_cast<std::size_t>(layer)]);
    const auto add_part = [&](const auto& table) {
      for (const auto& tensor : table)
        if (tensor.spec.present(whole, shape))
          add(layer_tensor_name(layer, tensor.spec.name), tensor.spec, of_layer, of_part);
    };
    if (shape.heads() > 0) add_part(layer_tensors::attention);
    if (shape.columns > 0) add_part(layer_tensors::feed_forward);
    const std::vector<Range> parts =
        parts_of_experts(shape, part.layers[static_cast<std::size_t>(layer)].columns);
    for (std::size_t expert = 0; expert < parts.size(); ++expert) {
      const Extents of_expert = Extents::of_expert(whole, {0, shape.experts[expert]}),
                    mine = Extents::of_expert(whole, parts[expert]);
      for (const auto& tensor : layer_tensors::expert)
        add(layer_tensor_name(layer, static_cast<std::int64_t>(expert), tensor.spec.name), tensor.spec,
            of_expert, mine);
    }
  }
  add_outer(layer_tensors::final_norm);
  if (!whole.tie_word_embeddings) add_outer(layer_tensors::head);
  return slices;
}

}  // namespace galapagos
