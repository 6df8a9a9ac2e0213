# Writes the pages of the manual, as PROGRAM prints them, into the folder OUTPUT: galapagos.1 and one for each command.
#   cmake -DPROGRAM=build/release/src/app/galapagos -DOUTPUT=FOLDER -P tools/packages/manual.cmake
# Where the program cannot run (built for another processor, or an MPI that only starts in a job) there is no manual,
# which is said and is no error.
function(galapagos_page name)
  execute_process(COMMAND ${PROGRAM} ${ARGN} OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
  if(code)
    set(failed "galapagos ${ARGN}: ${code} ${errors}" PARENT_SCOPE)
  else()
    file(WRITE ${OUTPUT}/${name}.1 "${text}")
    set(page "${text}" PARENT_SCOPE)
  endif()
endfunction()

file(REMOVE_RECURSE ${OUTPUT})
set(failed "")
galapagos_page(galapagos help --man)
if(NOT failed)
  string(REGEX MATCHALL "\\.BR galapagos\\\\-[a-z]+" names "${page}")
  foreach(name IN LISTS names)
    string(REGEX REPLACE ".*-" "" command "${name}")
    galapagos_page(galapagos-${command} ${command} --print-man)
  endforeach()
  galapagos_page(galapagos-plan-collectives plan collectives --print-man)
endif()
if(failed)
  file(REMOVE_RECURSE ${OUTPUT})
  message(WARNING "No pages of the manual: ${failed}")
endif()
