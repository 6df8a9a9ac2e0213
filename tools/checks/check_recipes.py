#!/usr/bin/env python3
"""Checks what Galapagos is packaged by, without building it.

  tools/checks/check_recipes.py

The version and the build options of every recipe are those of CMakeLists.txt. Spack's package is run against a stand-in of
its language (Spack comes by no registry of packages) and asked for the options of several specs. EasyBuild's recipes are read
by EasyBuild, with all of what they build on looked up in its repository, where `eb` is installed (pip install easybuild pycodestyle); the
module files by luac, and by Lmod where it is installed; the ReFrame tests are listed where `reframe` is. What is not
installed is said and left out. Exit code 1 where something is wrong.
"""

import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text()
VERSION = re.search(r"^project\(galapagos VERSION ([0-9.]+)", CMAKE, re.M).group(1)
failures = []


def check(good, what):
    if not good:
        failures.append(what)
        print(f"FAILED: {what}")


def options_exist(path):
    known = set(re.findall(r"(?:option|set)\((GALAPAGOS_\w+)", CMAKE)) | {"GALAPAGOS_SHARE", "GALAPAGOS_SOURCE"}
    for name in set(re.findall(r"\b(GALAPAGOS_[A-Z]+)\b", path.read_text())):
        check(name in known, f"{path.relative_to(ROOT)}: CMakeLists.txt has no {name}")


# --- Spack ---------------------------------------------------------------------------------------
class Prefix(str):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Prefix(f"{self}/{name}")


class Spec:
    """What a package asks of its spec."""

    def __init__(self, variants, **values):
        self.on = variants
        self.variants = {name: types.SimpleNamespace(value=value) for name, value in values.items()}

    def satisfies(self, text):
        return text.startswith("+") and text[1:] in self.on

    def __getitem__(self, name):
        return types.SimpleNamespace(prefix=Prefix("/opt/" + name))


def spack_package():
    """The class of the recipe, and what it declared."""
    said = {"version": [], "variant": [], "depends_on": [], "requires": [], "conflicts": []}

    class Base:
        def define(self, name, value):
            if isinstance(value, (tuple, list)):
                value = ";".join(value)
            return f"-D{name}={ {True: 'ON', False: 'OFF'}.get(value, value)}"

        def define_from_variant(self, name, variant):
            assert variant in [words[0] for words, _ in said["variant"]] + ["cuda"], variant
            return self.define(name, variant in self.spec.on)

    module = types.ModuleType("spack.package")
    for name, into in said.items():
        setattr(module, name, lambda *words, _into=into, **more: _into.append((words, more)))
    for name in ("license", "generator", "maintainers", "patch", "which", "run_before", "run_after"):
        setattr(module, name, lambda *words, **more: None)
    module.CMakePackage = type("CMakePackage", (Base,), {})
    module.CudaPackage = type("CudaPackage", (), {})
    sys.modules["spack"] = types.ModuleType("spack")
    sys.modules["spack.package"] = module
    path = ROOT / "tools/spack/packages/galapagos/package.py"
    scope = {"__name__": "package"}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return scope["Galapagos"], said


def check_spack():
    package, said = spack_package()
    path = ROOT / "tools/spack/packages/galapagos/package.py"
    options_exist(path)
    check(max(map(len, path.read_text().splitlines())) <= 120, "a line of package.py is too long")
    check(VERSION in [words[0] for words, _ in said["version"]], f"Spack's package has no version {VERSION}")
    needed = {words[0].split("@")[0].split("+")[0] for words, _ in said["depends_on"]}
    listed = re.search(r"spack install (.*?)\n  spack load", (ROOT / "tools/setup.sh").read_text(), re.S).group(1)
    for word in listed.replace("\\", " ").split():
        name = word.split("+")[0]
        name = {"openmpi": "mpi", "openblas": "blas", "zlib": "zlib-api", "pkgconf": "pkgconfig"}.get(name, name)
        check(name in needed, f"Spack's package does not need {name}")
    for variants, values, expected in (
        ((), {}, ["-DGALAPAGOS_CUDA=OFF", "-DGALAPAGOS_NCCL=OFF", "-DGALAPAGOS_TESTS=OFF", "-DGALAPAGOS_ARROW=OFF"]),
        (
            ("cuda", "nccl", "native"),
            {"cuda_arch": ("80", "90")},
            ["-DGALAPAGOS_CUDA=ON", "-DGALAPAGOS_NCCL=ON", "-DCMAKE_CUDA_ARCHITECTURES=80;90", "-DNCCL_ROOT=/opt/nccl",
             "-DGALAPAGOS_ARCH="],
        ),
        (("tests", "arrow"), {}, ["-DGALAPAGOS_TESTS=ON", "-DGALAPAGOS_ARROW=ON", "-DARROW_ROOT=/opt/arrow"]),
    ):
        one = package()
        one.spec = Spec(variants, **values)
        args = one.cmake_args()
        for option in expected:
            check(option in args, f"Spack with {variants}: no {option} in {args}")
    print(f"spack: {len(said['variant'])} variants, {len(said['depends_on'])} dependencies, read by a stand-in")


def lmod():
    """Lmod's program, None where there is none."""
    return os.environ.get("LMOD_CMD") or next(iter(map(str, Path("/usr/share/lmod").glob("*/libexec/lmod"))), None)


# --- EasyBuild -----------------------------------------------------------------------------------
def check_easybuild():
    recipes = sorted((ROOT / "tools/easybuild").glob("galapagos-*.eb"))
    for path in recipes:
        options_exist(path)
        check(f"version = '{VERSION}'" in path.read_text(), f"{path.name} is not of version {VERSION}")
        compile(path.read_text(), str(path), "exec")
    if not shutil.which("eb"):
        return print("easybuild: SKIPPED reading by EasyBuild: there is no eb (pip install easybuild)")
    if not lmod():
        return print("easybuild: SKIPPED reading by EasyBuild: there is no Lmod")
    environment = dict(os.environ, LMOD_CMD=lmod(), EASYBUILD_ALLOW_USE_AS_ROOT_AND_ACCEPT_CONSEQUENCES="1")
    for path in recipes:
        ran = subprocess.run(["eb", str(path), "--dry-run", f"--robot={path.parent}"], capture_output=True, text=True,
                             env=environment)
        found = re.findall(r"\[[ x]\] .*?([^/ ]+\.eb)", ran.stdout)
        check(ran.returncode == 0 and path.name in found, f"{path.name}: {ran.stdout[-600:]}{ran.stderr[-600:]}")
        style = subprocess.run(["eb", str(path), "--check-style"], capture_output=True, text=True, env=environment)
        check(style.returncode == 0, f"{path.name}: style: {style.stdout[-600:]}{style.stderr[-300:]}")
        print(f"easybuild: {path.name}: {len(found)} recipes from the toolchain to it, all there")


# --- modules, ReFrame ----------------------------------------------------------------------------
def check_modules():
    folder = ROOT / "tools/modulefile"
    luac = shutil.which("luac5.3") or shutil.which("luac")
    if luac:
        check(subprocess.run([luac, "-p", str(folder / "galapagos.lua")]).returncode == 0, "galapagos.lua")
    if not lmod():
        return print("modules: SKIPPED loading: there is no Lmod")
    import tempfile

    with tempfile.TemporaryDirectory() as prefix:
        for name, file in ((f"{VERSION}.lua", "galapagos.lua"), (f"{VERSION}-tcl", "galapagos.tcl")):
            here = Path(prefix) / "share/galapagos/modulefiles/galapagos"
            here.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / file, here / name)
            ran = subprocess.run(
                [lmod(), "bash", "load", f"galapagos/{name.removesuffix('.lua')}"], capture_output=True, text=True,
                env=dict(os.environ, MODULEPATH=str(here.parent), LMOD_IGNORE_CACHE="1"),
            )
            for part in (f"PATH={prefix}/bin:", f"GALAPAGOS_SHARE={prefix}/share/galapagos;"):
                check(part in ran.stdout.replace('"', ""), f"{file}: no {part} in {ran.stdout}{ran.stderr}")
        print("modules: both are loaded by Lmod and find their own place")


def check_reframe():
    path = ROOT / "tools/reframe/galapagos_checks.py"
    compile(path.read_text(), str(path), "exec")
    if not shutil.which("reframe"):
        return print("reframe: SKIPPED: there is no reframe (pip install reframe-hpc)")
    ran = subprocess.run(
        ["reframe", "-C", str(path.parent / "config_local.py"), "-c", str(path), "-l"], capture_output=True, text=True,
    )
    check(ran.returncode == 0 and "GalapagosQuickStart" in ran.stdout, f"reframe: {ran.stdout[-500:]}{ran.stderr[-500:]}")
    print("reframe: " + (re.findall(r"Found .*", ran.stdout) or ["?"])[0])


def main():
    check_spack()
    check_easybuild()
    check_modules()
    check_reframe()
    for path in (ROOT / "tools/apptainer").glob("*.def"):
        options_exist(path)
    if failures:
        sys.exit(f"check_recipes: {len(failures)} failed")


if __name__ == "__main__":
    main()
