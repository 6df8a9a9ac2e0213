# What Debian wants of a package's files before they are packed: compressed pages of the manual, a changelog and a
# file named copyright in the place of LICENSE. CPack runs it.
string(REGEX MATCH "^[^@]*" version "${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}")
if(DEFINED ENV{SOURCE_DATE_EPOCH})
  set(seconds $ENV{SOURCE_DATE_EPOCH})
else()
  string(TIMESTAMP seconds "%s" UTC)
endif()
execute_process(COMMAND date -u -R -d @${seconds} OUTPUT_VARIABLE date OUTPUT_STRIP_TRAILING_WHITESPACE)
foreach(component program:galapagos development:libgalapagos-dev)
  string(REGEX REPLACE ":.*" "" folder ${component})
  string(REGEX REPLACE ".*:" "" package ${component})
  set(root ${CPACK_TEMPORARY_DIRECTORY}/${folder}/usr)
  set(doc ${root}/share/doc/${package})
  file(GLOB_RECURSE pages ${root}/share/man/*.1)
  file(REMOVE ${doc}/LICENSE)
  file(WRITE ${doc}/copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: galapagos

Files: *
Copyright: 2025-2026 The authors of Galapagos
License: Apache-2.0
 On Debian systems the text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
")
  file(WRITE ${doc}/changelog.Debian "${package} (${version}) unstable; urgency=medium

  * Version ${CPACK_PACKAGE_VERSION}.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
  execute_process(COMMAND gzip -9nf ${pages} ${doc}/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)
endforeach()
