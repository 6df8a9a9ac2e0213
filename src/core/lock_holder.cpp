#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <sstream>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/lock_holder.hpp>
#include <galapagos/core/system.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

/// What the kernel says of a process or a thread of it, from the state on.
std::optional<std::istringstream> status_of(const fs::path& folder) {
  std::ifstream file(folder / "stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  const std::size_t name = line.rfind(')');  // which may hold blanks
  if (name == std::string::npos) return std::nullopt;
  return std::istringstream(line.substr(name + 1));
}

/// Since when the process runs, in ticks since this machine started; a number may be another process's
/// later. 0 where there is no such process.
std::int64_t start_of(std::int64_t process) {
  auto status = status_of(fmt::format("/proc/{}", process));
  if (!status) return 0;
  std::string word;
  constexpr int before_start = 19;  // from the state on
  for (int i = 0; i < before_start; ++i) *status >> word;
  std::int64_t ticks = 0;
  *status >> ticks;
  return ticks;
}

/// A killed process may have ended but for a thread that the kernel still writes for.
bool any_thread_lives(std::int64_t process) {
  std::error_code error;
  for (fs::directory_iterator task(fmt::format("/proc/{}/task", process), error), end; !error && task != end;
       task.increment(error)) {
    auto status = status_of(task->path());
    std::string state;
    if (status && *status >> state && state != "Z" && state != "X") return true;
  }
  return false;
}

std::string host() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

/// In which this process's number counts: a boot of a machine, and there a container. Names of hosts are not
/// always different.
std::string numbering() {
  std::error_code none;
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  const std::string space = fs::read_symlink("/proc/self/ns/pid", none).string();
  return boot.empty() || none ? "" : boot + " " + space;
}

std::string job() {
  for (const char* variable : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"})
    if (const char* number = std::getenv(variable)) return number;
  return "";
}

bool is_lock(const Json& json) {
  return json.is_object() && json.contains("numbering") && json.contains("process") &&
         json.contains("started") && json["process"].is_number_integer() &&
         json["started"].is_number_integer();
}

}  // namespace

std::string lock_text() {
  Json json;
  json["host"] = host();
  json["process"] = static_cast<std::int64_t>(::getpid());
  json["started"] = start_of(::getpid());
  json["numbering"] = numbering();
  json["job"] = job();
  json["since"] = utc_now();
  return json.dump() + "\n";
}

LockHolder judge_holder(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!is_lock(json)) {
    // A crash of the machine leaves zeros where nothing was on the disk yet.
    const std::string written = text.substr(0, text.find('\0'));
    const std::string begin = lock_text().substr(0, std::string("{\"host\":\"").size());
    const bool half =
        json.is_discarded() && written.substr(0, begin.size()) == begin.substr(0, written.size());
    return half ? LockHolder::is_elsewhere : LockHolder::is_none;
  }
  const std::string here = numbering();
  if (here.empty() || json["numbering"] != here) return LockHolder::is_elsewhere;
  const auto process = json["process"].get<std::int64_t>();
  const std::int64_t start = start_of(process);
  // Some machines hide the processes of others.
  const bool hidden = start == 0 && ::kill(static_cast<pid_t>(process), 0) != 0 && errno == EPERM;
  const bool there = start != 0 && start == json["started"].get<std::int64_t>() && any_thread_lives(process);
  return hidden || there ? LockHolder::lives : LockHolder::has_ended;
}

std::string describe_holder(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return "a process that is not named";
  const auto said = [&](const char* key) {
    if (!json.contains(key)) return std::string("?");
    return printable(json[key].is_string() ? json[key].get<std::string>() : json[key].dump());
  };
  const std::string of_job = said("job").empty() ? "" : ", job " + said("job");
  return fmt::format("process {} on {}{}, since {}", said("process"), said("host"), of_job, said("since"));
}

}  // namespace galapagos
