#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include <galapagos/model/cached_model.hpp>
#include <galapagos/model/generation_options.hpp>

namespace galapagos {

/// One replica's writing: goes on with as many of its prompts at a time as the cache has places. Its calls
/// are collective over the shards, which all do the same.
class Writer {
 public:
  /// `mine`: which of the prompts. The references must outlive this.
  Writer(CachedModel& model, const ops::Context& context, const HfConfig& config,
         const std::vector<std::vector<std::int32_t>>& prompts, std::span<const std::size_t> mine,
         const CacheExtents& extents, const GenerationOptions& options, const TextWatch& watch);

  /// Bytes that choosing among the likeliest holds, beside the logits of a rank's slice of the vocabulary.
  static std::uint64_t drawing_bytes(const Sampling& sampling, std::int64_t places, std::int64_t slice,
                                     std::int64_t vocabulary, Device device);

  bool done() const { return waiting_.empty() && texts_.empty(); }
  /// Computes the next tokens' logits: of prompts that are still to be read, otherwise of all texts.
  void compute();
  /// Chooses the tokens. Which of `mine` have ended.
  std::vector<std::size_t> choose();

  const std::vector<GeneratedText>& written() const { return written_; }  ///< of `mine`, in their order
  const GenerationSpeed& speed() const { return speed_; }

 private:
  struct Text {
    std::size_t which = 0;  // of `mine`
    std::int64_t place = 0;
    std::vector<std::int32_t> ids;  // prompt and what is written
    std::int64_t given = 0;         // that the cache has
    std::int64_t length() const { return std::ssize(ids); }
  };

  void admit();
  void add_rows(Text& text, std::int64_t rows);
  std::vector<std::int32_t> choose_ids(std::span<const Text* const> texts);
  std::vector<std::int32_t> draw_of_few(const Tensor& logits, std::span<const double> uniforms) const;
  bool ends(Text& text, std::int32_t id);
  std::size_t prompt_of(const Text& text) const { return mine_[text.which]; }
  std::int64_t written_by(const Text& text) const;

  CachedModel& model_;
  const ops::Context& context_;
  const std::vector<std::vector<std::int32_t>>& prompts_;
  std::span<const std::size_t> mine_;
  const GenerationOptions& options_;
  const TextWatch& watch_;
  CacheExtents extents_;
  std::int64_t anew_ = 0;  // at this length keys are turned otherwise, and are computed anew
  std::deque<std::size_t> waiting_;
  std::vector<std::int64_t> free_places_;
  std::vector<Text> texts_;
  std::vector<GeneratedText> written_;
  GenerationSpeed speed_;

  // Of the step that is being taken.
  TextRows rows_;
  std::vector<std::int32_t> tokens_;
  std::vector<std::size_t> taken_;  // texts of the rows
  bool reads_ = false;              // prompts
  Tensor logits_;
};

}  // namespace galapagos
