"""Writes data/vllm/model_types.csv and data/vllm/transformers_classes.csv: which config.json a vLLM version can read.

Reads source only (nothing is imported): vLLM's own configuration classes (transformers_utils/config.py), and of Transformers the
model types of its AutoConfig and the classes whose attention vLLM's Transformers backend can replace.

  python model_types.py data vllm 0.16.0=DIR 0.17.0=DIR ... transformers 4.57.6=DIR 5.8.1=DIR ...

Versions in rising order; DIR is the unpacked package (the folder with __init__.py).
"""
import ast
import os
import re
import sys


def parse(path):
    return ast.parse(open(path, encoding="utf-8").read())


def own_types(root):
    """Keys of _CONFIG_REGISTRY and values of _ARCHITECTURE_TO_MODEL_TYPE."""
    out = set()
    for node in ast.walk(parse(os.path.join(root, "transformers_utils/config.py"))):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if not isinstance(target, ast.Name) or target.id != "_CONFIG_REGISTRY" or node.value is None:
            continue
        for part in ast.walk(node.value):
            if isinstance(part, ast.keyword) and part.arg:
                out.add(part.arg)
            if isinstance(part, ast.Dict):
                out |= {k.value for k in part.keys if isinstance(k, ast.Constant)}
    return out


def auto_types(root):
    """Model types of transformers' AutoConfig."""
    out = set()
    for name in ("configuration_auto.py", "auto_mappings.py"):
        path = os.path.join(root, "models/auto", name)
        if not os.path.exists(path):
            continue
        for node in ast.walk(parse(path)):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(target, ast.Name) and target.id == "CONFIG_MAPPING_NAMES":
                for part in ast.walk(node.value):
                    if isinstance(part, ast.Tuple) and part.elts and isinstance(part.elts[0], ast.Constant):
                        out.add(part.elts[0].value)
                    if isinstance(part, ast.Dict):
                        out |= {k.value for k in part.keys if isinstance(k, ast.Constant)}
    return out


def backend_classes(root):
    """Generating classes of models whose attention goes through Transformers' attention interface."""
    out = set()
    for folder, _, files in os.walk(os.path.join(root, "models")):
        for name in files:
            if name.startswith("modeling_") and name.endswith(".py"):
                text = open(os.path.join(folder, name), encoding="utf-8").read()
                if "_supports_attention_backend = True" in text or "ALL_ATTENTION_FUNCTIONS" in text:
                    out |= set(re.findall(r"^class (\w+(?:ForCausalLM|ForConditionalGeneration|LMHeadModel))\(", text, re.M))
    return out


# Types that a reader knows and whose configuration vLLM then stumbles over: type, vLLM since, gone.
UNREADABLE = [
    ("mamba2", "0.16.0", "0.19.1"),  # Transformers 4.57's Mamba2Config has no num_attention_heads
    ("gemma4", "0.26.0", "0.27.0"),  # recorded with Transformers 5.19, whose head_dim is per layer; 0.26 asks for one
]


def spans(versions, sets):
    """name -> [(since, gone or "")]"""
    out = {}
    for name in sorted(set().union(*sets)):
        rows, since = [], None
        for version, known in zip(versions, sets):
            if name in known and since is None:
                since = version
            if name not in known and since is not None:
                rows.append((since, version))
                since = None
        if since is not None:
            rows.append((since, ""))
        out[name] = rows
    return out


def main():
    data, what = sys.argv[1], None
    read = {"vllm": [], "transformers": []}
    for word in sys.argv[2:]:
        if word in read:
            what = word
        else:
            read[what].append(word.split("=", 1))
    vllm = spans([v for v, _ in read["vllm"]], [own_types(d) for _, d in read["vllm"]])
    auto = spans([v for v, _ in read["transformers"]], [auto_types(d) for _, d in read["transformers"]])
    classes = spans([v for v, _ in read["transformers"]], [backend_classes(d) for _, d in read["transformers"]])
    head = ("# {} by tools/oracle/model_types.py. A version is the first of those read\n"
            "# that has the name, `gone` the first that has it no more.\n# vLLM: {}. Transformers: {}.\n")
    names = [" ".join(v for v, _ in read[w]) for w in ("vllm", "transformers")]
    with open(os.path.join(data, "vllm/model_types.csv"), "w") as f:
        f.write(head.format("Model types of config.json that vLLM's own classes or Transformers read, written", *names))
        f.write("# reader: vllm, transformers, or unreadable: known, but vLLM of these versions fails on the configuration.\n")
        f.write("model_type,reader,since,gone\n")
        for reader, table in (("vllm", vllm), ("transformers", auto)):
            for name, rows in table.items():
                for since, gone in rows:
                    f.write(f"{name},{reader},{since},{gone}\n")
        f.write(f"transformer,vllm,{read['vllm'][0][0]},\n")  # what Mistral's params.json counts as
        for name, since, gone in UNREADABLE:
            f.write(f"{name},unreadable,{since},{gone}\n")
    with open(os.path.join(data, "vllm/transformers_classes.csv"), "w") as f:
        f.write(head.format("Classes of Transformers that vLLM's Transformers backend can serve, written", *names))
        f.write("architecture,since,gone\n")
        for name, rows in classes.items():
            for since, gone in rows:
                f.write(f"{name},{since},{gone}\n")


if __name__ == "__main__":
    main()
