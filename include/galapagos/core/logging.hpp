#pragma once

#include <fmt/format.h>
#include <string>

namespace galapagos {

/// Starts logging to standard error: rank 0 prints lines "time level text" from `level` on (trace, debug,
/// info, warning, error, off); other ranks print only warnings, tagged with their rank. UsageError for an
/// unknown level.
void start_logging(const std::string& level, int rank);

/// Whether informative lines of this rank go to a terminal.
bool logs_to_terminal();

void log_line_info(const std::string& text);
void log_line_debug(const std::string& text);
void log_line_warning(const std::string& text);
/// A warning that all ranks have the same reason for: rank 0 prints it, and only the first time.
void log_warning_once(const std::string& text);

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line_info(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_line_debug(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line_warning(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace galapagos
