"""Lays the model configurations of data/models out as directories that vLLM can open: OUT/NAME/config.json."""
import json
import pathlib
import sys


def lay_out(out):
    names = {}
    for file in sorted((pathlib.Path(__file__).resolve().parents[2] / "data" / "models").glob("*.json")):
        bundled = json.loads(file.read_text())
        folder = pathlib.Path(out) / file.stem
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(bundled["config"]))
        if bundled.get("hf_quant_config"):
            (folder / "hf_quant_config.json").write_text(json.dumps(bundled["hf_quant_config"]))
        names[file.stem] = bundled["config"]
    return names


if __name__ == "__main__":
    lay_out(sys.argv[1])
