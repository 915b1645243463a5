"""Does the configuration take what users write, and say well what it does not take?"""

from __future__ import annotations

import base64
import textwrap
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from daemon.config import Config, ConfigError, load_config, schema_json
from daemon.mqtt.options import MqttOptions
from pipelines.rules import (
    AllOf,
    AnyOf,
    Ask,
    Debounce,
    Hours,
    Match,
    Not,
    Rule,
    RuleOn,
    Sequence,
    Step,
)
from pipelines.window_plan import WindowPlan

CONFIGS = Path(__file__).parents[2] / "configs"
PORCH = "cameras: {porch: {source: scene://porch}}\n"


def load(tmp_path: Path, text: str, **env: str) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_config(path, env)


def complaint(tmp_path: Path, text: str, **env: str) -> str:
    """What is said of a bad configuration, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **env)
    return str(caught.value).replace(f"{tmp_path}/", "")


# What is shipped


@pytest.mark.parametrize("name", ["smolwatch.example.yaml", "demo.yaml", "scene_rules.yaml"])
def test_shipped_configurations_load_anywhere(name: str) -> None:
    config = load_config(CONFIGS / name, {})
    assert config.rules
    assert all(config.rules_for(camera) for camera in config.cameras)


def test_the_demo_needs_nothing() -> None:
    config = load_config(CONFIGS / "demo.yaml", {})
    assert config.model.name == "bundled"
    assert config.mqtt is not None
    assert config.mqtt.embedded
    assert config.mqtt.options("box").port == 0
    assert {camera.source.scheme for camera in config.cameras.values()} == {"scene"}
    assert len(config.cameras) == 2


def test_the_example_states_the_defaults() -> None:
    example = load_config(CONFIGS / "smolwatch.example.yaml", {})
    bare = Config.model_validate(
        {
            "mqtt": {"broker": "localhost"},
            "cameras": {
                "porch": {"source": "scene://porch?seed=7"},
                "driveway": {"source": "scene://driveway?seed=7"},
            },
            "rules": {
                "package_delivered": {
                    "cameras": ["porch"],
                    "ask": "Was a package delivered?",
                    "describe": True,
                },
                "car_arrived": {
                    "cameras": ["driveway"],
                    "ask": "Did a car arrive?",
                    "severity": "info",
                },
                "loitering": {
                    "cameras": ["porch"],
                    "ask": "Is a person standing at the door?",
                    "for_s": 30,
                    "active": {"from": "22:00", "to": "06:00"},
                    "severity": "warning",
                },
                "delivery_then_theft": {
                    "cameras": ["porch"],
                    "sequence": [
                        {"rule": "package_delivered"},
                        {"ask": "Was a package taken?", "within_s": 600},
                    ],
                },
                "unattended": {
                    "cameras": ["porch"],
                    "all": [
                        {"any": [{"ask": "Is there a package?"}, {"ask": "Is there a dog?"}]},
                        {"not": {"ask": "Is there a person?"}},
                    ],
                    "for_s": 120,
                },
                "smoke_words": {
                    "cameras": ["porch", "driveway"],
                    "match": r"\b(smoke|fire|flames)\b",
                    "debounce": {"needed": 1, "of": 1},
                },
            },
        }
    )
    assert example == bare


def test_the_example_names_every_key() -> None:
    text = (CONFIGS / "smolwatch.example.yaml").read_text()

    schema = Config.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    named = {key for section in sections for key in section["properties"]}
    assert "password_file" in named
    assert {key for key in named if f"{key}:" not in text} == set()


def test_the_examples_own_short_example_loads(tmp_path: Path) -> None:
    lines = (CONFIGS / "smolwatch.example.yaml").read_text().splitlines()
    short = "\n".join(line[6:] for line in lines if line.startswith("#     "))
    config = load(tmp_path, short, PORCH_PASSWORD="p@ss")
    assert config.cameras["porch"].source.secret == "rtsp://user:p%40ss@10.0.0.5/stream2"
    assert config.rules["package"].cameras == ("porch",)


def test_the_schema_is_up_to_date() -> None:
    kept = (CONFIGS / "config.schema.json").read_text()
    assert kept == schema_json(), "run: python -m daemon.config > configs/config.schema.json"


# What it becomes


def test_a_rule_becomes_the_pipelines(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        cameras:
          porch: {source: scene://porch}
          attic: {source: scene://indoors}
        rules:
          visitor:
            cameras: porch
            ask: " Is there a person? "
            open_above: 0.8
            close_below: 0.2
            debounce: {needed: 1, of: 2}
            cooldown_s: 5
            severity: info
            describe: yes
          dog: {ask: "Is there a dog?"}
        """,
    )
    visitor = Rule("visitor", "Is there a person?", 0.8, 0.2, Debounce(1, 2), 5.0, "info", True)
    assert config.rules_for("porch") == (visitor, Rule("dog", "Is there a dog?"))
    assert config.rules_for("attic") == (Rule("dog", "Is there a dog?"),)


def test_conditions_become_the_pipelines(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        cameras: {porch: {source: scene://porch}, attic: {source: scene://indoors}}
        rules:
          theft:
            sequence: [{rule: delivered}, {ask: "Taken?", within_s: 600}]
          delivered: {cameras: [porch], ask: "Delivered?", for_s: 30}
          odd:
            all: [{match: smoke}, {not: {any: [{ask: "A?"}, {ask: "B?"}]}}]
            active: {days: [sat, mon], from: 22:00, to: 6:30, timezone: Europe/Berlin}
        """,
    )
    delivered = Rule("delivered", "Delivered?", for_s=30)
    steps = (Step(RuleOn("delivered")), Step(Ask("Taken?"), 600))
    hours = Hours((0, 5), time(22), time(6, 30), ZoneInfo("Europe/Berlin"))
    parts = (Match("smoke"), Not(AnyOf((Ask("A?"), Ask("B?")))))
    odd = Rule("odd", when=AllOf(parts), active=hours)
    assert config.rules_for("porch") == (Rule("theft", when=Sequence(steps)), delivered, odd)
    # What `theft` refers to is not judged in the attic, and so neither is it.
    assert config.rules_for("attic") == (odd,)


def test_days_alone_are_whole_days(tmp_path: Path) -> None:
    text = """
        cameras: {porch: {source: scene://porch}}
        rules: {r: {ask: "A car?", active: {days: [sat, sun]}}}
        """
    (rule,) = load(tmp_path, text).rules_for("porch")
    assert rule.active == Hours((5, 6), time(0), time(0), None)


def test_a_rule_that_nowhere_meets_what_it_refers_to_is_refused(tmp_path: Path) -> None:
    said = complaint(
        tmp_path,
        """\
        cameras: {porch: {source: scene://porch}, attic: {source: scene://indoors}}
        rules:
          a: {cameras: [porch], ask: x}
          b: {cameras: [attic], not: {rule: a}}
        """,
    )
    assert said == "c.yaml:4: rules.b: the rules that it refers to share no camera with it"


def test_a_match_needs_descriptions(tmp_path: Path) -> None:
    said = complaint(
        tmp_path,
        """\
        cameras:
          porch: {source: scene://porch, describe: off}
        rules:
          smoke: {match: smoke}
        """,
    )
    assert said.startswith("c.yaml:4: rules.smoke.match: needs descriptions, and porch has")


def test_a_camera_becomes_a_window_plan(tmp_path: Path) -> None:
    text = "cameras: {a: {source: scene://porch, window: {num_frames: 4, interval_s: 0.5}}}"
    plan = load(tmp_path, text).cameras["a"].plan()
    assert plan == WindowPlan(4, 0.5, 1.0, gate="motion", max_idle_s=60)


@pytest.mark.parametrize(
    ("mqtt", "expected"),
    [
        ("{broker: localhost}", ("localhost", 1883, False)),
        ("{broker: 127.0.0.5, tls: on}", ("127.0.0.5", 8883, True)),
        ("{broker: '[::1]:1884'}", ("::1", 1884, False)),
        ("{broker: '::1'}", ("::1", 1883, False)),
        ("{broker: mosquitto, tls: off, port: 7}", ("mosquitto", 7, False)),
        ("{broker: 'b.lan:9', tls: true, ca_file: ca.pem}", ("b.lan", 9, True)),
        ("{broker: embedded}", ("127.0.0.1", 1883, False)),
        ("{broker: embedded, port: 0}", ("127.0.0.1", 0, False)),
    ],
)
def test_a_broker_becomes_options(
    tmp_path: Path, mqtt: str, expected: tuple[str, int, bool]
) -> None:
    config = load(tmp_path, f"{PORCH}mqtt: {mqtt}")
    assert config.mqtt is not None
    options = config.mqtt.options("box")
    assert (options.host, options.port, options.tls is not None) == expected
    assert options.client_id == "smolwatch-box"


def test_user_and_password_reach_the_options(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("s3cret\n")
    for password in ("password: '{PW}'", "password: s3cret", f"password_file: {tmp_path}/pw"):
        text = f"{PORCH}mqtt: {{broker: localhost, username: u, {password}, client_id: me}}"
        config = load(tmp_path, text, PW="s3cret")
        assert config.mqtt is not None
        expected = MqttOptions("localhost", username="u", password="s3cret", client_id="me")
        assert config.mqtt.options("box") == expected


def test_configurations_do_not_change(tmp_path: Path) -> None:
    config = load(tmp_path, PORCH)
    with pytest.raises(ValidationError, match="frozen"):
        config.cameras["porch"].gate = "always"


def test_keys_with_nothing_behind_them_count_as_left_out(tmp_path: Path) -> None:
    text = """
    cameras:
      porch:
        source: scene://porch
        window:
        describe:
    rules:
    log:
    """
    assert load(tmp_path, text) == load(tmp_path, PORCH)


def test_cameras_can_share_lines(tmp_path: Path) -> None:
    text = """
    cameras:
      a: &usual
        source: scene://porch
        window: {num_frames: 4}
        gate: always
      b:
        <<: *usual
        source: scene://yard
    """
    b = load(tmp_path, text).cameras["b"]
    assert (b.source.secret, b.window.num_frames, b.gate) == ("scene://yard", 4, "always")


# YAML's traps


def test_words_that_yaml_reads_as_something_else(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        cameras:
          on: {source: {SOURCE}, describe: off}
          0123: {source: scene://yard, describe: {prompt: 22:00}}
        rules:
          no: {ask: off, cameras: on, describe: no}
        """,
        SOURCE="scene://porch",
    )
    assert list(config.cameras) == ["on", "0123"]
    assert config.cameras["on"].source.secret == "scene://porch"
    assert config.cameras["on"].describe is None
    described = config.cameras["0123"].describe
    assert described is not None
    assert described.prompt == "22:00"
    assert (config.rules["no"].ask, config.rules["no"].describe) == ("off", False)


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("cameras:\n  a: b: c\n", 2, "put a text that holds ': ' in quotes"),
        ("cameras:\n\ta: 1\n", 2, "indent with spaces"),
        ("cameras:\n  a: @b\n", 2, "begins with a special character in quotes"),
        ("cameras:\n  a: {NAME}/x\n", 2, "a value like {NAME}/x needs quotes"),
        ("rules:\n  a: {ask: Is it?}\n", 2, 'a question needs quotes: {ask: "Is there a dog?"}'),
        ("cameras:\n  a: 'b\n", 3, "a quote or bracket is not closed"),
        ("cameras:\n  a: *hunter2\n", 2, "begins with * in quotes"),
        ("cameras:\n  a: {source: !secret hunter2}\n", 2, 'write "{NAME}" for a secret'),
        ("cameras:\n  a: {source: !!float hunter2}\n", 2, "quote the value"),
        ("cameras:\n  a: {source: {{ hunter2 }}}\n", 2, 'write "{NAME}" in quotes'),
        ("cameras: &a\n  b: *a\n", 1, "contains itself"),
        ("cameras:\n  b: {<<: hunter2}\n", 2, "expected an alias of key: value lines"),
        ("cameras: 1\n---\nrules: 2\n", 2, "keep one, and delete the ---"),
        ("cameras:\n  a: \x07\n", 2, "U+0007"),
        ("", 1, "needs `cameras:`"),
        ("# only this\n", 1, "needs `cameras:`"),
        ("- a\n", 1, "found a list; expected key: value lines"),
    ],
)
def test_what_is_not_readable(tmp_path: Path, text: str, line: int, hint: str) -> None:
    said = complaint(tmp_path, text)
    assert said.startswith(f"c.yaml:{line}: ")
    assert hint in said
    assert "hunter2" not in said


def test_keys_given_twice(tmp_path: Path) -> None:
    said = complaint(tmp_path, f"{PORCH}log: {{}}\nlog: {{}}\n")
    assert said == "c.yaml:3: log: given twice, first on line 2: keep one"


# Mistakes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "    gate: movement",
            "4: cameras.porch.gate: found 'movement'; expected 'always' or 'motion'",
        ),
        ("    windw: {}", "4: cameras.porch.windw: unknown key. Did you mean window? Known here:"),
        ("    zone:", "4: cameras.porch.zone: unknown key."),
        (
            "    window: {num_frames: 0}",
            "4: cameras.porch.window.num_frames: found 0; expected a number of at least 1",
        ),
        (
            "    window: {num_frames: true}",
            "4: cameras.porch.window.num_frames: found true; expected a whole number",
        ),
        (
            "    window: {stride_s: 2.5}",
            ("4: cameras.porch.window.stride_s: found 2.5; expected a multiple of interval_s (1), "
            "for example 2"),
        ),
        (
            "    window: {interval_s: 3, stride_s: 1}",
            ("4: cameras.porch.window.stride_s: found 1; expected a multiple of interval_s (3), "
            "for example 3"),
        ),
        ("    max_idle_s: .inf", "4: cameras.porch.max_idle_s: found a text; expected a number"),
        ("    describe: 5", "4: cameras.porch.describe: found 5; expected key: value lines"),
        ("  attic: {}", '4: cameras.attic.source: missing; expected rtsp(s)://, http(s)://'),
        ("  Back Door: {source: x}", ("4: cameras.Back Door: a name is 1 to 64 of a-z, 0-9 and _: "
         "write back_door")),
        ("  bridge: {source: x}", "4: cameras.bridge: no camera can have this name"),
        ("  usb: {source: 0}", ("4: cameras.usb.source: expected a text in quotes, the camera's "
         "address; the first USB camera is `source: usb:0`")),
        ("  a: {source: 'rstp://h/'}", "4: cameras.a.source: nothing reads rstp:// addresses"),
        ("  a: {source: 'scene://beach'}", ("4: cameras.a.source: scene://beach: no scene 'beach'; "
         "there are driveway, porch")),
        ("  a: {source: 'usb:0?size=big'}",
         "4: cameras.a.source: usb:0?size=big: a USB camera takes"),
        ("  a:", "4: cameras.a: found nothing; expected key: value lines"),
        ("rules: {r: {ask: x, cameras: [porsch]}}",
         "4: rules.r.cameras: there is no camera 'porsch'. Did you mean porch? There are: porch"),
        ("rules: {r: {ask: x, cameras: []}}", "4: rules.r.cameras: expected `all`, or a list"),
        ("rules: {r: {}}", "4: rules.r: it says nothing of when; expected one of ask, match, "),
        ("rules: {r: {ask: x, for_ss: 30}}", "4: rules.r.for_ss: unknown key. Did you mean for_s?"),
        ("rules: {r: {ask: x, zone: []}}", "4: rules.r.zone: has 0 points;"),
        ("rules: {r: {sequence: []}}", "4: rules.r.sequence: expected at least two steps"),
        ("rules: {r: {ask: x, match: y}}", "4: rules.r: found ask and match; expected only one"),
        ("rules: {r: {all: []}}", "4: rules.r.all: found an empty list; expected at least one"),
        ("rules: {r: {all: [{ask: x}, {aks: y}]}}", "4: rules.r.all.1.aks: unknown key. Did you"),
        ("rules: {r: {any: [{not: {}}]}}", "4: rules.r.any.0.not: it says nothing of when"),
        ("rules: {r: {match: '('}}", "4: rules.r.match: the pattern is no regular expression"),
        ("rules: {r: {match: '(a+)+$'}}", "4: rules.r.match: the pattern takes too long"),
        ("rules: {r: {match: 'a*'}}", "4: rules.r.match: the pattern matches every text"),
        ("rules: {r: {all: [{rule: q}]}, s: {ask: x}}", "4: rules.r.all: there is no rule 'q'."),
        ("rules: {r: {rule: r}}", "4: rules.r.rule: the rule refers to itself: r -> r"),
        (
            "rules: {r: {sequence: [{ask: x}, {rule: s, within_s: 9}]}, s: {not: {rule: r}}}",
            "4: rules.r.sequence: the rule refers to itself: r -> s -> r",
        ),
        (
            "rules: {r: {sequence: [{ask: x}, {ask: y}]}}",
            "4: rules.r.sequence: step 2 needs a within_s",
        ),
        (
            "rules: {r: {sequence: [{ask: x, within_s: 3}, {ask: y, within_s: 3}]}}",
            "4: rules.r.sequence: the first step has nothing before it",
        ),
        ("rules: {r: {ask: x, active: {from: 22:00, to: 22:00}}}", "4: rules.r.active: is never"),
        ("rules: {r: {ask: x, active: {from: 25:00}}}", "4: rules.r.active.from: expected a time"),
        ("rules: {r: {ask: x, active: {days: []}}}", "4: rules.r.active.days: no day is left"),
        (
            "rules: {r: {ask: x, active: {days: [monday]}}}",
            "4: rules.r.active.days.0: found 'monday'; expected 'mon'",
        ),
        (
            "rules: {r: {ask: x, active: {timezone: Berlin}}}",
            "4: rules.r.active.timezone: is no time zone",
        ),
        ("rules: {r: {ask: x, open_above: 0.3}}",
         "4: rules.r.close_below: is 0.4; expected less than open_above (0.3)"),
        ("rules: {r: {ask: x, open_above: 1.5}}",
         "4: rules.r.open_above: found 1.5; expected a number of at most 1"),
        ("rules: {r: {ask: x, debounce: {needed: 4}}}",
         "4: rules.r.debounce.of: is 3; expected at least `needed` (4)"),
        ("rules: {r: {ask: x, severity: loud}}", ("4: rules.r.severity: found 'loud'; expected "
         "'info', 'warning' or 'alert'")),
        ("rules: {r: {ask: x, describe: maybe}}",
         "4: rules.r.describe: found 'maybe'; expected true or false"),
        ('rules: {r: {ask: "x\\ny"}}', "4: rules.r.ask: found several lines; expected one"),
        ("rules: {r: {ask: 5}}", "4: rules.r.ask: found 5; expected a text"),
        ("model: {name: 600m}", ("4: model.name: found '600m'; expected one of bundled, 256m, "
         "500m, 2.2b, smolvlm-256m, smolvlm-500m, smolvlm-2.2b, or a directory such as ./600m. "
         "Did you mean 500m?")),
        ("model: {name: HuggingFaceTB/SmolVLM2-500M-Video-Instruct}",
         "4: model.name: found a name on the model hub; expected the short one"),
        ("web: {listen: x}", "4: web: unknown key. Known here: model, mqtt, cameras, rules, log"),
        ("log: {level: loud}", "4: log.level: found 'loud'; expected 'debug', 'info'"),
        ("mqtt: {}", "4: mqtt.broker: missing; expected host, host:port, or `embedded`"),
        ("mqtt: {broker: 10.0.0.2}", "4: mqtt.tls: say whether the link"),
        ("mqtt: {broker: localhost, port: 0}", "4: mqtt.port: found 0; expected 1 to 65535"),
        ("mqtt: {broker: 'localhost:99999'}", "4: mqtt.broker: found port 99999; expected 1 to"),
        ("mqtt: {broker: 'localhost:1', port: 2}", "4: mqtt.port: given twice, here and in"),
        ("mqtt: {broker: localhost, base_topic: a/#}", "4: mqtt.base_topic: expected letters"),
        ("mqtt: {broker: localhost, ca_file: x}", "4: mqtt.ca_file: is only used with `tls: true`"),
        ("mqtt: {broker: localhost, cert_file: x}", "4: mqtt.cert_file: is only used with `tls:"),
        ("mqtt: {broker: b, tls: true, key_file: x}", "4: mqtt.key_file: belongs to a certificate"),
        ("mqtt: {broker: localhost, password: hunter2}",
         "4: mqtt.password: a password needs a user name with it"),
        ("mqtt: {broker: localhost, username: u, password_file: none}",
         "4: mqtt.password_file: cannot read the secret file none: No such file"),
        ("mqtt: {broker: embedded, username: u}",
         "4: mqtt.username: the embedded broker is on this machine and has none"),
        ("mqtt: {broker: embedded, tls: false}", "4: mqtt.tls: the embedded broker"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_its_mending(
    tmp_path: Path, text: str, said: str
) -> None:
    head = "cameras:\n  porch:\n    source: scene://porch\n"
    told = complaint(tmp_path, head + text)
    assert told.startswith(f"c.yaml:{said}")
    assert told.count("c.yaml:") == 1  # one mistake, one problem


def test_a_broker_elsewhere_shows_both_ways(tmp_path: Path) -> None:
    said = complaint(tmp_path, f"{PORCH}mqtt: {{broker: 10.0.0.2}}")
    assert "tls: true " in said
    assert "tls: false " in said
    assert "reads the password and every event" in said


def test_two_passwords(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("x")
    mqtt = f"{{broker: localhost, username: u, password: a, password_file: {tmp_path}/pw}}"
    assert "given twice, here and as `password`" in complaint(tmp_path, f"{PORCH}mqtt: {mqtt}")


def test_all_problems_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    said = complaint(
        tmp_path,
        """\
        model: {name: 600m}
        cameras:
          a: {source: scene://porch, gate: b}
        rules:
          r: {cameras: [c]}
          r: {ask: x}
        mqtt: {broker: 10.0.0.2, nonsense: 1}
        """,
    )
    lines = [line for line in said.splitlines() if line.startswith("c.yaml:")]
    assert lines == sorted(lines, key=lambda line: int(line.split(":")[1]))
    places = sorted(":".join(line.split(":")[1:3]) for line in lines)
    assert places == [
        "1: model.name",
        "3: cameras.a.gate",
        "5: rules.r.cameras",
        "6: rules.r",
        "7: mqtt.nonsense",
        "7: mqtt.tls",
    ]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path, {})
    (tmp_path / "latin.yaml").write_bytes("cameras: ä".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml", {})


keys = st.sampled_from(
    ["cameras", "rules", "mqtt", "model", "log", "porch", "source", "window", "num_frames", "ask",
     "interval_s", "stride_s", "describe", "every_s", "debounce", "of", "needed", "tls", "broker",
     "password", "password_file", "username", "port", "events", "name", "", "x"]
)  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70_000),
    st.just(10**400),
    st.floats(),
    st.sampled_from(
        [
            "all",
            "off",
            "embedded",
            "localhost",
            "{X}",
            "scene://x",
            "scene://yard",
            "usb:0?fps=x",
            "rtsp://[",
            "h:1",
            "porch",
        ]
    ),
    st.text(max_size=5),
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=5)
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values | st.fixed_dictionaries({"cameras": values, "mqtt": values, "rules": values}))
def test_any_yaml_is_taken_or_told_never_a_crash(tmp_path: Path, content: object) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    told, cameras = "", {}
    try:
        cameras = dict(load_config(path, {"X": "scene://yard"}).cameras)
    except ConfigError as error:
        told = str(error)
    assert cameras or "c.yaml" in told


# Secrets stay secret


SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "cameras: {porch: 'rtsp://u:hunter2@h/'}",
        "cameras: 'rtsp://u:hunter2@h/'",
        "cameras: ['rtsp://u:hunter2@h/']",
        "'rtsp://u:hunter2@h/'",
        "cameras: {porch: {source: ['rtsp://u:hunter2@h/']}}",
        "cameras: {porch: {source: 'rstp://u:hunter2@h/'}}",
        "cameras: {porch: {souce: 'rtsp://u:hunter2@h/'}}",
        "cameras: {porch: {source: x, gate: [hunter2]}}",
        "cameras: {porch: {source: x, window: 'rtsp://u:hunter2@h/'}}",
        "mqtt: {broker: 'mqtt://u:hunter2@h:1'}",
        "mqtt: {broker: 'u:hunter2@h'}",
        "mqtt: hunter2",
        "mqtt: {broker: localhost, username: u, pasword: hunter2}",
        "mqtt: {broker: localhost, username: u, password: [hunter2]}",
        "mqtt: {broker: localhost, username: u, password: {hunter2: 1}}",
        "mqtt: {broker: localhost, username: u, password: &hunter2 {a: 1}, x: &hunter2 2}",
        "mqtt: {broker: localhost, password: *hunter2}",
        "mqtt: {broker: localhost, password: !hunter2 x}",
        "mqtt: {broker: localhost, password: 'hunter2}",
        "mqtt: {broker: localhost, password: hunter2: 1}",
        "mqtt:\n  password: %hunter2\n",
        "mqtt:\n  password: hunter2: x\n",
        'mqtt:\n  password: "hunter2\\q"\n',
        "mqtt:\n  password: >hunter2\n",
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, text: str) -> None:
    assert SECRET not in complaint(tmp_path, text)


def test_numbers_where_a_password_belongs_are_not_shown(tmp_path: Path) -> None:
    said = complaint(tmp_path, f"{PORCH}mqtt: {{broker: localhost, username: u, password: 7531}}")
    assert "mqtt.password: found no text; expected a text (put it in quotes" in said
    assert "7531" not in said


def test_a_configuration_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(SECRET)
    config = load(
        tmp_path,
        f"""
        cameras:
          a: {{source: "rtsp://u:hunter2@h/"}}
          b: {{source: "rtsp://u:{{PW}}@h/?token={{PW}}"}}
          c: {{source: {{URL}}}}
        mqtt: {{broker: localhost, username: u, password_file: {tmp_path}/pw}}
        """,
        PW=SECRET,
        URL="http://u:hunter2@h/",
    )
    for shown in (repr(config), str(config), config.model_dump_json(), str(config.model_dump())):
        assert SECRET not in shown
    basic = base64.b64encode(f"u:{SECRET}".encode()).decode()  # as an Authorization header has it
    assert sorted(config.secret_values) == sorted([SECRET, basic])


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        ("[[[0, 0], [1, 0]]]", "has 2 points"),
        ("[[[0, 0], [1, 0], [1, 1.5]]]", "has the point [1, 1.5]"),
        ("[[[0, 0], [1, 1], [1, 0], [0, 1]]]", "crosses itself"),
        ("[[[0, 0], [0.5, 0.5], [1, 1]]]", "is empty"),
    ],
)
def test_a_mask_that_masks_nothing_is_told_with_its_line(
    tmp_path: Path, mask: str, problem: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"cameras:\n  a:\n    source: scene://porch\n    mask: {mask}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value).startswith(f"{path}:4: cameras.a.mask.0: {problem}")


def test_rules_of_one_box_share_a_zone_and_whole_questions_stay(tmp_path: Path) -> None:
    box = "[[0.1, 0.5], [0.9, 0.5], [0.9, 1], [0.1, 1]]"
    path = tmp_path / "c.yaml"
    path.write_text(
        "cameras:\n  a: {source: scene://porch}\n  b: {source: scene://porch}\n"
        f"rules:\n  one: {{cameras: a, ask: 'Is it?', zone: {box}}}\n"
        f"  two: {{cameras: a, zone: {box},"
        " all: [{ask: 'Is it?'}, {not: {ask: 'Was it?'}}]}\n"
        "  three: {ask: 'Is it?'}\n"
    )
    config = load_config(path, {})
    (zone,) = config.zones_for("a")
    assert config.zones_for("b") == ()
    one, two, three = config.rules_for("a")
    assert one.questions == (zone.question("Is it?"),)
    assert two.questions == (zone.question("Is it?"), zone.question("Was it?"))
    assert three.questions == ("Is it?",)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{ask: 'Is it?', zone: [[0, 0], [1, 1]]}", "has 2 points"),
        ("{ask: 'Is it?', zone: [[0, 0], [1, 1], [1, 0], [0, 1]]}", "crosses itself"),
        ("{match: fire, zone: [[0, 0], [1, 0], [1, 1]]}", "there is no `ask`"),
    ],
)
def test_a_zone_that_cannot_be_is_told_with_its_line(
    tmp_path: Path, rule: str, problem: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"cameras: {{a: {{source: scene://porch}}}}\nrules:\n  r: {rule}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value).startswith(f"{path}:3: rules.r.zone: {problem}")
