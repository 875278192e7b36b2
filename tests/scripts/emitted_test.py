"""Runs offline_data_parallel.py of several plans, with a stand-in for vLLM. Usage: emitted_test.py SHARDWISE"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).parent
SHARDWISE = sys.argv.pop(1)
FOLDERS = tempfile.TemporaryDirectory(prefix="emitted-")


def emitted(model, gpus, *flags):
    folder = tempfile.mkdtemp(dir=FOLDERS.name)
    subprocess.run([SHARDWISE, "plan", model, "--gpus", gpus, "--no-explain", "--simulate", "0", "--emit", folder, "--", *flags],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return pathlib.Path(folder, "offline_data_parallel.py")


class Offline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dense = emitted("Qwen3-8B", "4xH100", "-tp", "2", "-dp", "2")
        cls.experts = emitted("Qwen3-30B-A3B", "2x2xH100", "-tp", "1", "-dp", "4", "-ep")

    def run_script(self, script, *arguments, stub="", env=()):
        env = os.environ | {"PYTHONPATH": str(HERE / "stub"), "STUB": stub} | dict(env)
        return subprocess.run([sys.executable, script, *arguments], env=env, capture_output=True, text=True, timeout=60)

    def answers(self, *arguments, **more):
        done = self.run_script(*arguments, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("INFO a worker starts", done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def prompts(self, data):
        path = pathlib.Path(tempfile.mkdtemp(dir=FOLDERS.name), "prompts.txt")
        path.write_bytes(data)
        return str(path)

    def test_ranks_of_a_dense_model_have_their_own_gpus(self):
        for visible, expected in ((None, ["0,1", "2,3"]), ("4,5,6,7", ["4,5", "6,7"])):
            env = {"CUDA_VISIBLE_DEVICES": visible} if visible else {}
            seen = {a["rank"]: json.loads(a["answer"]) for a in self.answers(self.dense, "--max-tokens", "7", env=env)}
            self.assertEqual([seen[rank]["CUDA_VISIBLE_DEVICES"] for rank in (0, 1)], expected)
            self.assertNotIn("VLLM_DP_RANK", seen[0])
            self.assertEqual((seen[0]["tokens"], seen[0]["tp"], seen[0]["model"]), (7, 2, "Qwen/Qwen3-8B"))

    def test_vllms_own_form(self):
        forms = (["--node-size", "2", "--node-rank", "1", "--master-addr", "10.0.0.1", "--master-port", "5555",
                  "--dp-size", "4", "--tp-size", "1", "--model", "/models/m", "--timeout", "50"],
                 ["--dp-num-nodes=2", "--dp-node-rank=1", "--dp-master-addr=10.0.0.1", "--dp-master-port=5555", "-dp=4", "-tp=1",
                  "--model=/models/m"])
        for form in forms:
            seen = {a["rank"]: json.loads(a["answer"]) for a in self.answers(self.experts, *form)}
            self.assertEqual(sorted(seen), [2, 3])
            for rank in (2, 3):
                self.assertEqual(
                    {name: seen[rank][name] for name in seen[rank] if name.startswith("VLLM_DP")},
                    {"VLLM_DP_RANK": str(rank), "VLLM_DP_RANK_LOCAL": str(rank - 2), "VLLM_DP_SIZE": "4",
                     "VLLM_DP_MASTER_IP": "10.0.0.1", "VLLM_DP_MASTER_PORT": "5555"})
                self.assertEqual(seen[rank]["model"], "/models/m")

    def test_what_does_not_go_together_is_refused(self):
        for arguments, says in ((["--node-rank", "2"], "--node-rank 2: the plan has nodes 0 to 1"),
                                (["--node-rank", "-1"], "--node-rank -1"),
                                (["--dp-size", "8"], "--dp-size 8: the plan has 4"),
                                (["--tp-size", "2"], "--tp-size 2: the plan has 1"),
                                (["--node-size", "1"], "--node-size 1: the plan has 2"),
                                (["--prompts", "/no/such"], "No such file"),
                                (["--prompts", self.prompts(b"one\ncaf\xe9\n")], "prompts.txt:2: byte 4 is not UTF-8"),
                                (["--prompts", self.prompts(b"\r\n \n")], "no line that is not empty")):
            done = self.run_script(self.experts, *arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(says, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_every_prompt_is_answered_once_however_lines_end(self):
        for data in (b"a\nb\nc\n", b"a\r\nb\r\n\r\nc", b"a\rb\rc\r", b"\xef\xbb\xbfa\nb\nc"):
            got = self.answers(self.dense, "--prompts", self.prompts(data))
            self.assertEqual(sorted(a["prompt"] for a in got), ["a", "b", "c"])
        got = self.answers(self.dense, "--prompts", self.prompts("gr\u00fc\u00dfe".encode()))
        self.assertEqual([(a["rank"], a["prompt"]) for a in got], [(0, "gr\u00fc\u00dfe")])

    def test_a_rank_that_dies_ends_the_others(self):
        begin = time.monotonic()
        done = self.run_script(self.experts, stub="die 1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("data-parallel rank 1 ended with exit code 3", done.stderr)
        self.assertLess(time.monotonic() - begin, 30)

    def test_a_rank_that_hangs_is_ended(self):
        done = self.run_script(self.experts, "--timeout", "2", stub="hang")
        self.assertEqual(done.returncode, 1)
        self.assertIn("still runs after 2 s", done.stderr)


if __name__ == "__main__":
    unittest.main()
