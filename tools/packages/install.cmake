# What `cmake --install` installs, as two components: `program`, and `development` for programs of others that link the
# rooms. Where the packages of CPack come from is in packages.cmake.
include(CMakePackageConfigHelpers)
set(datadir ${CMAKE_INSTALL_DATADIR}/galapagos)

# --- the program ---------------------------------------------------------------------------------
install(TARGETS galapagos RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
foreach(folder src src/app jobs jobs/machines config tests/bench tools/packages)  # what README.md leads to
  install(FILES ${folder}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/${folder} COMPONENT program)
endforeach()
install(DIRECTORY config jobs DESTINATION ${datadir} USE_SOURCE_PERMISSIONS COMPONENT program)
install(FILES tools/modulefile/galapagos.lua DESTINATION ${datadir}/modulefiles/galapagos
        RENAME ${PROJECT_VERSION}.lua COMPONENT program)
install(FILES tools/modulefile/galapagos.tcl DESTINATION ${datadir}/modulefiles/galapagos
        RENAME ${PROJECT_VERSION} COMPONENT program)
# The manual is what the program itself says of its options.
install(CODE "set(PROGRAM \"$<TARGET_FILE:galapagos>\")
set(OUTPUT \"${PROJECT_BINARY_DIR}/man/man1\")" COMPONENT program)
install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/manual.cmake COMPONENT program)
install(DIRECTORY ${PROJECT_BINARY_DIR}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT program OPTIONAL)

# --- for programs of others ----------------------------------------------------------------------
get_property(rooms GLOBAL PROPERTY GALAPAGOS_ROOMS)
target_include_directories(galapagos_flags INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set(interfaces galapagos_flags)
foreach(interface galapagos_arrow galapagos_nccl)
  if(TARGET ${interface})
    list(APPEND interfaces ${interface})
  endif()
endforeach()
install(TARGETS ${rooms} ${interfaces} EXPORT galapagosTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
set(configdir ${CMAKE_INSTALL_LIBDIR}/cmake/galapagos)
install(EXPORT galapagosTargets NAMESPACE galapagos:: DESTINATION ${configdir} COMPONENT development)
install(DIRECTORY include/galapagos DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/galapagosConfig.cmake.in
  ${PROJECT_BINARY_DIR}/galapagosConfig.cmake INSTALL_DESTINATION ${configdir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/galapagosConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/galapagosConfig.cmake ${PROJECT_BINARY_DIR}/galapagosConfigVersion.cmake
        DESTINATION ${configdir} COMPONENT development)

include(${CMAKE_CURRENT_LIST_DIR}/packages.cmake)
