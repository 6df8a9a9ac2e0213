#pragma once

#include <functional>

#include <galapagos/comm/communicator.hpp>

namespace galapagos {

/// Collective. As agree_at_root(), but for work that is timed: the other ranks sleep meanwhile, where a
/// collective would keep their processors busy.
void agree_at_root_asleep(const Communicator& comm, const std::function<void()>& work);

}  // namespace galapagos
