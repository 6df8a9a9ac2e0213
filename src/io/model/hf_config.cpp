#include <algorithm>
#include <functional>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

LayerShape even_layer_shape(std::int64_t heads, std::int64_t kv_heads, std::int64_t columns) {
  LayerShape shape;
  shape.kv_heads = kv_heads;
  shape.columns = columns;
  for (std::int64_t head = 0; head < heads; ++head) {
    shape.kv_of_head.push_back(static_cast<std::int32_t>(head / (heads / kv_heads)));
  }
  return shape;
}

LayerShape even_mixture_shape(std::int64_t heads, std::int64_t kv_heads, std::int64_t experts,
                              std::int64_t columns) {
  LayerShape shape = even_layer_shape(heads, kv_heads, experts * columns);
  shape.experts.assign(static_cast<std::size_t>(experts), columns);
  return shape;
}

bool HfConfig::even() const {
  return std::adjacent_find(layer_shapes.begin(), layer_shapes.end(), std::not_equal_to<>()) ==
         layer_shapes.end();
}

bool HfConfig::pruned() const {
  return source.is_object() && source.contains("model_type") && source["model_type"] == pruned_model_type;
}

}  // namespace galapagos
