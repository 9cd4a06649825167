"""The command line: exit statuses, and that a foreseen mistake is a few lines and never a traceback."""

import errno
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import call, mistake
from encoders import save_encoder

import limbeck
from limbeck.cli import catalogue, doctor, main, refusals, speed_probe
from limbeck.core import registry
from limbeck.core.cache.store import lock
from limbeck.core.files import reserve
from limbeck.core.terminal import shell, tables
from limbeck.pipeline import runs
from limbeck.reports import summary

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 2}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 512}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"limbeck {limbeck.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run"], ["run", "--what"], ["predict", "x", "--threads", "0"]]
)
def test_a_wrong_command_is_answered_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Error" in mistake(capsys, *arguments)


@pytest.mark.parametrize("verb", main.VERBS)
def test_help_imports_nothing_heavy(verb: str) -> None:
    code = f"import sys; sys.argv[1:] = ['{verb}', '--help']\nfrom limbeck.cli.main import main\ntry: main()\nexcept SystemExit as e: assert not e.code\n"
    code += "heavy = {'torch', 'numpy', 'onnxruntime', 'rich.live', 'transformers'} & set(sys.modules)\nassert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("verb", main.VERBS)
def test_short_help_is_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(verb, "-h") == 0
    short = capsys.readouterr().out
    assert call(verb, "--help") == 0
    assert capsys.readouterr().out == short


def test_the_help_says_of_every_verb_one_whole_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("-h") == 0
    shown = capsys.readouterr().out
    assert "..." not in shown.partition("Commands:")[2]
    for verb, function in main.VERBS.items():
        sentence = (function.__doc__ or "").strip().splitlines()[0]
        assert sentence.endswith(".")
        assert f"  {verb} " in shown
        assert sentence in " ".join(shown.split())


def test_check_has_no_jobs(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such option: --jobs" in mistake(capsys, "check", recipe, "--jobs", "2")


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk(
    where: str,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, where, full)
    told = mistake(capsys, "run", recipe, "--out", tmp_path / "out")
    assert told.startswith(
        f"limbeck: {tmp_path / 'out' / 'recipe.yaml'}: no space left on this disk"
    )
    assert "LIMBECK_CACHE" in told
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_under_the_label_cache_is_found_before_it_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full)
    (tmp_path / "logits.npy").write_bytes(bytes(10))
    with pytest.raises(OSError, match="No space left") as caught:
        reserve(tmp_path / "logits.npy")
    assert caught.value.filename == str(tmp_path / "logits.npy")


def test_numpy_on_a_full_disk() -> None:
    assert "no space left" in refusals.refusal(OSError("8 requested and 0 written"))


def test_a_file_where_the_run_folder_should_be(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("")
    assert "stands where a folder should be" in mistake(
        capsys, "run", recipe, "--out", tmp_path / "out"
    )
    assert "stands where a folder should be" in mistake(
        capsys, "run", recipe, "--out", tmp_path / "out" / "below"
    )


def test_a_file_where_the_cache_should_be(
    recipe: Path, tmp_path: Path, cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache_folder.write_text("")
    assert "stands where a folder should be" in mistake(
        capsys, "run", recipe, "--out", tmp_path / "out"
    )


@pytest.mark.parametrize("folder", ["out", "cache"])
def test_a_read_only_folder(
    folder: str,
    recipe: Path,
    tmp_path: Path,
    cache_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Root may write anywhere: there the system's refusal is played."""
    locked = {"out": tmp_path / "out", "cache": cache_folder}[folder]
    locked.mkdir(exist_ok=True)
    locked.chmod(0o500)
    if os.geteuid() == 0:
        mkdir = Path.mkdir

        def refuse(path: Path, *arguments: Any, **options: Any) -> None:
            if path.is_relative_to(locked):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            mkdir(path, *arguments, **options)

        monkeypatch.setattr(Path, "mkdir", refuse)
    told = mistake(capsys, "run", recipe, "--out", tmp_path / "out")
    assert "may not be written or read" in told
    locked.chmod(0o700)


def test_two_runs_on_one_folder(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock(tmp_path / "out" / "run.lock", wait=False):
        assert "another run is writing to this folder" in mistake(
            capsys, "run", recipe, "--out", tmp_path / "out"
        )


TEXT = """
task: token-classification
data: {{source: conll, path: {data}}}
student: {{model: {model}}}
train: {{epochs: 1, threads: 1}}
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text("Ada B-PER\nsleeps O\n\nIn O\nParis B-LOC\n\n" * 8)
    return folder


@pytest.mark.parametrize("verb", ["run", "check"])
@pytest.mark.parametrize("broken", ["no weights", "cut off", "no network"])
def test_a_model_that_cannot_be_had(
    verb: str, broken: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_encoder(
        tmp_path / "model", ["Ada", "sleeps", "In", "Paris"], vocabulary=40, width=8, layers=1
    )
    weights = tmp_path / "model" / "model.safetensors"
    if broken == "cut off":
        weights.write_bytes(weights.read_bytes()[:100])
    else:
        weights.unlink()
    if broken == "no network":
        model = "no-such-owner/no-such-model"
    path = tmp_path / "recipe.yaml"
    path.write_text(TEXT.format(data=corpus, model=model))
    told = mistake(capsys, verb, path, *(["--out", tmp_path / "out"] if verb == "run" else []))
    said = "its files cannot be read"
    if broken == "no network":
        said = "neither a network of ours, nor a model folder, nor a hub id that can be reached"
    assert f"model `{model}`: {said}: " in told


def test_a_missing_extra_is_named(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(runs, "run", absent)
    assert 'pip install "limbeck[train]"' in mistake(capsys, "run", recipe)


@pytest.mark.parametrize(("verb", "status"), [("run", 3), ("doctor", 130)])
def test_ctrl_c(
    verb: str,
    status: int,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run", interrupt)
    monkeypatch.setattr(doctor, "lines", interrupt)
    assert call(verb, *([recipe] if verb == "run" else [])) == status
    written = capsys.readouterr().err
    assert "Traceback" not in written
    assert len(written.splitlines()) == 1


def test_ctrl_c_while_it_waits_for_input(tmp_path: Path) -> None:
    """A real signal, into a verb that blocks."""
    code = "import os, signal, threading, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
    code += "from limbeck.cli import doctor, main as cli\ndoctor.lines = lambda: iter(lambda: time.sleep(0.05) or '', None)\n"
    code += "threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\nimport sys; sys.argv[1:] = ['doctor']\ncli.main()"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert time.monotonic() - began < 60
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_list_shows_every_component_without_torch() -> None:
    code = "import sys\nfrom limbeck.core import registry\nfrom limbeck.cli import catalogue\n[catalogue.family(name) for name in registry.FAMILIES]\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_list(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    assert family in capsys.readouterr().out
    assert call("list", family) == 0
    listed = capsys.readouterr().out
    for name in registry.names(family):
        assert name in listed
        assert call("list", family, name) == 0
        shown = capsys.readouterr().out
        for key, parameter in registry.keys(family, name).items():
            assert family in ("ranges", "tasks") or (
                key in shown
                and (parameter.default is parameter.empty or repr(parameter.default) in shown)
            )
    assert f"no family `{family}x`" in mistake(capsys, "list", family + "x")
    assert "has no component `nothing`" in mistake(capsys, "list", family, "nothing")


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_list_breaks_no_name(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert call("list") == call("list", "tasks") == call("list", "sources", "csv") == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= int(columns) for line in shown.splitlines() if "/" not in line)
    words = re.findall(r"[\w-]+", shown)
    for family in ("tasks", "losses", "sources", "surgeries"):
        assert set(registry.names(family)) <= set(words)
    assert set(registry.keys("sources", "csv")) <= set(words)


def test_a_component_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A user's wheel has no `src`, so that the whole path is told."""
    assert call("list", "tasks", "text-classification") == 0
    shown = "".join(capsys.readouterr().out.split())
    path = Path(limbeck.__file__).parent / "tasks" / "text_classification.py"
    assert f"Itscode:{path}" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--bits", "99"], "--bits 99 limits nothing: the widest format has 8 bits"),
        (["--bits", "8.5"], "int8 8, int4 4, int3 3, int2 2, ternary 1.6"),
        (["--bits", "33", "--formats", "int8,float"], "has 32 bits"),
    ],
)
def test_bits_that_limit_nothing_are_refused_with_the_choices(
    arguments: list[str], told: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in mistake(capsys, "search", recipe, *arguments)


@pytest.mark.parametrize(
    ("started", "on_path", "program"),
    [
        (".venv/bin/limbeck", "", ".venv/bin/limbeck"),
        (".venv/bin/limbeck", ".venv/bin", "limbeck"),
        (".venv/bin/limbeck", "other", ".venv/bin/limbeck"),
        ("my env/limbeck", "", "'my env/limbeck'"),
        ("site/limbeck/__main__.py", "", f"{shlex.quote(sys.executable)} -m limbeck"),
        ("site/limbeck/__main__.py", "other", "limbeck"),
        ("ipykernel_launcher.py", "", "limbeck"),
    ],
)
def test_a_printed_command_starts_the_program_that_printed_it(
    started: str, on_path: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".venv/bin", "other"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "limbeck").touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setenv("PATH", str(tmp_path / on_path) if on_path else "")
    assert shell.command("bench", Path("my run/artifact")) == f"{program} bench 'my run/artifact'"


def test_what_is_to_be_done_next_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "it's mine"
    data.mkdir()
    (data / "train.csv").write_text("text,label\n" + "it rains,a\nit snows,b\n" * 9)
    monkeypatch.chdir(tmp_path)
    assert call("init", data, "--out", "my recipe.yaml") == 0
    following = capsys.readouterr().out.partition("Next:")[2].splitlines()
    commands = [shlex.split(line)[1:] for line in following if line]
    assert commands == [["check", "my recipe.yaml"], ["run", "my recipe.yaml"]]
    printed = summary.commands(Path("my demo"))
    assert [shlex.split(line)[1] for line in printed[2:]] == ["bench", "list", "run"]
    assert shlex.split(printed[2])[2] == "my demo/artifact"
    assert shlex.split(printed[4])[-1] == "my demo-int8"
    assert "--out 'my run'" in mistake(capsys, "report", "my run")


LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["init", LONG], "no file or folder has so long a name"),
        (["report", LONG], "no file or folder has so long a name"),
        (["inspect", LONG], "no file or folder has so long a name"),
        (["predict", LONG], "no file or folder has so long a name"),
        (["run", "r.yaml", "--out", LONG], "no file or folder has so long a name"),
        (["check", LONG], "no such recipe"),
        (["init", ".", "--out", "."], "this is a folder. Name the file to write, NAME.yaml"),
        (["init", ".", "--out", "nowhere/r.yaml"], "there is no folder nowhere. Make it"),
        (["search", "r.yaml", "--bits", "4", "--out", "nowhere/b.yaml"], "there is no folder"),
        (["run", "."], "it is a folder. Name a file"),
        (["run", "-"], "not read from standard input"),
        (["run", "r.yaml", "--out", ""], '`limbeck run r.yaml --out ""`: an empty argument'),
        (["init", ".", "--out="], "`limbeck init . --out=`: an empty argument"),
        (["report", "~/nowhere"], "HOME/nowhere"),
        (["run", "~/r.yaml", "--out=~/out"], "HOME/r.yaml: no such"),
        (["inspect", ""], '`limbeck inspect ""`: an empty argument'),
    ],
)
def test_what_the_system_refuses_is_told_in_words(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "HOME")
    said = mistake(capsys, *arguments)
    assert told in said
    assert "Errno" not in said


def test_a_components_formula_paper_and_keys_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "losses", "kl") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "T^2 sum_v p_v (log p_v - log q_v)",
        "arXiv 1503.02531",
        "temperature float | str 2.0",
        "`temperature`: T > 0, a number or a schedule over the training.",
    ):
        assert part in shown


def test_the_keys_that_every_table_has_are_explained_for_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("list", "sources", "tsv") == 0
    shown = capsys.readouterr().out
    assert all(f"`{key}`: " in shown for key in ("columns", "text_b", "label_separator"))


def test_a_docstrings_paragraphs_are_broken_by_the_terminal_alone() -> None:
    text = "One\ntwo:\n\n    y = x\n    z = y\nthree\nfour.\n- five\n  six\n`a`, `b`: seven\neight"
    shown = "One two:\n\n    y = x\n    z = y\nthree four.\n- five six\n`a`, `b`: seven eight"
    assert catalogue.reflowed(text) == shown


def test_a_word_before_a_colon_begins_an_entry_only_after_a_sentence() -> None:
    text = "That is\nchecked: the\nend.\nsteps: of Adam,\nfor each.\nrate: of it."
    shown = "That is checked: the end.\nsteps: of Adam, for each.\nrate: of it."
    assert catalogue.reflowed(text) == shown


def test_doctor_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys\nfrom limbeck.cli import doctor\nprint('\\n'.join(doctor.lines()))\nassert 'torch' not in sys.modules"
    environment = {**os.environ, "LIMBECK_CACHE": str(tmp_path / "not" / "there")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["speed"].startswith("int8 is ")
    assert "0 stages" in lines["cache"]
    assert "onnxruntime" in lines


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"avx2", "avx512_vnni"}, "exact"),
        ({"avx2"}, "saturate"),
        ({"asimddp"}, "exact"),
        (set(), "no integer dot product"),
    ],
)
def test_what_the_cpu_means_for_int8(features: set[str], said: str) -> None:
    assert said in doctor.int8_meaning(features)


def test_an_extra_that_is_incomplete_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor,
        "requires",
        lambda name: [
            "numpy>=1",
            "numpy; extra == 'train'",
            "no-such-package>=2 ; extra == 'search'",
            "no-such-package>=2 ; extra == 'dev'",
            # A condition is no package, and one that this system does not meet asks for none.
            "no-such-package>=1; (sys_platform != 'elsewhere') and extra == 'serve'",
            f"no-such-package>=1; (sys_platform != '{sys.platform}') and extra == 'tune'",
            "numpy>=1; extra == 'tune'",
        ],
    )
    assert [line.split(maxsplit=1)[1] for line in doctor.extras()] == [
        "train: complete",
        'search: without no-such-package: pip install "limbeck[search]"',
        'serve: without no-such-package: pip install "limbeck[serve]"',
        "tune: complete",
    ]


def test_the_probe_is_the_model_that_onnx_reads() -> None:
    import numpy as np
    import onnx

    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    types = (speed_probe.FLOAT, speed_probe.FLOAT, speed_probe.FLOAT)
    read = onnx.load_from_string(speed_probe.onnx_model("MatMul", weight, types))
    onnx.checker.check_model(read)
    assert np.array_equal(onnx.numpy_helper.to_array(read.graph.initializer[0]), weight)


def test_a_report_of_progress_is_json(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", recipe, "train.batch_rows=64", "--out", tmp_path / "out") == 0
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events if event["stage"] == "train (plain, seed 0)"] == [
        "start",
        "epoch",
        "note",
        "end",
    ]


def test_a_component_in_a_family_s_place(capsys: pytest.CaptureFixture[str]) -> None:
    told = mistake(capsys, "list", "kl")
    assert "no family `kl`. It is a component: `limbeck list losses kl`" in told
    assert "Did you mean `losses`?" in mistake(capsys, "list", "loses")


def test_a_narrow_terminal_breaks_no_word_of_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    head = ("layer", "weights", "bytes", "ms", "float ms", "nats", "out dB", "overflow")
    row = ("*.attention.output.dense", "int8", "1,234,567", "0.1234", "0.1234", "1e-03", "40", "0")
    tables.wide_console().print(tables.table(head, [row], numbers=2))
    shown = capsys.readouterr().out
    for word in (*head, *row):
        assert word in shown
