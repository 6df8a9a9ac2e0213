#include "lost_writes.hpp"

#include "file_identity.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <sstream>

#include <galapagos/core/file.hpp>

#ifndef GALAPAGOS_CRASH_DISK
#error "the path of the library that stands before fsync"
#endif

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t page = 4096;

std::string text_of(const fs::path& path) {
  return fs::exists(path) ? read_file(path) : "";
}

fs::path kept(const fs::path& memory, const char* what, const std::string& identity) {
  return memory / (std::string(what) + "-" + identity);
}

std::string names_in(const fs::path& folder) {
  std::string text;
  for (const auto& entry : fs::directory_iterator(folder))
    text += identity_of(entry.path()) + " " + entry.path().filename().string() + "\n";
  return text;
}

/// Pages of what was synced and of what was there at last.
std::string mixed(const std::string& synced, const std::string& last, Loss::Pages pages, Draw& draw) {
  if (pages == Loss::Pages::all || synced == last) return last;
  if (pages == Loss::Pages::none) return synced;
  std::string text = synced;
  text.resize(draw.chance(0.5) ? last.size() : synced.size(), '\0');
  for (std::size_t at = 0; at < std::min(text.size(), last.size()); at += page) {
    if (draw.chance(0.5)) text.replace(at, std::min(page, text.size() - at), last, at, page);
  }
  return text;
}

/// Builds a folder as the disk has it.
class Rebuilt {
 public:
  Rebuilt(const fs::path& folder, const fs::path& memory, const Loss& loss, Draw& draw)
      : memory_(memory), loss_(loss), draw_(draw) {
    last_[identity_of(folder)] = folder;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      last_[identity_of(entry.path())] = entry.path();
    for (const auto& entry : fs::directory_iterator(memory)) {
      if (entry.path().filename().string().starts_with("held-"))
        last_.emplace(identity_of(entry.path()), entry.path());
    }
  }

  void folder(const std::string& identity, const fs::path& into) {
    fs::create_directories(into);
    const auto last = last_.find(identity);
    const bool synced = !loss_.names || last == last_.end();
    std::istringstream names(synced ? text_of(kept(memory_, "names", identity)) : names_in(last->second));
    for (std::string line; std::getline(names, line);) {
      const std::size_t gap = line.find(' ');
      const std::string child = line.substr(0, gap);
      if (is_folder(child))
        folder(child, into / line.substr(gap + 1));
      else
        file(child, into / line.substr(gap + 1));
    }
  }

 private:
  bool is_folder(const std::string& identity) const {
    const auto last = last_.find(identity);
    return fs::exists(kept(memory_, "names", identity)) ||
           (last != last_.end() && fs::is_directory(last->second));
  }

  void file(const std::string& identity, const fs::path& into) {
    const auto last = last_.find(identity);
    const std::string synced = text_of(kept(memory_, "data", identity));
    test::write_text(into,
                     mixed(synced, last == last_.end() ? synced : text_of(last->second), loss_.pages, draw_));
    // The machine was down for a while.
    fs::last_write_time(into, fs::file_time_type::clock::now() - std::chrono::hours(1));
  }

  const fs::path& memory_;
  const Loss& loss_;
  Draw& draw_;
  std::map<std::string, fs::path> last_;
};

}  // namespace

Loss draw_loss(Draw& draw) {
  constexpr Loss::Pages pages[] = {Loss::Pages::none, Loss::Pages::some, Loss::Pages::some, Loss::Pages::all};
  return {pages[draw.below(4)], draw.chance(0.5)};
}

std::string name_of(const Loss& loss) {
  constexpr const char* pages[] = {"no pages", "some pages", "all pages"};
  return std::string(pages[static_cast<int>(loss.pages)]) + (loss.names ? ", names" : ", no names");
}

DiskMemory::DiskMemory(fs::path folder, fs::path memory)
    : folder_(std::move(folder)), memory_(std::move(memory)) {
  fs::create_directories(folder_);
  remember();
}

void DiskMemory::remember() const {
  fs::remove_all(memory_);
  fs::create_directories(memory_);
  const auto folder = [&](const fs::path& path) {
    test::write_text(kept(memory_, "names", identity_of(path)), names_in(path));
  };
  folder(folder_);
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    if (entry.is_directory()) {
      folder(entry.path());
    } else {
      fs::copy_file(entry.path(), kept(memory_, "data", identity_of(entry.path())));
      fs::create_hard_link(entry.path(), kept(memory_, "held", identity_of(entry.path())));
    }
  }
}

void DiskMemory::watch(long stop) const {
  fs::remove(memory_ / "count");
  fs::remove(memory_ / "moment");
  ::setenv("LD_PRELOAD", GALAPAGOS_CRASH_DISK, 1);
  ::setenv("CRASH_DISK", memory_.c_str(), 1);
  ::setenv("CRASH_DISK_UNDER", folder_.c_str(), 1);
  ::setenv("CRASH_DISK_STOP", std::to_string(stop).c_str(), 1);
}

void DiskMemory::unwatch() const {
  for (const char* name : {"LD_PRELOAD", "CRASH_DISK", "CRASH_DISK_UNDER", "CRASH_DISK_STOP"})
    ::unsetenv(name);
}

long DiskMemory::syncs() const {
  return std::atol(text_of(memory_ / "count").c_str());
}

pid_t DiskMemory::waiting() const {
  return static_cast<pid_t>(std::atol(text_of(memory_ / "moment").c_str()));
}

void DiskMemory::crash(const Loss& loss, Draw& draw) const {
  const fs::path rebuilt = folder_.string() + ".rebuilt";
  fs::remove_all(rebuilt);
  Rebuilt(folder_, memory_, loss, draw).folder(identity_of(folder_), rebuilt);
  fs::remove_all(folder_);
  fs::rename(rebuilt, folder_);
  remember();
}

}  // namespace galapagos::storm
