"""Judges launch folders by the programs that will read them. Usage: judge_launch_files.py FOLDER...

Every shell text runs in an empty folder whose PATH holds a stand-in for vllm (and env, which scripts call) alone: it must
call vllm with the words of manifest.json and leave nothing behind. YAML, Python and JSON are read by their own loaders and
must hold the same words; lines of nginx and Slurm must be of the forms that we write. nginx itself is asked where it is
installed."""
import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    yaml = None
    print("skipped: PyYAML is not installed; Compose and Kubernetes files are not read")

BASH = shutil.which("bash")
NGINX = shutil.which("nginx")
# Each call has a file of its own; where several run at once, none ends before all have written theirs.
STUB = '#!/bin/bash\nprintf "%s\\0" vllm "$@" > "$CALLS/$$"\nexec 3<> <(:)\n[ "$LINGER" = 0 ] || read -rt "$LINGER" -u 3\n'


class Bad(Exception):
    pass


def expect(condition, what):
    if not condition:
        raise Bad(what)


def text_of(path):
    return path.read_bytes().decode("utf-8", "replace")


def run_in_sandbox(arguments, env=(), linger="0"):
    """What `bash arguments` calls vllm with; Bad if it leaves a file behind."""
    with tempfile.TemporaryDirectory() as folder:
        bin_folder, empty, calls = (pathlib.Path(folder, name) for name in ("bin", "empty", "calls"))
        for path in (bin_folder, empty, calls):
            path.mkdir()
        (bin_folder / "vllm").write_text(STUB)
        (bin_folder / "vllm").chmod(0o755)
        (bin_folder / "env").symlink_to(shutil.which("env"))
        subprocess.run([BASH, *arguments], cwd=empty, env={"PATH": str(bin_folder), "CALLS": str(calls), "LINGER": linger} | dict(env),
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)
        left = os.listdir(empty)
        expect(not left, f"{arguments}: leaves {sorted(left)} behind")
        return [call.read_bytes().decode("utf-8", "replace").split("\0")[:-1] for call in calls.iterdir()]


def judge_shell(path, manifest):
    done = subprocess.run([BASH, "-n", path], capture_output=True, text=True, errors="replace")
    expect(done.returncode == 0, f"{path}: {done.stderr}")
    if path.name == "preflight.sh":
        for node in {str(launch["node"]) for launch in manifest["launch"]}:
            run_in_sandbox([str(path), node])
        return
    if path.name == "plan.sbatch":
        for line in text_of(path).split("\n"):
            if line.startswith("#SBATCH"):
                expect(re.fullmatch(r"#SBATCH --(job-name=[a-z0-9-]+|nodes=\d+|ntasks-per-node=1|gpus-per-node=\d+|exclusive|"
                                    r"nodelist=[A-Za-z0-9._:,-]+)", line), f"{path}: {line}")
        run_in_sandbox([str(path)])
        return
    node = int(re.fullmatch(r"run-node(\d+)\.sh", path.name)[1])
    expected = sorted(launch["command"] for launch in manifest["launch"] if launch["node"] == node)
    got = sorted(run_in_sandbox([str(path)], linger="0" if len(expected) == 1 else "1"))
    expect(got == expected, f"{path}: calls {got}, not {expected}")


def compose_value(text):
    """What Compose makes of a value: $$ and ${X:-default}."""
    text = re.sub(r"(?<!\$)((?:\$\$)*)\$\{\w+:-([^{}$]*)\}", r"\1\2", text)
    expect("$" not in text.replace("$$", ""), f"a value that Compose expands: {text}")
    return text.replace("$$", "$")


def judge_compose(path, manifest):
    node = int(re.fullmatch(r"compose\.node(\d+)\.yaml", path.name)[1])
    launches = [launch for launch in manifest["launch"] if launch["node"] == node]
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    expect(len(services) == len(launches), f"{path}: {len(services)} services")
    for service, launch in zip(services.values(), launches):
        got = [compose_value(word) for word in service["command"]]
        expect(got == launch["command"][2:], f"{path}: {got}, not {launch['command'][2:]}")
        known = {"image", "entrypoint", "command", "network_mode", "ipc", "ulimits", "environment", "volumes", "devices", "group_add",
                 "security_opt", "cap_add", "deploy", "restart", "working_dir"}
        expect(set(service) <= known, f"{path}: {sorted(service)}")


def judge_kubernetes(path, manifest):
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    expect([d["kind"] for d in documents] == ["LeaderWorkerSet", "Service"], f"{path}: {[d['kind'] for d in documents]}")
    template = documents[0]["spec"]["leaderWorkerTemplate"]
    commands = [launch["command"] for launch in manifest["launch"]]
    for index, part in enumerate(("leaderTemplate", "workerTemplate")):
        container = template[part]["spec"]["containers"][0]
        expect(container["command"] == ["/bin/bash", "-c"] and len(container["args"]) == 1, f"{path}: {container['command']}")
        env = {"LWS_LEADER_ADDRESS": "leader", "LWS_WORKER_INDEX": str(index)}
        line = container["args"][0]
        expect(not re.search(r"(?<!\$)(\$\$)*\$\(\w", line), f"{path}: Kubernetes expands {line}")
        got = run_in_sandbox(["-c", line.replace("$$", "$")], env=env)
        expect(len(got) == 1, f"{path}: {len(got)} commands")
        own = {"--data-parallel-address", "--master-addr", "--node-rank", "--data-parallel-start-rank"}
        plain = lambda words: [w for at, w in enumerate(words) if at == 0 or words[at - 1] not in own]
        expect(any(plain(got[0]) == plain(command) for command in commands), f"{path}: {got[0]}")


def judge_python(path, manifest):
    source = path.read_bytes()
    tree = ast.parse(source)
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    model = next(ast.literal_eval(k.value) for k in values["ENGINE"].keywords if k.arg == "model")
    expect(os.fsencode(model).decode("utf-8", "replace") == manifest["model"], f"{path}: {model!r}")
    names = {type(node).__name__ for node in tree.body}
    expect(names <= {"Expr", "Import", "ImportFrom", "Assign", "FunctionDef", "If"}, f"{path}: {names}")
    for keyword in values["ENGINE"].keywords:
        calls = [n for n in ast.walk(keyword.value) if isinstance(n, ast.Call)]
        expect(all(ast.unparse(c.func) == "json.loads" for c in calls), f"{path}: {ast.unparse(keyword)}")


def judge_router(path, manifest):
    lines = [line for line in text_of(path).split("\n") if line.startswith("    server ")]
    serving = [launch for launch in manifest["launch"] if "port" in launch]
    expect(len(lines) == len(serving), f"{path}: {lines}")
    for line in lines:
        expect(re.fullmatch(r"    server ([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):\d+;", line), f"{path}: {line}")
    if NGINX:
        with tempfile.TemporaryDirectory() as folder:
            conf = pathlib.Path(folder, "nginx.conf")
            hosts = re.sub(r"server [A-Za-z0-9._-]+:", "server 127.0.0.1:", text_of(path))  # nginx looks names up
            conf.write_text(f"pid {folder}/pid;\nerror_log {folder}/log;\nevents {{}}\nhttp {{ access_log off;\n{hosts}\n}}\n")
            done = subprocess.run([NGINX, "-t", "-p", folder, "-c", conf], capture_output=True, text=True)
            expect(done.returncode == 0, f"{path}: {done.stderr}")


def judge_markdown(path, manifest):
    if path.name == "README.md":  # the command of ray.md is of the bytes that it needs
        text = path.read_bytes().decode("utf-8")
        expect(not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), f"{path}: control characters")
        rows = [line for line in text.split("\n") if re.match(r"\| \d+ \|", line)]
        expect(len(rows) == len(manifest["launch"]), f"{path}: {rows}")
        expect(len([line for line in text.split("\n") if line.startswith("# ")]) == 1, f"{path}: headings")


def judge(folder):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    expect(sorted(manifest["files"]) == sorted(p.name for p in folder.iterdir()), f"{folder}: files")
    for path in sorted(folder.iterdir()):
        if path.suffix in (".sh", ".sbatch"):
            judge_shell(path, manifest)
        elif path.suffix == ".yaml" and yaml:
            (judge_compose if path.name.startswith("compose") else judge_kubernetes)(path, manifest)
        elif path.suffix == ".py":
            judge_python(path, manifest)
        elif path.suffix == ".conf":
            judge_router(path, manifest)
        elif path.suffix == ".md":
            judge_markdown(path, manifest)


def main():
    if not NGINX:
        print("skipped: nginx is not installed; router.conf is read line by line only")
    bad = 0
    for folder in sys.argv[1:]:
        try:
            judge(pathlib.Path(folder))
        except Exception as e:  # noqa: BLE001 whatever a loader says
            print(f"{folder}: {type(e).__name__}: {e}")
            bad += 1
    print(f"{len(sys.argv) - 1} folders, {bad} bad")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
