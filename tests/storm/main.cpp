#include "bad/bad_inputs.hpp"
#include "ledger.hpp"
#include "options.hpp"
#include "trials.hpp"

#include <exception>
#include <fmt/format.h>

using namespace galapagos;

// Kills and faults at random moments of small runs of all phases; README.md here.
int main(int argc, char** argv) {
  try {
    const storm::Options options = storm::read_options(argc, argv);
    std::filesystem::create_directories(options.folder);
    const storm::Ledger ledger(options.folder /
                               (options.bad_inputs > 0 ? "bad_inputs.jsonl" : "ledger.jsonl"));
    if (options.fresh) ledger.forget();
    if (options.bad_inputs > 0) return storm::try_bad_inputs(options, ledger) == 0 ? 0 : 1;
    storm::run_trials(options, ledger);
    return storm::summarise(ledger.read(), argv[0]) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "storm: {}\n", error.what());
    return 2;
  }
}
