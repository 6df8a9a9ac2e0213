#include "support/process.hpp"

#include "support/files.hpp"

#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <signal.h>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace galapagos::test {

std::vector<pid_t> children_of(pid_t process) {
  std::vector<pid_t> children;
  std::ifstream file("/proc/" + std::to_string(process) + "/task/" + std::to_string(process) + "/children");
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

namespace {

// The process and all that descend from it, whatever process groups they have put themselves into.
void collect(pid_t process, std::vector<pid_t>& all) {
  all.push_back(process);
  for (const pid_t child : children_of(process)) collect(child, all);
}

/// Whether a process still holds its files and their locks: until the last of its threads has ended, which
/// may be after the one that gave it its number.
bool alive(pid_t process) {
  const std::string folder = "/proc/" + std::to_string(process);
  std::ifstream file(folder + "/stat");
  std::string line;
  if (!std::getline(file, line)) return false;
  const std::size_t name = line.rfind(')');  // and a state behind it
  if (name == std::string::npos || name + 2 >= line.size()) return false;
  if (line[name + 2] != 'Z' && line[name + 2] != 'X') return true;
  std::error_code gone;
  std::filesystem::directory_iterator thread(folder + "/task", gone);
  int threads = 0;
  while (!gone && thread != std::filesystem::directory_iterator()) {
    ++threads;
    thread.increment(gone);
  }
  return !gone && threads > 1;
}

/// Returns when all of them are gone: children of a killed process outlive it by a moment.
void kill_family(pid_t process) {
  std::vector<pid_t> family;
  collect(process, family);
  for (const pid_t member : family) ::kill(member, SIGKILL);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (const pid_t member : family) {
    while (alive(member) && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

}  // namespace

std::vector<pid_t> ranks_under(pid_t process) {
  std::vector<pid_t> all, found;
  collect(process, all);
  for (const pid_t one : all) {
    std::string name;
    if (std::ifstream("/proc/" + std::to_string(one) + "/comm") >> name; name == "galapagos")
      found.push_back(one);
  }
  return found;
}

Ended run_program(const std::vector<std::string>& words, double seconds, const std::function<bool()>& until) {
  const TemporaryFolder folder;
  const std::string output = (folder / "output").string(), errors = (folder / "errors").string();
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child == 0) {
    ::dup2(::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    ::dup2(::open(errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    ::execvp(arguments[0], arguments.data());
    ::_exit(126);
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() >= end || (until && until())) {
      kill_family(child);
      ::waitpid(child, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Ended ended;
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ended.output = slurp(output);
  ended.errors = slurp(errors);
  return ended;
}

Ended run_galapagos(int ranks, const std::vector<std::string>& words, double seconds,
                    const std::function<bool()>& until) {
  std::vector<std::string> command = {GALAPAGOS_MPIEXEC};
  std::istringstream flags(GALAPAGOS_MPIEXEC_FLAGS);
  for (std::string flag; flags >> flag;) command.push_back(flag);
  command.insert(command.end(), {GALAPAGOS_MPIEXEC_NUMPROC_FLAG, std::to_string(ranks), GALAPAGOS_PROGRAM});
  command.insert(command.end(), words.begin(), words.end());
  return run_program(command, seconds, until);
}

std::string program() {
  return GALAPAGOS_PROGRAM;
}

int count_lines(const std::string& text, const std::string& word) {
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += line.find(word) != std::string::npos ? 1 : 0;
  return count;
}

}  // namespace galapagos::test
