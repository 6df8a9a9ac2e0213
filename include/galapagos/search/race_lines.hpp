#pragma once

#include <optional>
#include <string>

#include <galapagos/core/json.hpp>
#include <galapagos/search/race.hpp>

namespace galapagos {

/// One trial with what it came to: a line of archive.jsonl.
struct MeasuredTrial {
  std::int64_t island = 0, generation = 0, index = 0, block = 0;
  Trial trial;
  std::vector<double> sums;  ///< of segments; those that are not finite read as NaN
};

/// JSON in one line, exact to the last bit.
std::string to_line(const MeasuredTrial& measured);
std::string to_line(const Standing& standing);
/// The fields of a standing, for other lines too.
Json to_json(const Standing& standing);

/// From such a line; nothing where it is not one, or not of this space.
std::optional<MeasuredTrial> trial_of(const std::string& line, const SearchSpace& space);
std::optional<Standing> standing_of(const std::string& line, const SearchSpace& space);

/// The trials of an archive's text; its header, what its run was told of and a last line without an end are
/// passed over. InputError, naming `where`, where another line is none of a trial, or is of another search's
/// islands, blocks or modules.
std::vector<MeasuredTrial> trials_of(const std::string& text, const SearchSpace& space,
                                     const EvolutionOptions& options, const std::vector<TokenDraw>& blocks,
                                     const std::string& where);
/// The same of another run's archive, with whatever islands and generations, and what it was told of; each
/// assignment on each block once, in an order that does not depend on that of the lines.
std::vector<MeasuredTrial> known_trials(const std::string& text, const SearchSpace& space,
                                        const std::vector<TokenDraw>& blocks, const std::string& where);

}  // namespace galapagos
