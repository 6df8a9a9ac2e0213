# The Debian packages that tools/package.sh makes by CPack: galapagos and libgalapagos-dev.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME galapagos)
set(CPACK_PACKAGE_VENDOR "Galapagos")
set(CPACK_PACKAGE_CONTACT "${GALAPAGOS_MAINTAINER}")
if(NOT CPACK_PACKAGE_CONTACT)
  set(CPACK_PACKAGE_CONTACT "Galapagos <galapagos@example.org>")
endif()
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
    WORLD_EXECUTE)
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)

# The first line is the project's DESCRIPTION.
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "An MPI program that removes attention heads and feed-forward columns of large
language models, a different number in every layer: by structured optimal
brain surgeon, an assignment by sensitivities or an evolutionary search over
MPI ranks, and training of what is left. On x86 it needs AVX2 and FMA.")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME galapagos)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_DEPENDS openmpi-bin) # mpirun, of the MPI that it is linked with
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS "man-db")

set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Headers, static libraries and the CMake package of what the program galapagos
is made of: checkpoints, tokenizers, structured pruning and search over MPI.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libgalapagos-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libopenmpi-dev, libhdf5-openmpi-dev, libopenblas-dev, libboost-program-options-dev, nlohmann-json3-dev, libfmt-dev, \
libspdlog-dev, libonig-dev, libsentencepiece-dev, libicu-dev, zlib1g-dev, libzstd-dev, libxxhash-dev, pkg-config")

set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/debian.cmake)
include(CPack)
