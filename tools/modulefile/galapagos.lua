-- Lmod's module of an installed Galapagos. It finds the program from its own place,
-- <prefix>/share/galapagos/modulefiles/galapagos/<version>.lua; copied elsewhere, it needs GALAPAGOS_PREFIX.
--   module use <prefix>/share/galapagos/modulefiles
--   module load galapagos
help([[
Galapagos prunes large language models by structure: galapagos --help, man galapagos.
Load the MPI that it was built with as well. Job files: $GALAPAGOS_SHARE/jobs.
]])
whatis("Name: Galapagos")
whatis("Version: " .. myModuleVersion())
whatis("Description: structured pruning of large language models on supercomputers")

local prefix = os.getenv("GALAPAGOS_PREFIX") or myFileName():match("^(.*)/share/galapagos/modulefiles/galapagos/[^/]*$")
if not prefix then
  LmodError("This module file was moved: set GALAPAGOS_PREFIX to the folder that Galapagos is installed in.")
end
-- man(1) finds share/man beside what is on PATH.
prepend_path("PATH", pathJoin(prefix, "bin"))
prepend_path("CMAKE_PREFIX_PATH", prefix)
setenv("GALAPAGOS_SHARE", pathJoin(prefix, "share/galapagos"))
