"""Are secrets found where they belong, and never shown?"""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.secrets import SecretError, Secrets


def test_a_credential_comes_before_a_file_before_the_environment(tmp_path: Path) -> None:
    env = {"PW": "from env", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert Secrets(env).look_up("PW") == "from env"
    (tmp_path / "named").write_text("from file\n")
    env["PW_FILE"] = str(tmp_path / "named")
    assert Secrets(env).look_up("PW") == "from file"
    (tmp_path / "smolwatch_PW").write_text("from the directory\r\n")
    assert Secrets(env).look_up("PW") == "from the directory"
    (tmp_path / "PW").write_text("from credential")
    assert Secrets(env).look_up("PW") == "from credential"


def test_addresses_are_encoded_and_other_texts_are_not() -> None:
    secrets = Secrets({"PW": "p@ss/w ö%", "URL": "rtsp://u:a@h/"})
    filled = secrets.fill("rtsp://u:{PW}@h/s?t={PW}")
    assert filled == "rtsp://u:p%40ss%2Fw%20%C3%B6%25@h/s?t=p%40ss%2Fw%20%C3%B6%25"
    assert secrets.fill("{PW}") == "p@ss/w ö%"
    assert secrets.fill("x{PW}") == "xp@ss/w ö%"
    assert secrets.fill("{URL}") == "rtsp://u:a@h/"
    assert secrets.fill("no reference {0} {} {a b}") == "no reference {0} {} {a b}"


def test_values_are_not_filled_in_again() -> None:
    assert Secrets({"A": "{B}", "B": "x"}).fill("1{A}") == "1{B}"


def test_what_is_missing_is_told_with_all_places() -> None:
    with pytest.raises(SecretError) as caught:
        Secrets({"PW": ""}).look_up("PW")
    for place in ("{PW}", "/etc/smolwatch/credentials", "PW_FILE", "environment variable PW"):
        assert place in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xffhunter2", "not UTF-8")],
)
def test_files_that_hold_no_secret(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "pw"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SecretError, match=reason) as caught:
        Secrets({"PW_FILE": str(path)}).look_up("PW")
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or "hunter2" not in repr(caught.value.__cause__)


def test_secrets_print_nothing() -> None:
    assert "hunter2" not in repr(Secrets({"PW": "hunter2"}))
