#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/odd_disk.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/lock_holder.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/run_lock.hpp>

using namespace galapagos;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

const LockTimes quick{20ms, 400ms, 100ms};

std::string refusal(const fs::path& output) {
  try {
    const RunLock lock(output, false, quick);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

/// The lock there is this process's; when it was taken is not asked.
bool is_ours(const fs::path& output) {
  Json there = Json::parse(read_file(lock_path(output))), ours = Json::parse(lock_text());
  there.erase("since");
  ours.erase("since");
  return there == ours;
}

bool taken(const fs::path& output) {
  const RunLock lock(output, false, quick);
  return is_ours(output) && refusal(output) != "";
}

/// This process's lock, changed.
std::string lock_with(const std::string& key, const Json& value) {
  Json json = Json::parse(lock_text());
  json[key] = value;
  return json.dump() + "\n";
}

/// The number of a process that is no more.
std::int64_t ended_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

std::size_t count_files(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("an output in use is refused, saying by whom and what to do", "[lock]") {
  start_logging("off", 0);
  const test::TemporaryFolder folder;
  const fs::path output = folder / "x.h5";
  {
    const RunLock lock(output, false, quick);
    CHECK(fs::exists(folder / "x.h5.lock"));
    const std::string said = refusal(output);
    const Json own = Json::parse(lock_text());
    for (const std::string& word :
         {std::to_string(::getpid()), own["host"].get<std::string>(), std::string("since 20"),
          std::string("delete"), (folder / "x.h5.lock").string()})
      CHECK(said.find(word) != std::string::npos);
    CHECK(refusal(folder / "y.h5").empty());
    CHECK(refusal(folder / "x.h5/") != "");  // the same
  }
  CHECK(count_files(folder.path()) == 0);
  CHECK(refusal(output).empty());
  CHECK(refusal(folder / "none" / "x.h5").empty());  // nothing can be written there
  const RunLock lock(folder / "deep" / "run", true, quick);
  CHECK(fs::exists(folder / "deep" / "run.lock"));
}

TEST_CASE("the lock of a process of this machine that has ended is taken over", "[lock]") {
  start_logging("off", 0);
  const test::TemporaryFolder folder;
  const fs::path output = folder / "run";
  test::write_text(lock_path(output), lock_with("process", ended_process()));
  CHECK(taken(output));
  // Another process has its number now.
  test::write_text(lock_path(output), lock_with("started", 1));
  CHECK(taken(output));
  CHECK(count_files(folder.path()) == 0);
  // One that has just been told to end.
  std::optional<RunLock> dying(std::in_place, output, false, quick);
  std::thread end([&] {
    std::this_thread::sleep_for(50ms);
    dying.reset();
  });
  CHECK_NOTHROW(RunLock(output, false, LockTimes{20ms, 400ms, 10s}));
  end.join();
}

TEST_CASE("what is no lock is not touched, however old it is", "[lock]") {
  start_logging("off", 0);
  const test::TemporaryFolder folder;
  const fs::path lock = lock_path(folder / "poetry");
  const timespec long_ago[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  for (const char* text : {"x", "{}", "[1]", "{\"host\": 3}", "a lock of something else\n"}) {
    test::write_text(lock, text);
    ::utimensat(AT_FDCWD, lock.c_str(), long_ago, 0);
    CHECK(refusal(folder / "poetry").find("is none") != std::string::npos);
    CHECK(read_file(lock) == text);
  }
  fs::remove(lock);
  fs::create_symlink("/nowhere/at/all", lock);
  CHECK(refusal(folder / "poetry").find("is none") != std::string::npos);
  fs::remove(lock);
  fs::create_directory(lock);
  CHECK(refusal(folder / "poetry").find("is none") != std::string::npos);
  CHECK(fs::is_directory(lock));
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("a lock of elsewhere is taken over once nobody has touched it for some time", "[lock]") {
  start_logging("off", 0);
  const test::TemporaryFolder folder;
  const fs::path output = folder / "run", lock = lock_path(output);
  for (const std::string& text : {lock_with("numbering", "another boot"), std::string("{\"host\":\"no"),
                                  std::string(), std::string(150, '\0')}) {
    test::write_text(lock, text);
    const auto begun = std::chrono::steady_clock::now();
    CHECK(taken(output));
    CHECK(std::chrono::steady_clock::now() - begun >= 400ms);
  }
  // One that was last touched long ago is taken over at once.
  test::write_text(lock, lock_with("numbering", "another boot"));
  const timespec long_ago[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  ::utimensat(AT_FDCWD, lock.c_str(), long_ago, 0);
  const auto begun = std::chrono::steady_clock::now();
  CHECK_NOTHROW(RunLock(output, false, LockTimes{}));
  CHECK(std::chrono::steady_clock::now() - begun < 30s);

  test::write_text(lock, lock_with("numbering", "another boot"));
  std::atomic<bool> lives = true;
  std::thread holder([&] {
    while (lives) {
      ::utimensat(AT_FDCWD, lock.c_str(), nullptr, 0);
      std::this_thread::sleep_for(20ms);
    }
  });
  CHECK(refusal(output).find("in use") != std::string::npos);
  lives = false;
  holder.join();
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("a holder touches its lock and puts it back where it was removed", "[lock]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "run", path = lock_path(output);
  const RunLock lock(output, false, quick);
  const auto before = fs::last_write_time(path);
  for (int i = 0; i < 100 && fs::last_write_time(path) == before; ++i) std::this_thread::sleep_for(20ms);
  CHECK(fs::last_write_time(path) > before);
  fs::remove(path);
  for (int i = 0; i < 100 && !fs::exists(path); ++i) std::this_thread::sleep_for(20ms);
  CHECK(fs::exists(path));
}

TEST_CASE("of many that want an output one gets it, also without hard links", "[lock]") {
  start_logging("off", 0);
  for (const bool links : {true, false}) {
    const test::TemporaryFolder folder;
    std::optional<test::OddDisk> disk;
    if (!links) disk.emplace(folder.path(), test::fault("link", EPERM));
    const fs::path output = folder / "run";
    for (int round = 0; round < 5; ++round) {
      // A stale one for all to take over.
      test::write_text(lock_path(output), lock_with("started", 1));
      constexpr int many = 6;
      std::array<int, 2> over{};
      REQUIRE(::pipe(over.data()) == 0);
      for (int i = 0; i < many; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
          ::close(over[1]);
          try {
            const RunLock lock(output, false, quick);
            char nothing = 0;
            [[maybe_unused]] const auto end = ::read(over[0], &nothing, 1);  // once the others have ended
            ::_exit(0);
          } catch (const InputError&) {
            ::_exit(3);
          } catch (...) {
            ::_exit(1);
          }
        }
      }
      int winners = 0, refused = 0;
      const auto reap = [&](int options) {
        int status = 0;
        if (::waitpid(-1, &status, options) <= 0) return false;
        winners += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
        refused += WIFEXITED(status) && WEXITSTATUS(status) == 3 ? 1 : 0;
        return true;
      };
      int ended = 0;
      for (int waits = 0; ended < many - 1 && waits < 3000; ++waits) {
        if (reap(WNOHANG)) {
          ++ended;
        } else {
          std::this_thread::sleep_for(10ms);
        }
      }
      ::close(over[1]);
      for (; ended < many; ++ended) reap(0);
      ::close(over[0]);
      CHECK(winners == 1);
      CHECK(refused == 5);
    }
  }
}
