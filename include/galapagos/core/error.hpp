#pragma once

#include <stdexcept>
#include <string>

namespace galapagos {

/// Process exit codes.
enum class ExitCode : int {
  done = 0,
  failure = 1,
  usage = 2,
  bad_input = 3,
  no_resources = 4,
  numerical = 5,
  stopped_early = 75,
};

/// The one exception family: what went wrong, where (file, tensor, option, ...), what the user can do about
/// it, and the exit code of the process. what() is the whole message on one line.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& what, const std::string& where, const std::string& remedy);

  ExitCode code() const { return code_; }

  /// Whether all ranks know of it, so that the program can end in order (comm/agreement.hpp).
  bool agreed() const { return agreed_; }
  void mark_agreed() { agreed_ = true; }

 private:
  ExitCode code_;
  bool agreed_ = false;
};

/// A wrong option or combination of options (exit code 2).
struct UsageError : Error {
  UsageError(const std::string& what, const std::string& where, const std::string& remedy)
      : Error(ExitCode::usage, what, where, remedy) {}
};

/// A missing, unreadable, damaged or unsupported input file (exit code 3).
struct InputError : Error {
  InputError(const std::string& what, const std::string& where, const std::string& remedy)
      : Error(ExitCode::bad_input, what, where, remedy) {}
};

/// Not enough memory, disk, ranks or devices (exit code 4).
struct ResourceError : Error {
  ResourceError(const std::string& what, const std::string& where, const std::string& remedy)
      : Error(ExitCode::no_resources, what, where, remedy) {}
};

/// A computation that has no usable result (exit code 5).
struct NumericalError : Error {
  NumericalError(const std::string& what, const std::string& where, const std::string& remedy)
      : Error(ExitCode::numerical, what, where, remedy) {}
};

/// Stopped before the end, by a signal or the time limit, in a state that --resume takes up (exit code 75).
struct StoppedEarly : Error {
  StoppedEarly(const std::string& what, const std::string& where, const std::string& remedy)
      : Error(ExitCode::stopped_early, what, where, remedy) {}
};

/// Anything else that should not have happened: a failing library call, a broken invariant (exit code 1).
struct FailureError : Error {
  FailureError(const std::string& what, const std::string& where, const std::string& remedy)
      : Error(ExitCode::failure, what, where, remedy) {}
};

/// Text made safe for one line of a message: control characters and invalid UTF-8 escaped, cut to `limit`
/// bytes.
std::string printable(const std::string& text, std::size_t limit = 120);

}  // namespace galapagos
