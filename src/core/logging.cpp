#include <mutex>
#include <set>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>

namespace galapagos {
namespace {

int logging_rank = 0;

}  // namespace

void start_logging(const std::string& level, int rank) {
  const auto chosen = spdlog::level::from_str(level);
  if (chosen == spdlog::level::off && level != "off") {
    throw UsageError("unknown log level '" + level + "'", "--log-level",
                     "choose one of trace, debug, info, warning, error, off");
  }
  auto logger =
      std::make_shared<spdlog::logger>("galapagos", std::make_shared<spdlog::sinks::stderr_sink_st>());
  // On a terminal a line first wipes a progress bar away.
  const std::string wipe = isatty(STDERR_FILENO) != 0 ? "\r\033[K" : "";
  logger->set_pattern(wipe + (rank == 0 ? "%H:%M:%S %l %v" : fmt::format("%H:%M:%S %l [rank {}] %v", rank)));
  logger->set_level(rank == 0 ? chosen : std::max(chosen, spdlog::level::warn));
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
  logging_rank = rank;
}

bool logs_to_terminal() {
  return isatty(STDERR_FILENO) != 0 && spdlog::default_logger()->should_log(spdlog::level::info);
}

void log_line_info(const std::string& text) {
  spdlog::info(text);
}
void log_line_debug(const std::string& text) {
  spdlog::debug(text);
}
void log_line_warning(const std::string& text) {
  spdlog::warn(text);
}

void log_warning_once(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  if (logging_rank == 0 && said.insert(text).second) log_line_warning(text);
}

}  // namespace galapagos
