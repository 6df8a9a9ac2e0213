#pragma once

namespace galapagos::test {

/// This program's galapagos/core/signals.hpp: a run asks before every update and every batch whether it is to
/// stop, and is told so from the n-th time on, however fast the machine is. -1: never.
void stop_at_question(int n);

}  // namespace galapagos::test
