#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include <galapagos/assignment/space_part.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// One module at one level, ready to compute with. One of the three is there, or none where no shard keeps
/// anything of it.
struct BuiltModule {
  AttentionWeights attention;
  FfnWeights ffn;
  std::shared_ptr<const ExpertWeights> expert;

  std::uint64_t bytes() const;
};

/// How a part's modules are built.
struct ModuleBuild {
  DType stored = DType::f32;     ///< of the levels' words
  DType precision = DType::f32;  ///< of the matrices
  bool padded = false;           ///< as padded_columns() says
};

/// Gives `count` rows from `first` on of a level's words, which last until the next call; with `verified` all
/// of the level was compared with its checksum.
using ReadLevelRows =
    std::function<std::span<const std::byte>(std::int64_t first, std::int64_t count, bool verified)>;

/// The part of a module at a level that the database holds, from its layer of the unpruned part.
BuiltModule build_module(const ops::Context& context, const SpacePart& part, std::size_t module,
                         std::int64_t level, const LayerWeights& layer, const ModuleBuild& build,
                         const ReadLevelRows& read);

}  // namespace galapagos
