"""The scripts of tools/ still fit together: --help of each, calls that match what they call, and small real runs of those
that need no vLLM. What a script imports and this machine lacks is stood in for. Usage: tools_test.py SHARDWISE"""
import ast
import inspect
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types
import unittest

HERE = pathlib.Path(__file__).resolve()
TOOLS = HERE.parents[2] / "tools"
GOLDEN = HERE.parents[1] / "golden"
LACKING = ("torch", "vllm", "numpy", "scipy", "pyarrow", "matplotlib", "transformers", "huggingface_hub", "emulated_node", "emulated_model")
sys.path.append(str(TOOLS / "oracle"))
import default_version  # noqa: E402
import stand_ins  # noqa: E402


def stub_module(name):
    module = types.ModuleType(name)
    stub = stand_ins.Anything()
    module.__getattr__ = lambda attribute: getattr(stub, attribute)
    module.__version__, module.__file__ = "0.0.0", "/nowhere/__init__.py"
    return module


def run_stubbed(script, *arguments, modules=""):
    """Runs a script as itself where LACKING is stood in for; `modules` is Python that runs first."""
    code = (f"import runpy, sys; sys.path[:0] = [{str(HERE.parent)!r}]; sys.argv = sys.argv[:1]; import tools_test as t\n"
            f"sys.meta_path.insert(0, t.stand_ins.Finder(t.LACKING, t.stub_module)); sys.path[0] = {str(script.parent)!r}\n{modules}\n"
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

    def compare(self, recorded, new, *more):
        """compare.py's exit status and last line for cases {id: (version, answer)}."""
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for cases in (recorded, new):
                paths.append(pathlib.Path(folder, f"{len(paths)}.jsonl"))
                paths[-1].write_text("".join(json.dumps({"id": name, "input": {"vllm_version": version}, "expect": {"n": answer}}) + "\n"
                                             for name, (version, answer) in cases.items()))
            done = subprocess.run([sys.executable, TOOLS / "oracle" / "compare.py", *paths, *more], capture_output=True, text=True)
            return done.returncode, done.stdout.splitlines()[-1]

    def test_what_compare_says(self):
        two = {"a": ("1.0.0", 1), "b": ("2.0.0", 2)}
        for recorded, new, status, says in (
                (two, {"a": ("1.0.0", 1)}, 0, "1 of 1 agree"),  # of another version: not counted
                (two, {"a": ("1.0.0", 3)}, 1, "0 of 1 agree: n 1"),
                (two | {"c": ("1.0.0", 3)}, {"a": ("1.0.0", 1)}, 1, "1 of 1 agree, 1 were not asked"),
                (two, {"a": ("3.0.0", 1)}, 0, "1 of 1 agree"),  # nothing recorded from 3.0.0: what it says to the same question
                (two, {"a": ("3.0.0", 2)}, 1, "0 of 1 agree: n 1"),
                (two, {}, 1, "nothing to compare: 2 recorded answers, 0 new ones"),
                ({}, two, 1, "nothing to compare: 0 recorded answers, 2 new ones"),
                (two, {"x": ("1.0.0", 1)}, 1, "nothing to compare: 2 recorded answers, 1 new ones")):
            self.assertEqual(self.compare(recorded, new), (status, says), (recorded, new))

    def new_version(self, parts, **scripts):
        """new_version.sh among scripts that say what they are given here, or nothing; its exit status and its report's end."""
        with tempfile.TemporaryDirectory() as folder:
            root, work = pathlib.Path(folder, "root"), pathlib.Path(folder, "work")
            for path in ("tools/oracle", "src/base", "data/vllm", "work/env/bin"):
                (root / path if path != "work/env/bin" else pathlib.Path(folder, path)).mkdir(parents=True)
            for path in ("tools/oracle/new_version.sh", "tools/oracle/default_version.py", "src/base/version.cc",
                         "data/vllm/arguments.csv", "data/vllm/config_fields.csv"):
                shutil.copy(TOOLS.parent / path, root / path)
            (work / "env/bin/python").symlink_to(sys.executable)
            facts = "import sys; open(sys.argv[-1], 'w').write('x')"
            given = {"install.py": "", "ask_facts.py": facts, "ask_parser.py": "import sys; open(sys.argv[1], 'w').write('x')",
                     "parser_table.py": "", "differences.py": "", "regenerate.sh": "#!/bin/sh\nexit 1\n"} | scripts
            for name, text in given.items():
                (root / "tools/oracle" / name).write_text(text)
            (root / "tools/oracle/regenerate.sh").chmod(0o755)
            done = subprocess.run([root / "tools/oracle/new_version.sh", "9.9.9", work, *parts], capture_output=True, text=True)
            report = (work / "records/9.9.9/report.txt").read_text()
            return done.returncode, report[report.rindex("\n\n"):].split("\n")[2:-1]

    def test_a_new_versions_failures_are_kept(self):
        fails, last = "import sys; sys.exit('no')", default_version.default_version()
        for parts, scripts, failed in (
                (["registry", "parser"], {}, []),
                ([], {}, []),  # recorded answers that differ are no fault
                (["registry"], {"differences.py": fails}, ["differences of registry"]),
                (["registry"], {"ask_facts.py": fails}, [f"registry of {last}"]),
                (["parser"], {"ask_parser.py": fails}, ["parser of 9.9.9"]),
                (["parser"], {"parser_table.py": fails}, ["parser tables of 9.9.9"]),
                (["no_such_part"], {"regenerate.sh": "#!/bin/sh\nexit 2\n"}, ["answers"])):
            status, end = self.new_version(parts, **scripts)
            self.assertEqual((status, end), (bool(failed), ["failed:", *("  " + f for f in failed)] if failed else ["nothing failed"]), (parts, scripts))

    def test_models_are_laid_out(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, TOOLS / "oracle" / "models.py", folder], check=True)
            configs = sorted(pathlib.Path(folder).glob("*/config.json"))
            self.assertEqual(len(configs), len(list((TOOLS.parent / "data" / "models").glob("*.json"))))
            self.assertTrue(all(json.loads(c.read_text()) for c in configs))

    def test_hybrid_plans_stand(self):
        done = subprocess.run([sys.executable, TOOLS / "oracle" / "hybrid_plans.py", SHARDWISE, "--n", "12"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-800:] + done.stderr[-800:])
        self.assertIn("stands", done.stdout)

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
