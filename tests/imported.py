"""What a fresh interpreter has imported after some code, and what it should not have."""

import subprocess
import sys

HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "vllm",
    "faiss",
    "sentence_transformers",
    "scipy",
    "matplotlib",
}


def modules_after(code: str) -> set[str]:
    """The names in ``sys.modules`` once ``code`` has run in an interpreter of its own."""
    script = f"import sys\n{code}\nprint('|'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.strip().splitlines()[-1].split("|"))
