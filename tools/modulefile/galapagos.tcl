#%Module1.0
# Environment Modules' module of an installed Galapagos. It finds the program from its own place,
# <prefix>/share/galapagos/modulefiles/galapagos/<version>; copied elsewhere, it needs GALAPAGOS_PREFIX.
#   module use <prefix>/share/galapagos/modulefiles
#   module load galapagos
proc ModulesHelp {} {
  puts stderr "Galapagos prunes large language models by structure: galapagos --help, man galapagos."
  puts stderr "Load the MPI that it was built with as well. Job files: \$GALAPAGOS_SHARE/jobs."
}
module-whatis "structured pruning of large language models on supercomputers"

if {[info exists ::env(GALAPAGOS_PREFIX)]} {
  set prefix $::env(GALAPAGOS_PREFIX)
} elseif {![regexp {^(.*)/share/galapagos/modulefiles/galapagos/[^/]*$} $ModulesCurrentModulefile _ prefix]} {
  error "This module file was moved: set GALAPAGOS_PREFIX to the folder that Galapagos is installed in."
}
# man(1) finds share/man beside what is on PATH.
prepend-path PATH $prefix/bin
prepend-path CMAKE_PREFIX_PATH $prefix
setenv GALAPAGOS_SHARE $prefix/share/galapagos
