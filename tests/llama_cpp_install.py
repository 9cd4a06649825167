"""node-llama-cpp, for tests that run models in it."""

import subprocess

from limbeck.artifact.llama_cpp import process


def install_llama_cpp() -> None:
    """Install it where `limbeck` looks for it, once."""
    folder = process.default_folder()
    if not (folder / "node_modules" / "node-llama-cpp").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(process.install_line(folder).split(), check=True, capture_output=True)
