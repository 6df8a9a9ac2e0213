#include <galapagos/model/source.hpp>

namespace galapagos {

ModelSource checkpoint_source(const Checkpoint& checkpoint, const HfConfig& config, DType precision,
                              Device device) {
  ModelSource source;
  source.config = config;
  source.precision = precision;
  source.layer = [&checkpoint, config, precision, device](std::int64_t layer) {
    return load_layer(checkpoint, config, layer, precision, device);
  };
  source.embedding = [&checkpoint, config, precision, device] {
    return load_embedding(checkpoint, config, precision, device);
  };
  source.head = [&checkpoint, config, precision, device] {
    return load_head(checkpoint, config, precision, device);
  };
  return source;
}

}  // namespace galapagos
