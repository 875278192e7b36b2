"""The scripts of tools/ still fit together: --help of each, calls that match what they call, and small real runs of those
that need no vLLM. What a script imports and this machine lacks is stood in for. Usage: tools_test.py SHARDWISE"""
import ast
import importlib.machinery
import inspect
import json
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest

HERE = pathlib.Path(__file__).resolve()
TOOLS = HERE.parents[2] / "tools"
GOLDEN = HERE.parents[1] / "golden"
LACKING = ("torch", "vllm", "numpy", "scipy", "pyarrow", "matplotlib", "transformers", "huggingface_hub", "emulated_node", "emulated_model")


class Anything(type):
    """A class that stands for any attribute of a module that is not there."""
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __iter__(cls):
        return iter(())

    def __getitem__(cls, key):
        return cls

    def __or__(cls, other):
        return cls

    def __ror__(cls, other):
        return cls

    for name in ("add", "sub", "mul", "truediv", "pow", "radd", "rsub", "rmul", "rtruediv", "rpow", "neg"):
        locals()[f"__{name}__"] = lambda cls, *other: cls

    def __call__(cls, *words, **more):
        if len(words) == 1 and isinstance(words[0], types.FunctionType):
            return words[0]  # a decorator
        return cls if cls is Stub else super().__call__(*words, **more)


class Stub(metaclass=Anything):
    pass


class Finder:
    """Imports LACKING and everything below as modules of stubs."""
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in LACKING:
            return importlib.machinery.ModuleSpec(name, Finder, is_package=True)

    @staticmethod
    def create_module(spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: getattr(Stub, name)
        module.__version__, module.__file__ = "0.0.0", "/nowhere/__init__.py"
        return module

    @staticmethod
    def exec_module(module):
        pass


def run_stubbed(script, *arguments, modules=""):
    """Runs a script as itself where LACKING is stood in for; `modules` is Python that runs first."""
    code = (f"import runpy, sys; sys.path[:0] = [{str(HERE.parent)!r}]; sys.argv = sys.argv[:1]; import tools_test as t\n"
            f"sys.meta_path.insert(0, t.Finder); sys.path[0] = {str(script.parent)!r}\n{modules}\n"
            f"sys.argv = {[str(script), *map(str, arguments)]!r}; runpy.run_path(sys.argv[0], run_name='__main__')")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def scripts():
    return sorted(TOOLS.glob("*/*.py"))


def functions(path):
    """name -> signature of the functions that a file defines at its top."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            node.body, node.returns = [ast.Pass()], None
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            node.args.defaults = [ast.Constant(None)] * len(node.args.defaults)
            node.args.kw_defaults = [d and ast.Constant(None) for d in node.args.kw_defaults]
            scope = {}
            exec(compile(ast.fix_missing_locations(ast.Module([node], [])), str(path), "exec"), scope)
            found[node.name] = inspect.signature(scope[node.name])
    return found


def known_calls(path):
    """Calls of functions of the file and of its neighbours: (line, name, signature, call)."""
    tree = ast.parse(path.read_text())
    names, modules = dict(functions(path)), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (near := path.parent / f"{alias.name}.py").exists():
                    modules[alias.asname or alias.name] = functions(near)
        if isinstance(node, ast.ImportFrom) and (near := path.parent / f"{node.module}.py").exists():
            names |= {a.asname or a.name: functions(near).get(a.name) for a in node.names}
    shadowed = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    shadowed |= {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id not in shadowed:
            yield node.lineno, node.func.id, names.get(node.func.id), node
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id not in shadowed:
            yield node.lineno, node.func.attr, modules.get(node.func.value.id, {}).get(node.func.attr), node


class Tools(unittest.TestCase):
    def test_calls_match_what_they_call(self):
        checked = 0
        for path in scripts():
            for line, name, signature, call in known_calls(path):
                if signature is None or any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
                    continue
                try:
                    signature.bind(*call.args, **{k.arg: k.value for k in call.keywords})
                except TypeError as e:
                    self.fail(f"{path}:{line}: {name}(): {e}")
                checked += 1
        self.assertGreater(checked, 300)

    def test_help(self):
        asked = 0
        for path in scripts():
            if "ArgumentParser" not in path.read_text() or path.name == "arguments.py":
                continue
            with self.subTest(path.name):
                done = run_stubbed(path, "--help")
                self.assertEqual(done.returncode, 0, f"{path.name}: {done.stderr[-800:]}")
                self.assertIn("usage:", done.stdout)
                asked += 1
        self.assertGreater(asked, 10)

    def test_compare_a_recording_with_itself(self):
        recording = GOLDEN / "legality" / "legality.jsonl"
        done = subprocess.run([sys.executable, TOOLS / "oracle" / "compare.py", recording, recording, "--whole"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-500:] + done.stderr[-500:])

    def test_models_are_laid_out(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, TOOLS / "oracle" / "models.py", folder], check=True)
            configs = sorted(pathlib.Path(folder).glob("*/config.json"))
            self.assertEqual(len(configs), len(list((TOOLS.parent / "data" / "models").glob("*.json"))))
            self.assertTrue(all(json.loads(c.read_text()) for c in configs))

    def test_differential(self):
        """As something that refuses, or accepts with another world size, whatever it is asked."""
        for answer in ({"accept": False, "where": "x", "error": "ValueError", "message": ""}, {"accept": True, "world_size": -1}):
            modules = ("m = t.types.ModuleType('ask_legality'); sys.modules['ask_legality'] = m\n"
                       f"m.ask = lambda given, folder: {answer} if given['args'] else {{'accept': True}}\n"
                       "m = t.types.ModuleType('emulated_node'); sys.modules['emulated_node'] = m\n"
                       "m.vllm_version = lambda: '0.32.0'")
            done = run_stubbed(TOOLS / "oracle" / "differential.py", SHARDWISE, "--n", 6, "--seed", 1, "--models", 3, modules=modules)
            self.assertRegex(done.stdout, r"\d of 6 agree in verdict and values", done.stderr[-800:])
            self.assertEqual("\n0 of 6" in done.stdout, answer["accept"], done.stdout)
            self.assertEqual(done.returncode, "\n6 of 6" not in done.stdout)


if __name__ == "__main__":
    SHARDWISE = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
