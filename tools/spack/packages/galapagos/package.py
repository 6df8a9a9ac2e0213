# Galapagos for Spack (0.20 or later; of Spack 1 the packages that it builds on come from its builtin repository).
#
#   spack repo add tools/spack
#   spack develop -p $PWD galapagos@main                 builds the clone that this file lies in, or
#   spack install galapagos@0.1.0 +cuda cuda_arch=90     with the archive of `tools/package.sh --source`, see below
#
# There is no public place to fetch the sources from. GALAPAGOS_SOURCE names the archive that `tools/package.sh
# --source` made; without it, and without `spack develop`, an installation ends with what to do.

import os

try:  # since Spack 1.0
    from spack_repo.builtin.build_systems.cmake import CMakePackage
    from spack_repo.builtin.build_systems.cuda import CudaPackage
except ImportError:  # `spack.package` has them
    pass

from spack.package import *


class Galapagos(CMakePackage, CudaPackage):
    """Structured pruning of large language models on supercomputers: removes attention heads and feed-forward
    columns, a different number in every layer, by structured optimal brain surgeon, sensitivities and an
    evolutionary search over MPI ranks."""

    homepage = "https://galapagos.invalid/set-your-own"

    license("Apache-2.0")

    # No checksum: which archive it is, its maker knows. The version of a clone is `main`.
    version("main", branch="main", git="https://galapagos.invalid/set-your-own.git")
    version("0.1.0", url="file://" + os.environ.get("GALAPAGOS_SOURCE", "/galapagos-source-is-not-set.tar.gz"))

    variant("nccl", default=True, when="+cuda", description="GPUs of a replica exchange through NCCL")
    variant("arrow", default=False, description="Read Parquet and Arrow files")
    variant("tests", default=False, description="Build the tests")
    variant("native", default=True, description="For the target's processor, in place of AVX2 at least")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi@3.1:")
    depends_on("hdf5+mpi~java")
    depends_on("blas")
    depends_on("lapack")
    depends_on("boost@1.74:+program_options")
    depends_on("nlohmann-json@3.10:")
    depends_on("fmt@8:")
    depends_on("spdlog")
    depends_on("oniguruma")
    depends_on("sentencepiece")
    depends_on("icu4c")
    depends_on("zlib-api")
    depends_on("zstd")
    depends_on("xxhash")
    depends_on("catch2@2.13:2", when="+tests")
    depends_on("arrow+parquet", when="+arrow")
    depends_on("cuda@12:", when="+cuda")
    depends_on("nccl@2.14:", when="+nccl")

    requires("%gcc@12:", "%clang@16:", "%cce@17:", policy="one_of", msg="Galapagos is C++20: GCC 12 or later")
    conflicts("cuda_arch=none", when="+cuda", msg="name the GPUs, as cuda_arch=80,90")

    generator("ninja")

    def cmake_args(self):
        args = [
            self.define_from_variant("GALAPAGOS_CUDA", "cuda"),
            self.define("GALAPAGOS_NCCL", self.spec.satisfies("+nccl")),
            self.define_from_variant("GALAPAGOS_ARROW", "arrow"),
            self.define_from_variant("GALAPAGOS_TESTS", "tests"),
            self.define("GALAPAGOS_BENCHMARKS", False),
            self.define("GALAPAGOS_CUDNN", False),
        ]
        if self.spec.satisfies("+native"):  # Spack's compiler wrapper gives -march
            args.append(self.define("GALAPAGOS_ARCH", ""))
        if self.spec.satisfies("+cuda"):
            args.append(self.define("CMAKE_CUDA_ARCHITECTURES", self.spec.variants["cuda_arch"].value))
        if self.spec.satisfies("+nccl"):
            args.append(self.define("NCCL_ROOT", self.spec["nccl"].prefix))
        if self.spec.satisfies("+arrow"):
            args.append(self.define("ARROW_ROOT", self.spec["arrow"].prefix))
        return args

    def setup_run_environment(self, env):
        env.set("GALAPAGOS_SHARE", self.prefix.share.galapagos)

    def test_version(self):
        """the program starts"""
        galapagos = which(self.prefix.bin.galapagos)
        out = galapagos("--version", output=str.split, error=str.split)
        assert "galapagos" in out
