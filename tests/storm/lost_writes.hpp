#pragma once

#include "draw.hpp"

#include <filesystem>
#include <string>

namespace galapagos::storm {

/// What of the writes that were not synced a crash of the machine leaves.
struct Loss {
  enum class Pages { none, some, all } pages = Pages::none;
  bool names = false;  ///< files made, renamed and removed since their folder was synced
};

Loss draw_loss(Draw& draw);
std::string name_of(const Loss& loss);

/// What a folder holds, as crash_disk.cpp has seen it synced.
class DiskMemory {
 public:
  /// Of `folder`, remembered in the folder `memory` on the same file system. All that is there is on the
  /// disk.
  DiskMemory(std::filesystem::path folder, std::filesystem::path memory);
  /// The environment of a program whose syncs are to be seen; `stop` as $CRASH_DISK_STOP.
  void watch(long stop) const;
  void unwatch() const;
  /// How many syncs there were since watch().
  long syncs() const;
  /// Whether a process waits at its sync to be killed, and which.
  pid_t waiting() const;
  /// The machine has crashed and is up again. Nobody may have the folder's files open.
  void crash(const Loss& loss, Draw& draw) const;

 private:
  void remember() const;

  std::filesystem::path folder_, memory_;
};

}  // namespace galapagos::storm
