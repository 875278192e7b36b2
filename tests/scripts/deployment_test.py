"""check --from: what `plan --emit` writes works together; with one flag of one node changed it does not, and the answer names the
line. Commands of others, as people write them. Usage: deployment_test.py SHARDWISE"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SHARDWISE = sys.argv.pop(1)
FOLDERS = tempfile.TemporaryDirectory(prefix="deployment-")

PLANS = [("Llama-3.1-70B", "2x8xH100", ["-tp", "8", "-pp", "2"]),
         ("Llama-3.1-70B", "2x8xH100", ["-tp", "4", "-dp", "4"]),
         ("DeepSeek-V3", "2x8xH200", ["-tp", "1", "-dp", "16", "-ep"]),
         ("DeepSeek-V3", "2x8xH200", ["-tp", "16"]),
         ("DeepSeek-V3", "4x8xH200", ["-tp", "16", "-dp", "2", "-ep"]),
         ("DeepSeek-V3", "3x8xH200", ["-tp", "8", "-dp", "3", "-ep"]),
         ("Qwen3-32B", "8xH100", ["-tp", "2", "-dp", "4"]),
         ("Qwen3-8B", "1xH100", []),
         ("Qwen3-32B", "2x8xH100", []),
         ("Qwen3-30B-A3B", "2x4xMI300X", ["-tp", "1", "-dp", "8", "-ep"])]


def check(path, *more):
    done = subprocess.run([SHARDWISE, "check", "--from", path, "--json", *more], capture_output=True, text=True)
    assert done.returncode in (0, 1), (done.returncode, done.stdout, done.stderr)
    answer = json.loads(done.stdout)
    assert answer["works"] == (done.returncode == 0)
    return answer


def folder(**files):
    path = pathlib.Path(tempfile.mkdtemp(dir=FOLDERS.name))
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def problems(answer):
    return [f"{p['file']}:{p['line']}: {p['message']}" for form in answer["forms"] for p in form["problems"]]


HEAD = """#!/bin/bash
export HEAD_IP=10.0.0.1
ARGS=(--data-parallel-size 16 --data-parallel-size-local 8
      --enable-expert-parallel)
# the head
vllm serve deepseek-ai/DeepSeek-V3 "${ARGS[@]}" \\
    --data-parallel-address $HEAD_IP \\
    --data-parallel-rpc-port 13345{more} 2>&1 | tee log.txt
"""
FOLLOWER = """#!/bin/bash
exec vllm serve deepseek-ai/DeepSeek-V3 --data-parallel-size 16 --data-parallel-size-local 8 --enable-expert-parallel \\
    --headless --data-parallel-start-rank {start} --data-parallel-address {address} --data-parallel-rpc-port {port}
"""


class Deployment(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.plans = []
        for model, gpus, flags in PLANS:
            path = pathlib.Path(tempfile.mkdtemp(dir=FOLDERS.name))
            subprocess.run([SHARDWISE, "plan", model, "--gpus", gpus, "--no-explain", "--simulate", "0", "--emit", path, "--", *flags],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            cls.plans.append((gpus, path))

    def test_what_plan_writes_works(self):
        for gpus, path in self.plans:
            for more in ([], ["--gpus", gpus]):
                answer = check(path, *more)
                self.assertEqual(problems(answer), [], path)
                forms = [form["form"] for form in answer["forms"]]
                self.assertIn("shell", forms)
                self.assertIn("Compose", forms)

    def test_one_flag_changed_is_found_at_its_line(self):
        changed = 0
        for _, path in self.plans:
            scripts = sorted(path.glob("run-node*.sh"))
            if len(scripts) < 2:
                continue
            texts = [script.read_text() for script in scripts]
            last = texts[-1].splitlines()
            for number, line in enumerate(last):
                found = re.match(r"    (--[a-z-]+)( \S+)? ?\\?", line)
                if not found or found[1] in ("--expert-placement-strategy", "--max-num-seqs"):
                    continue
                flag, value = found[1], (found[2] or "").strip()
                if value.isdigit():
                    other = f"    {flag} {int(value) * 2 + 1} \\"
                elif "NODE0" in value:
                    other = f"    {flag} elsewhere \\"
                elif not value:
                    other = "    \\"
                else:
                    continue
                copy = folder(**{s.name.replace(".", "__"): t for s, t in zip(scripts, texts)})
                (copy / scripts[-1].name).write_text("\n".join(last[:number] + [other] + last[number + 1:]) + "\n")
                lines = problems(check(copy))
                self.assertTrue(lines, f"{path} {line}")
                if value:
                    near = [p for p in lines if p.startswith(f"{scripts[-1].name}:{number + 1}:")]
                    self.assertTrue(near or flag.replace("--", "") in "".join(lines), f"{line}\n" + "\n".join(lines))
                changed += 1
        self.assertGreater(changed, 40)

    def test_a_pair(self):
        for more, start, address, port, says in (
                ("", 8, "10.0.0.1", 13345, None),
                (" --data-parallel-start-rank 0", 8, "10.0.0.1", 13345, "follower.sh:3: --headless, but the head"),
                ("", 0, "10.0.0.1", 13345, "starts data-parallel rank 0, which head.sh:6 starts"),
                ("", 4, "10.0.0.1", 13345, "starts data-parallel rank 4, which head.sh:6 starts"),
                ("", 12, "10.0.0.1", 13345, "starts data-parallel ranks 12 to 19, of 16"),
                ("", 8, "10.0.0.2", 13345, "--data-parallel-address is 10.0.0.2 here, 10.0.0.1 at head.sh"),
                ("", 8, "127.0.0.1", 13345, "another machine on every node"),
                ("", 8, "10.0.0.1", 13346, "--data-parallel-rpc-port is 13346 here, 13345 at head.sh:8"),
                (" --max-model-len 8192", 8, "10.0.0.1", 13345, "--max-model-len is not given here, 8192 at head.sh:8")):
            path = folder(head__sh=HEAD.replace("{more}", more), follower__sh=FOLLOWER.format(start=start, address=address, port=port))
            found = problems(check(path))
            if says is None:
                self.assertEqual(found, [])
            else:
                self.assertTrue(any(says in p for p in found), f"{says}\n" + "\n".join(found))

    def test_a_start_rank_of_0_is_given_from_028_on(self):
        path = folder(head__sh=HEAD.replace("{more}", " --data-parallel-start-rank 0"),
                      follower__sh=FOLLOWER.format(start=8, address="10.0.0.1", port=13345))
        self.assertEqual(problems(check(path, "--vllm", "0.27.0")), [])
        self.assertNotEqual(problems(check(path, "--vllm", "0.28.0")), [])

    def test_nobody_starts_the_rest(self):
        path = folder(head__sh=HEAD.replace("{more}", ""))
        self.assertTrue(any("nobody starts data-parallel ranks 8 to 15" in p for p in problems(check(path))))
        path = folder(follower__sh=FOLLOWER.format(start=8, address="10.0.0.1", port=13345))
        self.assertTrue(any("no command leads" in p for p in problems(check(path))))

    def test_slurm(self):
        branches = """#!/bin/bash
#SBATCH --nodes=2
HEAD=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n1)
export HEAD
srun bash -c '
if [ "$SLURM_NODEID" -eq 0 ]; then
  vllm serve meta-llama/Llama-3.1-70B -tp 8 -pp 2 --nnodes 2 --node-rank 0 --master-addr $HEAD
else
  vllm serve meta-llama/Llama-3.1-70B -tp 8 -pp 2 --nnodes 2 --node-rank {rank} --master-addr $HEAD --headless
fi'
"""
        self.assertEqual(problems(check(folder(job__sbatch=branches.format(rank=1)))), [])
        found = problems(check(folder(job__sbatch=branches.format(rank=0))))
        self.assertTrue(any(p.startswith("job.sbatch:9: --node-rank 0 is here and at job.sbatch:7") for p in found), found)

    def test_as_others_write_it(self):
        """Each file says how many commands it has; all work."""
        loops = """#!/bin/bash
#SBATCH --nodes=3
nodes=( $( scontrol show hostnames $SLURM_JOB_NODELIST ) )
head_node=${nodes[0]}
MODEL=deepseek-ai/DeepSeek-V3
COMMON="-dp 24 --data-parallel-size-local 8 -ep --data-parallel-address $head_node --data-parallel-rpc-port 13345"
srun --nodes=1 --ntasks=1 -w "$head_node" vllm serve $MODEL $COMMON > head.log 2>&1 &
for i in $(seq 1 2); do
  srun --nodes=1 -w "${nodes[$i]}" \\
    vllm serve $MODEL $COMMON --headless --data-parallel-start-rank $((i * 8)) > w$i.log 2>&1 &
done
wait
"""
        remote = """ssh node0 "vllm serve Qwen/Qwen3-32B -tp 8 -pp 2 --nnodes 2 --node-rank 0 --master-addr node0" &
ssh node1 bash -s <<EOF
vllm serve Qwen/Qwen3-32B -tp 8 -pp 2 --nnodes 2 --node-rank 1 --master-addr node0 --headless
EOF
"""
        docker = """docker run --gpus all -e VLLM_USE_V1=1 --network host \\
   vllm/vllm-openai:v0.30.0 --model Qwen/Qwen3-8B --tensor-parallel-size 2
"""
        ray = """apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: vllm}
spec:
  leaderWorkerTemplate:
    size: 2
    leaderTemplate:
      spec:
        containers:
          - name: leader
            image: vllm/vllm-openai:latest
            command: [sh, -c, "bash serving.sh leader --ray_cluster_size=$(LWS_GROUP_SIZE);
                vllm serve org/m --port 8080 --tensor-parallel-size 8 --pipeline_parallel_size 2 --distributed-executor-backend ray"]
    workerTemplate:
      spec:
        containers:
          - {name: worker, image: "vllm/vllm-openai:latest", command: [sh, -c, "bash serving.sh worker"]}
"""
        for name, text, count in (("job.sh", loops, 3), ("start.sh", remote, 2), ("run.sh", docker, 1), ("lws.yaml", ray, 1)):
            answer = check(folder(**{name.replace(".", "__"): text}))
            self.assertEqual(problems(answer), [], name)
            self.assertEqual([len(form["commands"]) for form in answer["forms"]], [count], name)

    def test_kubernetes(self):
        text = next(path for gpus, path in self.plans if gpus == "2x8xH200").joinpath("leader_worker_set.yaml").read_text()
        for old, new, says in (("", "", None),
                               (re.search("image: .*", text)[0], "image: vllm/vllm-openai:v0.30.0", "engines and front end of different releases"),
                               ("--headless ", "", "--headless"),
                               ("size: 2", "size: 3", "data-parallel"),
                               ("nvidia.com/gpu: 8", "nvidia.com/gpu: 4", "needs 8 GPUs, its container asks for 4")):
            changed = text.replace(old, new, 1) if old else text
            found = problems(check(folder(lws__yaml=changed)))
            self.assertEqual(not found, says is None, f"{old}: {found}")
            if says:
                self.assertTrue(any(says in p for p in found), f"{says}: {found}")

    def test_compose_as_others_write_it(self):
        text = """services:
  a:
    image: vllm/vllm-openai:v0.32.0
    command: --model Qwen/Qwen3-8B --port {one}
    network_mode: host
  b:
    image: vllm/vllm-openai:v0.32.0
    command: ["--model", "Qwen/Qwen3-8B", "--port", "8001"]
    network_mode: host
"""
        self.assertEqual(problems(check(folder(compose__yaml=text.format(one=8000)))), [])
        found = problems(check(folder(compose__yaml=text.format(one=8001))))
        self.assertTrue(any("port 8001 is that of compose.yaml:" in p for p in found), found)

    def test_commands_behind_node(self):
        def ask(*words):
            done = subprocess.run([SHARDWISE, "check", "Llama-3.1-70B", "--json", *words], capture_output=True, text=True)
            return problems(json.loads(done.stdout))
        both = ["-tp", "8", "-pp", "2", "--nnodes", "2", "--master-addr", "10.0.0.1"]
        one = ["--node", "0", "--", *both, "--node-rank", "0", "--node", "1", "--", *both, "--node-rank", "1"]
        self.assertEqual(ask(*one, "--headless"), [])
        self.assertTrue(any("serves nobody" in p for p in ask(*one)))

    def test_nothing_there(self):
        done = subprocess.run([SHARDWISE, "check", "--from", folder(notes__sh="echo hello\n")], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no `vllm serve` in it", done.stderr)


if __name__ == "__main__":
    unittest.main()
