#pragma once

#include "draw.hpp"
#include "phase.hpp"
#include "reference.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos::storm {

/// What a trial has: a phase, how it ends where nothing befalls it, and a folder of its own.
struct Trial {
  const Phase& phase;
  const Reference& reference;
  std::filesystem::path folder;
  Draw& draw;

  std::filesystem::path disk() const { return folder / "disk"; }
  std::filesystem::path output() const { return disk() / phase.output; }
};

/// A run that is killed, stopped and stalled several times, and then ends as it should. Its events.
std::vector<Json> try_kills(const Trial& trial);
/// A run that is killed, and one of whose files is damaged then: the next command refuses it, or ends as it
/// should.
std::vector<Json> try_damage(const Trial& trial);
/// A run whose file system is too small, and grows later. Nothing where none can be mounted.
std::vector<Json> try_full_disk(const Trial& trial);
/// A run that is given too little memory, and then enough.
std::vector<Json> try_memory(const Trial& trial);

/// What is wrong with what a command has left that may not have ended: a result under its final name is
/// whole.
std::string wrong_with_left(const Trial& trial);
/// Whether the result is there, so that a command that does not go on would be refused.
bool is_there(const Trial& trial);
/// What is wrong with a command that was to end well, and with what is there then.
std::string wrong_with_end(const Trial& trial, const test::Ended& ended);

}  // namespace galapagos::storm
