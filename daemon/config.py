"""What is smolwatch to do?

Knows the whole of the configuration, file and all; of other files it opens those that hold secrets
or reference pictures.
`python -m daemon.config` prints the JSON Schema that is kept in configs/config.schema.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, model_validator
from pydantic.json_schema import GenerateJsonSchema

from daemon import config_checks as checks
from daemon.config_digest import DigestConfig
from daemon.config_errors import ConfigError, Problem, explain, tell_once
from daemon.config_http import HttpConfig
from daemon.config_references import judged_on, problems_between
from daemon.config_rules import RuleConfig
from daemon.config_sections import (
    CameraConfig,
    CameraSlug,
    ControlConfig,
    LogConfig,
    MediaConfig,
    ModelConfig,
    MqttConfig,
    Section,
    Slug,
    StoreConfig,
)
from daemon.config_throttle import ThrottleConfig
from daemon.config_yaml import Document, read_yaml
from daemon.secrets import Secrets
from pipelines.examples import Examples
from pipelines.rules import Rule
from pipelines.zones import Zone

__all__ = ["Config", "ConfigError", "load_config", "schema_json"]


class Config(Section):
    """The whole configuration. `repr` and `model_dump` show no secrets."""

    model: ModelConfig = ModelConfig()
    mqtt: MqttConfig | None = Field(default=None, description="left out: events are only logged")
    cameras: Mapping[CameraSlug, CameraConfig] = Field(
        min_length=1, description="cameras, each indented under a name of its own"
    )
    rules: Mapping[Slug, RuleConfig] = Field(
        default={}, description="alert rules, each indented under a name of its own"
    )
    log: LogConfig = LogConfig()
    store: Annotated[StoreConfig | None, BeforeValidator(checks.none_if_off)] = Field(
        default=StoreConfig(),
        description="`off` for none: then nothing is remembered, and `why` has no answer",
        json_schema_extra=checks.off_instead_of_null,
    )
    media: MediaConfig | None = Field(
        default=None, description="where snapshots and clips go, for rules that want them"
    )
    digest: Annotated[DigestConfig | None, BeforeValidator(checks.none_if_off)] = Field(
        default=None, description="what happened, on a schedule; left out or `off`: on request only"
    )
    control: ControlConfig = ControlConfig()
    http: Annotated[HttpConfig | None, BeforeValidator(checks.none_if_off)] = Field(
        default=HttpConfig(),
        description="health, metrics, pictures and questions over HTTP; `off` for none",
        json_schema_extra=checks.off_instead_of_null,
    )
    throttle: ThrottleConfig = Field(
        default=ThrottleConfig(), description="how much of the machine smolwatch may take"
    )

    _filled: tuple[str, ...] = ()  # what stood for a `{NAME}`

    @model_validator(mode="after")
    def _keep_what_was_filled_in(self, info: ValidationInfo) -> Self:
        if isinstance(info.context, checks.Context):
            self._filled = tuple(
                sorted(value for value in info.context.secrets.found if "://" not in value)
            )
        return self

    @property
    def secret_values(self) -> tuple[str, ...]:
        """Every password in it, to be masked wherever it might turn up (`daemon.redact`)."""
        found = [word for camera in self.cameras.values() for word in camera.source.passwords]
        found += self._filled
        if self.mqtt is not None:
            found.append(self.mqtt.plain_password or "")
            key_password = self.mqtt.key_password
            found.append(key_password.get_secret_value() if key_password else "")
        if self.http is not None:
            found.append(self.http.plain_token or "")
        return tuple(dict.fromkeys(filter(None, found)))

    def rules_for(self, camera: str) -> tuple[Rule, ...]:
        """The rules of one camera, in the order of the file."""
        cameras = judged_on(self.rules)
        return tuple(r.made(name) for name, r in self.rules.items() if camera in cameras[name])

    @property
    def examples(self) -> tuple[Examples, ...]:
        """The reference pictures of all questions, each set once: the model must learn them."""
        return tuple(dict.fromkeys(e for rule in self.rules.values() for e in rule.all_shown()))

    def zones_for(self, camera: str) -> tuple[Zone, ...]:
        """The parts of one camera's picture that rules ask about, each once."""
        names = {rule.name for rule in self.rules_for(camera)}
        outlines = (rule.zone for name, rule in self.rules.items() if name in names)
        return tuple(dict.fromkeys(Zone.around(o) for o in outlines if o is not None))


def load_config(path: Path, env: Mapping[str, str]) -> Config:
    """Read and check the file; `env` (`os.environ`) says where secrets are.

    Raises `ConfigError` with every problem that was found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = Problem((), f"cannot be read: {error.strerror}; name a file with -c")
        raise ConfigError(str(path), [problem]) from error
    except UnicodeDecodeError:
        # Not chained: the error holds the whole file.
        problem = Problem((), "is not UTF-8 text; save it as UTF-8", line=1)
        raise ConfigError(str(path), [problem]) from None
    document = read_yaml(text)
    config, problems = _validated(document, Secrets(env), path.parent)
    if config is None or problems:
        raise ConfigError(str(path), problems)
    return config


def _validated(
    document: Document, secrets: Secrets, folder: Path
) -> tuple[Config | None, list[Problem]]:
    problems = list(document.problems)
    if document.values is None:
        nothing = Problem((), "there is nothing in it; a configuration needs `cameras:`", line=1)
        return None, problems or [nothing]
    has_media = isinstance(document.values, dict) and bool(document.values.get("media"))
    context = checks.Context(secrets, checks.names_of_cameras(document.values), has_media, folder)
    try:
        config = Config.model_validate(document.values, context=context)
    except ValidationError as error:
        for details in tell_once(error.errors(include_url=False)):
            problem = explain(details, Config)
            line = document.line(problem.path)
            problems.append(Problem(problem.path, problem.text, line))
        return None, problems
    described = {name: camera.describe is not None for name, camera in config.cameras.items()}
    between = problems_between(config.rules, described)
    problems += [Problem(found.path, found.text, document.line(found.path)) for found in between]
    if config.digest is not None and config.store is None:
        text = "is made of what is stored; leave `store: off` out"
        problems.append(Problem(("digest",), text, document.line(("digest",))))
    return config, problems


class _Untitled(GenerateJsonSchema):
    """Without a title for every key, which would only say the key again."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's
        """See `GenerateJsonSchema`."""
        return False


def schema_json() -> str:
    """The JSON Schema of the configuration, as configs/config.schema.json holds it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(schema_generator=_Untitled),
        "title": "smolwatch configuration",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_json())
