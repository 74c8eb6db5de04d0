"""Write metadata-only wheels that stand in for packages which are required on paper and never imported.

    python tools/stub_wheels.py DIR torchvision==0.28.0 torchaudio==2.13.0

vLLM names torchvision, torchaudio and torchcodec among its requirements. A package index serves CUDA builds
of them, each of which breaks ``import transformers`` beside a CPU build of torch; text models use none of
the three. A stub has a name and a version, hence satisfies pip, and no module, hence is never imported.
"""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path


def write_stub(folder: Path, requirement: str) -> Path:
    """Write the wheel of ``NAME==VERSION``, with the local version ``+stub``, into ``folder``.

    Raises:
        ValueError: the requirement has another form.
    """
    name, separator, version = requirement.partition("==")
    if not (name and separator and version):
        raise ValueError(f"{requirement!r} is not of the form NAME==VERSION")
    version = f"{version}+stub"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Summary: Placeholder without code: satisfies a requirement that is never imported\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: stub_wheels\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    """A RECORD entry's hash: unpadded URL-safe base64 of the SHA-256."""
    raw = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for each in sys.argv[2:]:
        print(write_stub(target, each))
