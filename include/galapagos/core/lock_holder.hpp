#pragma once

#include <string>

// Who has a lock, by what it says.
namespace galapagos {

enum class LockHolder {
  lives,
  has_ended,
  is_elsewhere,  ///< or wrote only half of it
  is_none        ///< it is no lock of ours
};

/// What a lock of this process says.
std::string lock_text();

LockHolder judge_holder(const std::string& text);

/// "process 17 on node1, job 5, since ..."
std::string describe_holder(const std::string& text);

}  // namespace galapagos
