"""The vLLM version that this source tree takes for granted, as src/base/version.cc says it: 0.33.0"""
import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "src" / "base" / "version.cc"


def default_version():
    return ".".join(re.search(r"kDefaultVllmVersion\{(\d+), (\d+), (\d+)\}", SOURCE.read_text()).groups())


if __name__ == "__main__":
    print(default_version())
