#include <galapagos/model/source.hpp>

namespace galapagos {

ModelSource checkpoint_source(const Checkpoint& checkpoint, const HfConfig& config, const ModelPart& part,
                              DType precision, Device device) {
  ModelSource source;
  source.config = part.config;
  source.precision = precision;
  source.layer = [&checkpoint, config, layers = part.layers, precision, device](std::int64_t layer) {
    return load_layer(checkpoint, config, layer, layers[static_cast<std::size_t>(layer)], precision, device);
  };
  source.embedding = [&checkpoint, config, ids = part.vocabulary, precision, device] {
    return load_embedding(checkpoint, config, ids, precision, device);
  };
  source.head = [&checkpoint, config, ids = part.vocabulary, precision, device] {
    return load_head(checkpoint, config, ids, precision, device);
  };
  return source;
}

}  // namespace galapagos
