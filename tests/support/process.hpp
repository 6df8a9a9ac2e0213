#pragma once

#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace galapagos::test {

/// How a program ended and what it said.
struct Ended {
  int code = -1;  ///< exit code; 128 + signal where a signal ended it
  std::string output;
  std::string errors;
};

/// Runs a program to its end; kills it with all its children after `seconds`, or once `until` says so (its
/// code is then 137).
Ended run_program(const std::vector<std::string>& words, double seconds = 120,
                  const std::function<bool()>& until = {});

/// `galapagos words...` on `ranks` ranks under mpiexec.
Ended run_galapagos(int ranks, const std::vector<std::string>& words, double seconds = 120,
                    const std::function<bool()>& until = {});

/// The processes that a process has started and that still run.
std::vector<pid_t> children_of(pid_t process);
/// The processes of the program that descend from a process.
std::vector<pid_t> ranks_under(pid_t process);

/// Path of the program under test.
std::string program();

/// Lines of a text that contain a word.
int count_lines(const std::string& text, const std::string& word);

}  // namespace galapagos::test
