# Writes OUTPUT with what --version says of the build; run at every build, touches the file only where it changes.
find_package(Git QUIET)
set(revision "unknown")
if(Git_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
                  OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(revision "${found}")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT [[
#pragma once
#define GALAPAGOS_VERSION "@VERSION@"
#define GALAPAGOS_GIT_REVISION "@revision@"
#define GALAPAGOS_COMPILER "@COMPILER@"
]] @ONLY)
