#pragma once

namespace galapagos {

/// From here on SIGUSR1 asks for a checkpoint, SIGUSR2 and SIGTERM for an orderly end; nothing else happens
/// when they come.
void watch_signals();

/// Whether an orderly end was asked for.
bool stop_requested();

/// Whether a checkpoint was asked for since the last call.
bool take_checkpoint_request();

}  // namespace galapagos
