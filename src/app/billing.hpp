#pragma once

#include <string>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/options.hpp>

// What a command took of the machine, said at its end.
namespace galapagos::app {

enum class Billed {
  no,    ///< over in a moment
  said,  ///< in the log
  kept,  ///< besides as a line of bill.jsonl in the folder of its run, where the parts of a run add up
};

/// Notes that a command begins, and where it writes. Those that it runs as its steps are on its own bill.
void open_bill(const Options& options);

/// Collective, once the command is over; nothing where none was opened, as behind --help. `ended`: how.
void close_bill(const Communicator& world, Billed billed, const std::string& command,
                const std::string& ended);

}  // namespace galapagos::app
