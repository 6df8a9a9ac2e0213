#pragma once

namespace galapagos::test {

/// This program's galapagos/core/signals.hpp: a run asks before every update whether it is to stop, and is
/// told so the n-th time, however fast the machine is. -1: never.
void stop_at_question(int n);

}  // namespace galapagos::test
