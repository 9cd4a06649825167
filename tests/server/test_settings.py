"""What `limbeck serve` is told, and what it refuses to be told."""

from pathlib import Path

import pytest

from limbeck.server.reading import parse_model, read_settings
from limbeck.server.settings import Candidate, Hosted, Limits


@pytest.mark.parametrize(
    ("text", "name", "folder", "share"),
    [
        ("run/artifact", "run", "run/artifact", None),
        ("models/spam", "spam", "models/spam", None),
        ("spam=run/artifact", "spam", "run/artifact", None),
        ("spam=a,b:shadow", "spam", "a", "shadow"),
        ("spam=a,C:/b:5%", "spam", "a", 0.05),
        ("a/b=c/artifact", "b=c", "a/b=c/artifact", None),
    ],
)
def test_a_model_is_named(
    text: str, name: str, folder: str, share: float | str | None, tmp_path: Path
) -> None:
    if name == "b=c":
        # A folder may hold the mark; its name is none for a model.
        with pytest.raises(ValueError, match="Name it"):
            parse_model(text)
        return
    found, hosted = parse_model(text)
    assert (found, hosted.folder) == (name, Path(folder))
    assert (hosted.candidate.share if hosted.candidate else None) == share


@pytest.mark.parametrize(
    "text", ["a b=x", "=x", "s=a,b", "s=a,b:5", "s=a,b:0%", "s=a,b:100%", "s=a,b:x%", "..=x"]
)
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"model's name|candidate is"):
        parse_model(text)


def test_the_command_line_counts_more_than_the_file(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("port: 1\nworkers: 3\nlimits: {queue: 7}\nmodels: {a: {folder: x}}\n")
    told = {"port": 2, "workers": None, "host": None}
    settings = read_settings(config, ["b=y"], told)
    assert (settings.port, settings.workers, settings.limits.queue) == (2, 3, 7)
    assert settings.models == {"a": Hosted(folder=tmp_path / "x"), "b": Hosted(folder=Path("y"))}
    assert settings.limits.body_bytes == Limits().body_bytes


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("prot: 1", "prot: there is no such setting"),
        (
            "limits: {timeout_seconds: .inf}",
            "limits.timeout_seconds: a number that is finite is expected",
        ),
        ("drain_seconds: 1e999", "drain_seconds: a number that is finite"),
        # Clocks end before that, and moments are counted in 64 bits.
        ("limits: {header_seconds: 1.0e+308}", "limits.header_seconds: at most 1e.09 is expected"),
        ("drain_seconds: 1.0e+10", "drain_seconds: at most 1e.09 is expected"),
        ("limits: {rate: 1.0e-300}", "limits.rate: at least 0.0001"),
        ("limits: {burst: 100001}", "limits.burst: at most 100000"),
        ("models: art", "models: names are expected"),
        ("models: {m: art}", "models.m: the folder of its artifact is expected"),
        (
            "models: {m: {folder: a, candidate: {folder: b, share: 2}}}",
            "a share above 0 and below 1, such as 0.05 or 5%, not 2",
        ),
        (
            "models: {m: {folder: a, candidate: {folder: b, share: 0%}}}",
            "above 0 and below 1, such as 0.05 or 5%",
        ),
        ("tracing: 127.0.0.1:4318", "tracing: the address of a collector"),
        ("hosts: ['a:b']", "hosts.0: a name or an address without scheme"),
        ("limits: {queu: 1}", "limits.queu: there is no such setting. Did you mean `queue`"),
        ("models: {a: {foldr: x}}", "Did you mean `folder`"),
        ("port: many", "port: "),
        ("hosts: ['http://ml.internal']", "hosts.0: "),
        ("port: 70000", "port: "),
        ("- a", "keys and values"),
        ("models: {}", "no model is named"),
        ("models: {a b: {folder: x}}", "model's name"),
        ("limits: {queue: 0}", "limits.queue: at least 1 is expected, not 0"),
        (
            "limits: []",
            r"serve\.yaml:1:1: limits: a part with keys, such as {queue: 64}, is expected, not a list",
        ),
        ("a: 1\nport: true", r"serve\.yaml:2:1: port: a whole number is expected, not true"),
        ('workers: "2"', 'workers: a whole number is expected, not "2"'),
        ("workers: 2.5", "workers: a whole number is expected, not 2.5"),
        ("models: {a: {}}", "models.a.folder: it is missing, as in models"),
        ("models: {a: {folder: 3}}", "models.a.folder: a path is expected, not 3"),
        (
            "logs:\n  requests: 1",
            r"serve\.yaml:2:3: logs.requests: true or false is expected, not 1",
        ),
        ("hosts: here", "hosts: a list, such as .ml.internal., is expected"),
        ("limits: {burst: 5}", "limits.burst: .* no `rate` is given"),
        ("limits: {rate: 5}", "limits.rate: .* Name a file of tokens"),
        ("limits: {timeout_seconds: 90}", "limits.timeout_seconds: .*longest_timeout_seconds: 60"),
        ("limits:\n  longest_timeout_seconds: 5", r"yaml:2:3: limits.longest_timeout_seconds: "),
        ("limits: {bodies_bytes: 1000}", "limits.bodies_bytes: .* raise the other"),
        ("models: {a: {folder: x, candidate: {folder: y, share: 2}}}", "candidate.share"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_place(
    content: str, told: str, tmp_path: Path
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(content)
    with pytest.raises(ValueError, match=told) as refused:
        read_settings(config, [] if "models" in content else ["m=a"], {})
    # None in pydantic's words.
    assert "nput should" not in str(refused.value)


def test_what_is_typed_has_no_line(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("port: 1\n")
    with pytest.raises(ValueError, match=r"^--port: at most 65535 is expected, not 70000$"):
        read_settings(config, ["m=a"], {"port": 70000})


def test_an_address_may_have_its_brackets() -> None:
    assert read_settings(None, ["a=x"], {"host": "[::1]"}).host == "::1"


def test_a_folder_may_hold_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1" / "artifact").mkdir(parents=True)
    for text in ("lr=1", "lr=1/artifact", "lr=1/artifact,b:5%"):
        with pytest.raises(ValueError, match=f"limbeck serve NAME={text}`"):
            parse_model(text)
    name, hosted = parse_model("towns=lr=1/artifact")
    assert (name, hosted.folder) == ("towns", Path("lr=1/artifact"))


def test_paths_of_a_file_count_from_its_folder(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    candidate = "candidate: {folder: /new, share: shadow}"
    config.write_text(f"models: {{a: {{folder: ../x, {candidate}}}}}\ntokens: tokens\n")
    settings = read_settings(config, ["b=y"], {})
    assert settings.models["a"].folder == tmp_path / "../x"
    assert settings.models["a"].candidate == Candidate(folder=Path("/new"))
    # What is typed counts from where it is typed.
    assert settings.models["b"].folder == Path("y")
    assert settings.tokens == tmp_path / "tokens"
    assert read_settings(config, [], {"tokens": Path("t")}).tokens == Path("t")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", "10.0.0.1"])
def test_others_need_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--tokens"):
        read_settings(None, ["a=x"], {"host": host})
    assert read_settings(None, ["a=x"], {"host": host, "tokens": tmp_path}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_needs_none(host: str) -> None:
    assert read_settings(None, ["a=x"], {"host": host}).is_local


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two models are called 'a'"):
        read_settings(None, ["a=one", "a=two"], {})


def test_a_share_is_written_as_on_the_command_line(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("models: {m: {folder: a, candidate: {folder: b, share: 5%}}}")
    (hosted,) = read_settings(config, [], {}).models.values()
    assert hosted.candidate is not None and hosted.candidate.share == 0.05


def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_bytes(b"# caf\xe9\nport: 1\n")
    with pytest.raises(ValueError, match=r"serve\.yaml: it is not UTF-8 .* at byte 5"):
        read_settings(config, ["a=b"], {})
    # Of what begins with a byte order mark nothing is lost.
    config.write_bytes(b"\xef\xbb\xbfport: 1\n")
    assert read_settings(config, ["a=b"], {}).port == 1


def test_of_two_models_of_a_name_one_is_told_how_to_have_another(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"as in NAME=y$"):
        read_settings(None, ["a=x", "a=y"], {})
