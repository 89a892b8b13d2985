"""What a submission consists of is read, and nothing of it is run."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from attest.implementations import SubmissionError
from attest.serving import MOST_COMPILED
from attest.sources import MOST, read_submission


def write(folder, files):
    for place, text in files.items():
        path = folder / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def held(source):
    return {place: base64.b64decode(content).decode() for place, content in source.files.items()}


def test_a_file_takes_along_what_it_imports_from_beside_it(tmp_path):
    files = {
        "mine.py": "import os, helper as h\nfrom parts.one import x\ndef f():\n    import later\n",
        "helper.py": "from further import y\n",
        "further.py": "y = 1\n",
        "later.py": "",
        "parts/__init__.py": "",
        "parts/one.py": "x = 1\n",
    }
    write(tmp_path, files)
    write(tmp_path, {"other.py": "SECRET = 1\n"})
    found = read_submission(str(tmp_path / "mine.py"))
    assert found.file == "mine.py"
    assert found.module == "submission_mine"
    assert held(found) == files


def test_what_files_are_compiled_to_is_of_its_own_files_and_not_too_large(tmp_path):
    write(tmp_path, {"mine.py": "import parts.one\n", "parts/one.py": ""})
    source = read_submission(str(tmp_path / "mine.py"))
    own = dict.fromkeys(["mine.py", "parts/one.py"], "eA==")
    assert source.with_compiled(own).compiled == own
    for place in ("other.py", "../mine.py", "__pycache__/mine.py"):
        with pytest.raises(ValueError, match="of something else"):
            source.with_compiled({place: "eA=="})
    with pytest.raises(ValueError, match="too large"):
        source.with_compiled({"mine.py": "e" * (MOST_COMPILED + 1)})


def test_a_file_of_a_class_comes_alone(tmp_path):
    write(tmp_path, {"mine.py": "import other\n", "other.py": "def softmax(x, dim=-1): ...\n"})
    assert set(held(read_submission(str(tmp_path / "mine.py"), alone=True))) == {"mine.py"}


def test_nothing_is_run_on_the_way(tmp_path, monkeypatch):
    ends = "raise SystemExit"
    write(tmp_path, {"package/__init__.py": ends, "package/part.py": ends, "single.py": ends})
    monkeypatch.chdir(tmp_path)
    assert set(held(read_submission("package.part"))) == {"package/__init__.py", "package/part.py"}
    assert set(held(read_submission("single"))) == {"single.py"}
    assert set(held(read_submission("single.py"))) == {"single.py"}


def test_what_is_installed_needs_not_be_sent():
    assert read_submission("torch.nn").files == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.py", "nowhere.py does not exist"),
        ("nowhere", "nowhere does not exist; a submission is one .py file or a module"),
        ("", "'' does not exist"),
        ("..", ".. is a folder, not a .py file"),
        ("a folder.py", "a folder.py is a folder; a submission is one .py file or a module"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder.py").mkdir()
    with pytest.raises(SubmissionError) as raised:
        read_submission(name)
    assert said in str(raised.value)


def test_what_is_too_large_is_refused(tmp_path):
    path = tmp_path / "large.py"
    path.write_bytes(b"#" * (MOST + 1))
    with pytest.raises(SubmissionError, match="are over 4 MiB"):
        read_submission(str(path))
    path.write_text("import other, another\nimport another\n")
    for name in ("other", "another"):
        (tmp_path / f"{name}.py").write_bytes(b"#" * (MOST // 2 + 1))
    with pytest.raises(SubmissionError, match="are over 4 MiB"):
        read_submission(str(path))


def test_text_that_is_no_text_is_read(tmp_path):
    path = tmp_path / "latin.py"
    path.write_bytes("# -*- coding: latin-1 -*-\nname = 'é'\n".encode("latin-1"))
    assert base64.b64decode(read_submission(str(path)).files["latin.py"]) == path.read_bytes()


def test_a_link_does_not_reach_what_is_not_the_submissions(tmp_path):
    write(tmp_path, {"hers/answer.py": "SECRET = 1\n", "his/mine.py": "import answer, parts\n"})
    (tmp_path / "his" / "answer.py").symlink_to(tmp_path / "hers" / "answer.py")
    (tmp_path / "his" / "parts").symlink_to(tmp_path / "hers")
    assert set(held(read_submission(str(tmp_path / "his" / "mine.py")))) == {"mine.py"}


def test_a_link_to_a_folder_is_not_walked(tmp_path, monkeypatch):
    write(tmp_path, {"his/answer.py": "import much\n", "hers/x.py": ""})
    (tmp_path / "his" / "much").symlink_to(tmp_path / "hers")
    walked = []
    monkeypatch.setattr(Path, "rglob", lambda path, _: walked.append(path) or [])
    assert set(held(read_submission(str(tmp_path / "his" / "answer.py")))) == {"answer.py"}
    assert walked == []


def test_a_link_of_a_class_is_refused(tmp_path):
    write(tmp_path, {"hers/answer.py": "SECRET = 1\n", "his/other.py": ""})
    link = tmp_path / "his" / "mine.py"
    link.symlink_to(tmp_path / "hers" / "answer.py")
    with pytest.raises(SubmissionError, match="a link to what is not the submission's own"):
        read_submission(str(link), alone=True)
    assert set(held(read_submission(str(link)))) == {"answer.py"}


def test_a_package_does_not_reach_out(tmp_path, monkeypatch):
    write(tmp_path, {"secret/answer.py": "SECRET = 1\n", "package/__init__.py": ""})
    (tmp_path / "package" / "link.py").symlink_to(tmp_path / "secret" / "answer.py")
    (tmp_path / "package" / "endless.py").symlink_to("/dev/zero")
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "package/endless.py" not in read_submission("package").files
