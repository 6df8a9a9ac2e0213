#include "manual.hpp"

#include <fmt/format.h>

#include <galapagos/core/roff.hpp>

namespace galapagos::app {
namespace {

constexpr const char* introduction = R"(.SH NAME
galapagos \- structured pruning of large language models
.SH SYNOPSIS
.nh
.ad l
[\fBmpirun \-n\fR \fIN\fR] \fBgalapagos\fR \fIcommand\fR [\fIoptions\fR]
.br
\fBgalapagos\fR \fIcommand\fR \fB\-\-help\fR
.br
\fBgalapagos help \-\-all\fR
.br
\fBgalapagos \-\-version\fR
.ad b
.hy
.SH DESCRIPTION
Galapagos removes attention heads and feed-forward columns of large language models, a different number in every layer.
Every command is started once, or by an MPI launcher with one rank for each GPU or NUMA domain.
Results go to the standard output, the log and errors to the standard error.
.PP
Options come from the command line, then from the INI file that \fB\-\-config\fR names, then from defaults.
\fB\-\-print\-config\fR shows the outcome.
A long command stops in order at \fB\-\-max\-walltime\fR, or after SIGUSR2 or SIGTERM to its ranks, with exit code 75,
and goes on when it is run again.
.SH COMMANDS
)";

constexpr const char* rest = R"(.SH EXIT STATUS
.TP
\fB0\fR
Done.
.TP
\fB1\fR
Failure.
.TP
\fB2\fR
Wrong use: an option or its value.
.TP
\fB3\fR
Bad input file: missing, damaged or not supported.
.TP
\fB4\fR
Not enough resources: memory, disk, ranks or devices.
.TP
\fB5\fR
Numerical failure.
.TP
\fB75\fR
Stopped early and resumable.
.SH ENVIRONMENT
.TP
\fBOMP_NUM_THREADS\fR
Threads of a rank, where \fB\-\-threads\fR does not say.
.TP
\fBOMPI_MCA_fcoll\fR
Set to \fB\(havulcan\fR where it is not set: that part of Open MPI has damaged files.
.TP
\fBHDF5_USE_FILE_LOCKING\fR
\fBFALSE\fR where a file system has no locks.
.SH FILES
.TP
\fIshare/galapagos/config\fR
Options for some models, as \fB\-\-config\fR reads them.
.TP
\fIshare/galapagos/jobs\fR
Job files for Slurm, PBS and LSF, and descriptions of machines.
)";

}  // namespace

std::string program_manual(const std::vector<std::pair<std::string, std::string>>& commands) {
  std::string text = roff_title("galapagos") + introduction;
  for (const auto& [name, summary] : commands)
    text += fmt::format(".TP\n\\fBgalapagos\\-{}\\fR(1)\n{}.\n", name, roff(summary));
  text += rest;
  text += ".SH SEE ALSO\n";
  for (const auto& [name, summary] : commands)
    text += fmt::format(".BR galapagos\\-{} (1){}\n", name, &name == &commands.back().first ? "" : ",");
  return text;
}

}  // namespace galapagos::app
