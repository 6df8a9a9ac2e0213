#include "command.hpp"
#include "manual.hpp"
#include "wait_policy.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fmt/format.h>
#include <new>
#include <optional>

#include <galapagos/app/run.hpp>
#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/environment.hpp>
#include <galapagos/comm/nccl_collectives.hpp>
#include <galapagos/core/file_remedy.hpp>
#include <galapagos/core/meter.hpp>
#include <galapagos/core/option_hints.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/ops/cudnn.hpp>

namespace galapagos {
namespace {

using app::Billed;

struct Subcommand {
  const char* name;
  const char* summary;
  app::Command command;
  Billed billed = Billed::no;
};

constexpr Subcommand subcommands[] = {
    {"sensitivity", "measure how the end loss depends on what each module puts out", app::sensitivity,
     Billed::said},
    {"database", "prune every module of a model at several levels into one file", app::database,
     Billed::said},
    {"assign", "the level of every module that is predicted to lose the least, without a search",
     app::assign},
    {"profile", "how long the parts of a model take at the shapes that levels leave", app::profile,
     Billed::said},
    {"search", "look for the best level of every module at a given size", app::search, Billed::kept},
    {"prune", "a model pruned in stages, its layers distilled after each", app::prune, Billed::kept},
    {"rounds", "sensitivity, database and search on the path of the best so far, again and again",
     app::rounds, Billed::kept},
    {"stitch", "write the model of an assignment as a checkpoint", app::stitch, Billed::said},
    {"eval", "negative log-likelihood and perplexity of a model on a text", app::eval, Billed::said},
    {"generate", "texts that a model writes behind prompts", app::generate, Billed::said},
    {"distil", "trains a pruned model's layers one by one toward the unpruned model's", app::distil,
     Billed::kept},
    {"train", "continued training or distillation of a model, pruned or not", app::train, Billed::kept},
    {"tokenize", "turn text into token files", app::tokenize},
    {"convert", "a database made of DarwinLM's files, or written as them", app::convert},
    {"plan", "memory, file sizes, work and time of a command, without weights", app::plan},
    {"info", "what a model, token file, database or file of sensitivities holds", app::info},
    {"top", "how far runs have come, on a terminal", app::top},
    {"report", "what runs did, as one HTML page", app::report},
};

std::string usage() {
  std::string text =
      "galapagos: structured pruning of large language models\n\n  [mpirun -n N] galapagos <command> "
      "[options]\n\n";
  for (const Subcommand& subcommand : subcommands) {
    text += fmt::format("  {:<11} {}\n", subcommand.name, subcommand.summary);
  }
  return text +
         "\n  galapagos <command> --help   the options of a command\n"
         "  galapagos help --all         all options: defaults, ranges, and which decide the course of a "
         "run\n"
         "  galapagos --version          versions\n";
}

std::string manual() {
  std::vector<std::pair<std::string, std::string>> commands;
  for (const Subcommand& subcommand : subcommands) commands.emplace_back(subcommand.name, subcommand.summary);
  return app::program_manual(commands);
}

std::string versions() {
  return fmt::format(
      "galapagos {}\ncompiler   {}\nMPI        {}\nHDF5       {}\nBLAS       {}\nCUDA       {}\nNCCL       "
      "{}\ncuDNN      {}\n",
      version_with_revision(), compiler(), mpi_library_version(), hdf5_version(), ops::blas_version(),
      built_with_cuda() ? cuda_version() : "none (build with the preset 'cuda')", nccl_version(),
      ops::cudnn_version());
}

/// The reference of all commands' options.
void print_reference(const Communicator& world) {
  app::print(
      world,
      "An option's default, 'decides' where a run is not gone on with under another value, what it is for "
      "and [what it "
      "takes].\nEvery command takes --config FILE, --print-config, --print-options, --print-man and --help "
      "besides.\n\n");
  for (const Subcommand& subcommand : subcommands) subcommand.command(world, {"--print-options"});
  app::plan(world, {"collectives", "--print-options"});
}

/// Runs it, and says what it took, also where it has stopped in order.
void execute(const Communicator& world, const Subcommand& subcommand, const std::vector<std::string>& words) {
  try {
    subcommand.command(world, words);
  } catch (const Error& error) {
    // Only where every rank comes here.
    const bool agreed = error.agreed() || dynamic_cast<const FailedElsewhere*>(&error) != nullptr;
    if (agreed && error.code() == ExitCode::stopped_early)
      app::close_bill(world, subcommand.billed, subcommand.name, "stopped");
    throw;
  }
  app::close_bill(world, subcommand.billed, subcommand.name, "done");
}

void dispatch(const Communicator& world, const std::vector<std::string>& words) {
  if (words.size() == 2 && words[0] == "help" && words[1] == "--all") return print_reference(world);
  if (words.size() == 2 && words[0] == "help" && words[1] == "--man") return app::print(world, manual());
  if (words.empty() || words[0] == "--help" || words[0] == "help") return app::print(world, usage());
  if (words[0] == "--version") return app::print(world, versions());
  for (const Subcommand& subcommand : subcommands) {
    if (words[0] == subcommand.name) return execute(world, subcommand, {words.begin() + 1, words.end()});
  }
  agree(world, [&] {
    std::vector<std::string> known;
    for (const Subcommand& subcommand : subcommands) known.emplace_back(subcommand.name);
    const std::string nearest = nearest_name(words[0], known);
    throw UsageError(
        "unknown command '" + printable(words[0]) + "'", "galapagos",
        (nearest.empty() ? "" : "did you mean '" + nearest + "'? ") + std::string("see 'galapagos --help'"));
  });
}

int report(const std::string& message, ExitCode code) {
  std::fflush(stdout);
  const char* kind = code == ExitCode::stopped_early ? "" : "error: ";
  std::fprintf(stderr, "galapagos: %s%s\n", kind, message.c_str());
  std::fflush(stderr);
  return static_cast<int>(code);
}

}  // namespace

int run(int argc, char** argv) {
  app::choose_wait_policy(argv);
  if (const std::string missing = missing_instructions(); !missing.empty()) {
    return report("this processor lacks " + missing + "; build for it with -DGALAPAGOS_ARCH=...",
                  ExitCode::no_resources);
  }
  // Open MPI's collective buffering component that corrupts data (open-mpi/ompi issue 12718).
  ::setenv("OMPI_MCA_fcoll", "^vulcan", 0);
  std::optional<MpiEnvironment> environment;  // ends after the report of an error
  ExitCode code = ExitCode::done;
  try {
    environment.emplace(argc, argv);
    const Communicator world = Communicator::world();
    meter().begin(world.split_node().is_root());
    agree(world, [&] { check_launcher(world.size()); });
    dispatch(world, {argv + 1, argv + argc});
    return static_cast<int>(ExitCode::done);
  } catch (const FailedElsewhere& error) {
    return static_cast<int>(error.code());
  } catch (const Error& error) {
    code = error.code();
    report(error.what(), code);
    if (error.agreed()) return static_cast<int>(code);
  } catch (const std::bad_alloc&) {
    code = ExitCode::no_resources;
    report("out of memory; use more ranks or nodes, or lower --memory-limit", code);
  } catch (const std::filesystem::filesystem_error& error) {
    const int number = error.code().value();
    code = is_shortage(number) ? ExitCode::no_resources : ExitCode::bad_input;
    report(fmt::format("{} [{}]; {}", error.code().message(), printable(error.path1().string()),
                       remedy_for(number)),
           code);
  } catch (const std::exception& error) {
    code = ExitCode::failure;
    report(fmt::format("{}; report this as a defect", error.what()), code);
  }
  // The other ranks do not know of this: they may be waiting for this one.
  abort_all_ranks(static_cast<int>(code));
}

}  // namespace galapagos
