"""Writes data/vllm/architectures.csv: what the model class of every architecture that vLLM registers supports.

Reads source only (nothing is imported): the registry's tables and, through the classes' bases, the interfaces of
model_executor/models/interfaces.py.

  python architectures.py 0.33.0=VLLM_DIR [OLDER_VERSION=VLLM_DIR ...] > data/vllm/architectures.csv

The first version that has a name is the one whose facts are written; the others, in falling order, only tell from and until when
it is registered and its class has pipeline support, or takes LoRA adapters.
"""
import ast
import functools
import os
import re
import sys

INTERFACES = ["SupportsPP", "IsHybrid", "IsAttentionFree", "HasInnerState", "SupportsMultiModal", "HasNoOps"]


class Tree:
    def __init__(self, root):
        self.root = root

    @functools.lru_cache(None)
    def module(self, dotted):
        """(classes, imports) of vllm.a.b, or None."""
        path = os.path.join(self.root, *dotted.split(".")[1:])
        for f in (path + ".py", os.path.join(path, "__init__.py")):
            if os.path.exists(f):
                package = dotted if f.endswith("__init__.py") else dotted.rsplit(".", 1)[0]
                text = open(f).read()
                classes = {name: re.findall(r"[\w.]+", re.sub(r"#.*|\[[^\]]*\]|\w+\s*=\s*[\w.]+", "", bases))
                           for name, bases in re.findall(r"^\s*class\s+(\w+)\s*(?:\(((?:[^()]|\([^)]*\))*)\))?\s*:", text, re.M)}
                imports = {}
                for dots, base, names in re.findall(r"^\s*from\s+(\.*)([\w.]*)\s+import\s+(\([^)]*\)|[^\n]*)", text, re.M):
                    if dots:
                        up = package.split(".")
                        up = up[: len(up) - (len(dots) - 1)]
                        base = ".".join(up + ([base] if base else []))
                    for name, other in re.findall(r"(\w+)(?:\s+as\s+(\w+))?", re.sub(r"#.*", "", names)):
                        imports[other or name] = (base, name)
                alias = dict(re.findall(r"^\s*(\w+)\s*=\s*(\w+)$", text, re.M))
                return classes, imports, alias
        return None

    @functools.lru_cache(None)
    def bases(self, dotted, name):
        """Names of all classes that `name` of module `dotted` derives from, itself included."""
        m = self.module(dotted)
        if m is None:
            return frozenset([name])
        classes, imports, alias = m
        if name in classes:
            out = {name}
            for b in classes[name]:
                out |= {b.rsplit(".", 1)[-1]} if "." in b else self.bases(dotted, b) if b != name else set()
            return frozenset(out)
        if name in imports and imports[name][0].startswith("vllm"):
            base, real = imports[name]
            if (base, real) != (dotted, name):
                return self.bases(base, real)
        if name in alias and alias[name] != name:
            return self.bases(dotted, alias[name])
        return frozenset([name])

    def passes_eplb(self, dotted):
        """Whether the module of a class (or its package) hands enable_eplb on to its MoE layers."""
        path = os.path.join(self.root, *dotted.split(".")[1:])
        if os.path.isdir(path):
            files = [os.path.join(d, f) for d, _, names in os.walk(path) for f in names if f.endswith(".py")]
        else:
            files = [path + ".py"]
        return any("enable_eplb" in open(f).read() for f in files if os.path.exists(f))

    @functools.lru_cache(None)
    def eplb(self, dotted, depth=2):
        if self.passes_eplb(dotted):
            return True
        m = self.module(dotted)
        if m is None or depth == 0:
            return False
        # wrappers build a class of another model file
        return any(self.eplb(base, depth - 1) for base, name in m[1].values()
                   if base.startswith("vllm.model") and name.endswith(("ForCausalLM", "Model", "MoE", "SparseMoeBlock", "DecoderLayer"))
                   and base != dotted)

    def registry(self):
        tree = ast.parse(open(os.path.join(self.root, "model_executor/models/registry.py")).read())
        out = {}
        for n in tree.body:
            targets = n.targets if isinstance(n, ast.Assign) else [n.target] if isinstance(n, ast.AnnAssign) else []
            if not targets or not getattr(targets[0], "id", "").endswith("_MODELS") or not isinstance(n.value, ast.Dict):
                continue
            group = targets[0].id
            for k, v in zip(n.value.keys, n.value.values):
                if k is not None and isinstance(v, ast.Tuple):
                    module, cls = (e.value for e in v.elts)
                    dotted = module if module.startswith("vllm") else "vllm.model_executor.models." + module
                    out[k.value] = (group, dotted, cls)
        return out


def spans(order, have):
    """"SINCE..GONE SINCE.." of the versions that have it, in rising order."""
    out = []
    for i, v in enumerate(order):
        if v in have and (i == 0 or order[i - 1] not in have):
            out.append(v + "..")
        if v not in have and i > 0 and order[i - 1] in have:
            out[-1] += v
    return " ".join(out)


def main():
    versions = [a.split("=", 1) for a in sys.argv[1:]]
    trees = [(v, Tree(d)) for v, d in versions]
    registries = {v: t.registry() for v, t in trees}
    order = [v for v, _ in reversed(versions)]
    names = sorted({n for r in registries.values() for n in r})
    print("# What vLLM's model classes support, read off vLLM's registry and classes by tools/oracle/architectures.py.")
    print("# versions: SINCE..GONE, from the first version (of those read) that registers the name to before the one that does so no more;")
    print("# pp_versions, lora_versions: the same of SupportsPP, SupportsLoRA. Read: " + " ".join(v for v, _ in reversed(versions)) + ".")
    print("# eplb: the class, or the one it wraps, hands enable_eplb on to its MoE layers.")
    print("# kind: text, multimodal, draft, pooling, transformers (served by Hugging Face's own model code).")
    print("architecture,module,class,kind,supports_pp,is_hybrid,is_attention_free,has_inner_state,supports_multimodal,has_noops,versions,pp_versions,lora_versions,eplb")
    for name in names:
        facts = None
        have, pp, lora = [], [], []
        for v, t in trees:
            if name not in registries[v]:
                continue
            group, dotted, cls = registries[v][name]
            b = t.bases(dotted, cls)
            if facts is None:
                kind = ("draft" if "SPECULATIVE" in group else "multimodal" if "MULTIMODAL" in group else
                        "transformers" if "TRANSFORMERS" in group else "text" if "TEXT_GENERATION" in group else "pooling")
                facts = [dotted.rsplit(".", 1)[-1], cls, kind] + [str(int(i in b)) for i in INTERFACES]
                eplb = str(int(t.eplb(dotted)))
            have.append(v)
            if "SupportsPP" in b:
                pp.append(v)
            if "SupportsLoRA" in b:
                lora.append(v)
        print(",".join([name] + facts + [spans(order, have), spans(order, pp), spans(order, lora), eplb]))


if __name__ == "__main__":
    main()
