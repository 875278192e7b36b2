"""What becomes of an answer that cannot be written, and of one that goes to a terminal. Usage: output_test.py SHARDWISE"""
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import unittest

SHARDWISE = sys.argv.pop(1)
HERE = pathlib.Path(__file__).parent
CASES = HERE.parent / "cases"
PLAN = ["plan", "Qwen3-8B", "--gpus", "2xH100", "--no-explain", "--simulate", "0"]
NOT_WRITTEN = 74


def run(arguments, **more):
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120} | more
    return subprocess.run([SHARDWISE, *arguments], **more)


class Output(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def test_a_full_disk_is_told(self):
        for arguments in (PLAN, [*PLAN, "--json"], ["--help"], ["--version"], ["gpus"], ["models"], ["rules"], ["plan", "--help"],
                          ["memory", "Qwen3-8B", "--gpus", "H100"], ["plan", "no-such-model", "--gpus", "H100", "--json"],
                          ["place", CASES / "even_loads.csv", "--ranks", "2"]):
            with open("/dev/full", "wb") as full:
                done = run(arguments, stdout=full)
            self.assertEqual(done.returncode, NOT_WRITTEN, arguments)
            self.assertIn(b"standard output: cannot be written: No space left on device", done.stderr)

    def test_a_closed_output_is_told(self):
        done = run([*PLAN, "--emit", self.path / "launch"], stdout=None, preexec_fn=lambda: os.close(1))
        self.assertEqual(done.returncode, NOT_WRITTEN)
        self.assertTrue((self.path / "launch" / "manifest.json").exists())

    def test_a_reader_that_goes_away_is_no_signal_and_no_noise(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = run([*PLAN, "--emit", self.path / "launch"], stdout=write_end)
        os.close(write_end)
        self.assertEqual(done.returncode, NOT_WRITTEN)
        self.assertNotIn(b"cannot be written", done.stderr)
        self.assertTrue((self.path / "launch" / "manifest.json").exists())

    def test_files_that_cannot_be_written(self):
        bench = ["calibrate", "Llama-3.1-8B", "--gpus", "H100", "--bench", CASES / "bench_c4.json"]
        simulate = ["simulate", "Qwen3-8B", "--gpus", "H100", "--concurrency", "2", "--requests", "20", "--isl", "64", "--osl", "8"]
        place = ["place", CASES / "even_loads.csv", "--ranks", "2"]
        for arguments, flag in ((bench, "--out"), (simulate, "--trace-out"), (place, "--out")):
            for target in ("/dev/full", self.path, self.path / "no" / "folder"):
                done = run([*arguments, flag, target])
                self.assertEqual(done.returncode, NOT_WRITTEN, (arguments, target, done.stderr))
            good = self.path / "good"
            self.assertIn(run([*arguments, flag, good]).returncode, (0, 1))
            self.assertGreater(good.stat().st_size, 0)
            good.unlink()

    def test_a_disk_that_fills_leaves_what_was_there(self):
        run([*PLAN, "--emit", self.path / "launch"])
        before = {p.name: p.read_bytes() for p in (self.path / "launch").iterdir()}
        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
        done = run([*PLAN, "--emit", self.path / "launch"], preexec_fn=small_files)
        self.assertEqual(done.returncode, NOT_WRITTEN)
        self.assertEqual({p.name: p.read_bytes() for p in (self.path / "launch").iterdir()}, before)

    def test_no_thread_is_no_obstacle(self):
        """Run as an ordinary user that may have no second thread."""
        if os.geteuid() == 0:
            limit = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"]
            if subprocess.run([*limit, "true"], capture_output=True).returncode:
                self.skipTest("setpriv cannot change the user here")
        else:
            limit = []
        program = self.path / "shardwise"
        program.write_bytes(pathlib.Path(SHARDWISE).read_bytes())
        program.chmod(0o755)
        self.path.chmod(0o755)
        arguments = [program, "plan", "Qwen3-8B", "--gpus", "8xH100", "--threads", "8"]
        wanted = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        done = subprocess.run([*limit, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},  # which takes a thread
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, wanted.stdout)

    def test_no_escape_reaches_a_terminal(self):
        evil = "\x1b]0;title\x07\x1b[2J\x9b1m"
        config = self.path / f"m{evil}"
        config.mkdir()
        model = '{"architectures": ["%s"], "model_type": "%s"}' % (("\\u001b[2J\\u009b1m",) * 2)
        (config / "config.json").write_text(model)
        for arguments in (["plan", evil, "--gpus", "H100"], ["plan", "Qwen3-8B", "--gpus", evil], ["plan", config, "--gpus", "H100"],
                          ["check", "Qwen3-8B", "--gpus", "H100", "--", "--served-model-name", evil], ["rules", evil], [evil],
                          ["plan", "Qwen3-8B", "--gpus", "H100", evil], ["plan", "Qwen3-8B", "--gpus", "H100", "--goal", evil],
                          ["plan", "Qwen3-8B", "--gpus", "H100", "--chat-template", evil, "--color", "always"],
                          ["plan", evil, "--gpus", "H100", "--json"], ["models", evil], ["check", "--from", evil]):
            done = run(arguments)
            for out in (done.stdout, done.stderr):
                text = out.decode()
                for colour in ("0", "1", "2", "31", "32", "36"):
                    text = text.replace(f"\x1b[{colour}m", "")
                bad = [c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
                self.assertEqual(bad, [], arguments)


if __name__ == "__main__":
    unittest.main()
