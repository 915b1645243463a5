"""Which keys, defaults and limits has the configuration?

Knows single sections: what is said of them here is what editors and the reference show.
`daemon.config` puts them together, `daemon.config_checks` judges values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from daemon import config_broker as mqtt
from daemon import config_checks as checks
from daemon.log_levels import Level, Part
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.tls import TlsFiles
from pipelines.sources.base import DecodeMode
from pipelines.sources.url import SourceUrl
from pipelines.window_plan import WindowPlan

_DAY_S = 86_400

Share = Annotated[float, Field(strict=True, ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(strict=True, ge=0.0, le=_DAY_S)]
Count = Annotated[int, Field(strict=True)]
Port = Annotated[Count, Field(ge=0, le=65535)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Slug = Annotated[str, AfterValidator(checks.slug), WithJsonSchema(checks.SLUG_SCHEMA)]
CameraSlug = Annotated[Slug, AfterValidator(checks.camera_slug)]
SecretText = Annotated[SecretStr, BeforeValidator(checks.filled)]
SecretFile = Annotated[
    SecretStr, BeforeValidator(checks.file_text), WithJsonSchema({"type": "string"})
]
Source = Annotated[
    SourceUrl,
    PlainValidator(checks.source),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
CameraNames = Annotated[
    tuple[str, ...], BeforeValidator(checks.camera_names), WithJsonSchema(checks.CAMERAS_SCHEMA)
]
Coordinate = Annotated[float, Field(strict=True)]
Outline = Annotated[tuple[tuple[Coordinate, Coordinate], ...], AfterValidator(checks.polygon)]
NotEmbedded = AfterValidator(mqtt.not_embedded)
WithUsername = AfterValidator(mqtt.with_username)


class Section(BaseModel):
    """Keys that may stand together; others are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, values: Any) -> Any:
        """A key with nothing behind it counts as left out."""
        if not isinstance(values, dict):
            return values
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {
            key: value for key, value in values.items() if value is not None or key not in known
        }


class ModelConfig(Section):
    """Which model looks at the windows, and how it runs."""

    name: Annotated[str, AfterValidator(checks.model_name)] = Field(
        default="bundled",
        description="bundled, 256m, 500m, 2.2b, or the directory of a model in that format; "
        "smolvlm-256m, smolvlm-500m and smolvlm-2.2b are the first SmolVLM, for single pictures",
    )
    engine: Literal["auto", "torch", "openvino"] = Field(
        default="auto",
        description="what runs it; auto: OpenVINO on a CPU where it is installed, else torch",
    )
    precision: Literal["auto", "f32", "bf16", "int8"] = Field(
        default="auto",
        description="auto: bf16 where the machine is fast at it, else f32; int8: OpenVINO only",
    )
    device: Literal["auto", "cpu", "cuda", "gpu", "npu"] = Field(
        default="auto",
        description="auto: an Nvidia GPU, else the CPU; gpu, npu: Intel's, through OpenVINO",
    )
    calibration: Path | None = Field(
        default=None,
        description="folder of your cameras' pictures and recordings, from which int8 takes its "
        "ranges, and by four of which it is checked; left out: drawn scenes",
    )
    threads: Annotated[Count, Field(ge=1, le=1024)] | None = Field(
        default=None, description="CPU threads; left out: one for each core that smolwatch may use"
    )
    max_new_tokens: Annotated[Count, Field(ge=1, le=512)] = Field(
        default=48, description="limit of a description's length"
    )
    reuse_unchanged: Annotated[
        Annotated[float, Field(strict=True, ge=1, le=64)] | None,
        BeforeValidator(checks.none_if_off),
    ] = Field(
        default=None,
        description="`off`, or levels of 255: a frame that differs less from one before, where it "
        "differs most, takes its features for up to 30 s. The one approximation; 8 suits most "
        "cameras. Who asks over MQTT or HTTP is shown the frames as they are",
        json_schema_extra=checks.off_instead_of_null,
    )


class MqttConfig(Section):
    """The broker that is told."""

    broker: Annotated[str, AfterValidator(mqtt.broker)] = Field(
        description="host, host:port, or `embedded` for a broker within smolwatch on this machine",
        examples=["10.0.0.2"],
    )
    port: Annotated[Port | None, AfterValidator(mqtt.port)] = Field(
        default=None, description="left out: 1883, or 8883 with TLS; 0: any free one (embedded)"
    )
    username: Annotated[Text | None, NotEmbedded] = None
    password: Annotated[SecretText | None, NotEmbedded, WithUsername] = Field(
        default=None, description='"{NAME}", or in plain'
    )
    password_file: Annotated[
        SecretFile | None, NotEmbedded, WithUsername, AfterValidator(mqtt.only_password)
    ] = Field(default=None, description="a file with the password")
    tls: Annotated[bool | None, NotEmbedded, AfterValidator(mqtt.tls)] = Field(
        default=None,
        validate_default=True,
        description="to be said for a broker that is not on this machine",
    )
    ca_file: Annotated[Path | None, NotEmbedded, AfterValidator(mqtt.with_tls)] = Field(
        default=None, description="PEM certificates to trust instead of the system's"
    )
    cert_file: Annotated[Path | None, NotEmbedded, AfterValidator(mqtt.with_tls)] = Field(
        default=None, description="our own certificate (PEM), for a broker that asks for one"
    )
    key_file: Annotated[Path | None, NotEmbedded, AfterValidator(mqtt.with_certificate)] = Field(
        default=None, description="its key (PEM); left out: it stands in cert_file"
    )
    key_password: Annotated[
        SecretText | None, NotEmbedded, AfterValidator(mqtt.with_certificate)
    ] = Field(default=None, description='of an encrypted key: "{NAME}", or in plain')
    base_topic: Annotated[str, AfterValidator(mqtt.topic)] = Field(
        default="smolwatch", description="all topics begin with it"
    )
    client_id: Text | None = Field(default=None, description="left out: smolwatch-<host name>")
    discovery: bool = Field(
        default=True, description="announce cameras and rules to Home Assistant"
    )
    discovery_prefix: Annotated[str, AfterValidator(mqtt.topic)] = Field(
        default="homeassistant", description="where Home Assistant looks for announcements"
    )
    commands: Literal["off", "arm", "full"] = Field(
        default="off",
        description="what may be asked over MQTT. off: nothing; arm: rules and cameras are "
        "switched on and off; full: thresholds, prompts, descriptions, questions, pictures too",
    )

    @property
    def embedded(self) -> bool:
        """Whether smolwatch runs the broker itself."""
        return self.broker == "embedded"

    @property
    def plain_password(self) -> str | None:
        """The password itself, from wherever it came."""
        secret = self.password or self.password_file
        return secret.get_secret_value() if secret else None

    def options(self, host_name: str) -> MqttOptions:
        """Make the client's options; port 0 stands for any free one of the embedded broker."""
        host, port = mqtt.split_host("127.0.0.1" if self.embedded else self.broker)
        port = self.port if port is None else port
        if port is None:
            port = 8883 if self.tls else 1883
        return MqttOptions(
            host=host,
            port=port,
            username=self.username,
            password=self.plain_password,
            base_topic=self.base_topic,
            client_id=self.client_id or f"smolwatch-{host_name}",
            tls=self._tls_files() if self.tls else None,
        )

    def _tls_files(self) -> TlsFiles:
        password = self.key_password.get_secret_value() if self.key_password else None
        return TlsFiles(self.ca_file, self.cert_file, self.key_file, password)


class WindowConfig(Section):
    """How many frames make one look, and how often there is one."""

    num_frames: Annotated[Count, Field(ge=1, le=64)] = Field(
        default=8, description="frames of one window"
    )
    interval_s: Annotated[Seconds, Field(ge=0.05)] = Field(
        default=1.0, description="between the frames of a window"
    )
    stride_s: Annotated[Seconds, Field(gt=0), AfterValidator(checks.stride)] = Field(
        default_factory=lambda earlier: 2 * earlier.get("interval_s", 1.0),
        description="between the starts of windows; a multiple of interval_s, by default twice it",
    )
    anchor: Annotated[bool, AfterValidator(checks.anchor)] = Field(
        default=False,
        description="windows keep their start and grow to twice num_frames before there is another "
        "start: only new frames are run, for a fraction of a prompt's cost on a CPU",
    )


class DescribeConfig(Section):
    """Descriptions on a schedule."""

    every_s: Annotated[Seconds, Field(ge=1)] = 60.0
    prompt: Text | None = Field(default=None, description="left out: the model's own")


class CameraConfig(Section):
    """One camera."""

    source: Source = Field(
        description="rtsp(s)://, http(s)://, scene://, a video file, or /dev/v4l/by-id/... (USB)",
        examples=["rtsp://user:{PORCH_PASSWORD}@10.0.0.5/stream2"],
    )
    enabled: bool = True
    window: WindowConfig = WindowConfig()
    decode: DecodeMode = Field(
        default="auto",
        description="auto: as much as sampled frames need; keyframes: only keyframes, and only "
        "they are sampled; all: everything",
    )
    mask: tuple[Outline, ...] = Field(
        default=(),
        description="parts of the picture that nothing sees or keeps; each a list of corners "
        "[x, y], from 0 to 1",
    )
    gate: Literal["always", "motion"] = Field(
        default="motion", description="motion: only windows in which something moved are run"
    )
    max_idle_s: Annotated[Seconds, Field(ge=1)] = Field(
        default=60.0, description="with gate motion: a window is run at least this often"
    )
    describe: Annotated[DescribeConfig | None, BeforeValidator(checks.none_if_off)] = Field(
        default=DescribeConfig(),
        description="`off` for no descriptions",
        json_schema_extra=checks.off_instead_of_null,
    )

    def plan(self) -> WindowPlan:
        """Make the plan by which the camera's windows are chosen."""
        return WindowPlan(
            num_frames=self.window.num_frames,
            interval_s=self.window.interval_s,
            stride_s=self.window.stride_s,
            anchor=self.window.anchor,
            gate=self.gate,
            max_idle_s=self.max_idle_s,
        )


class LogConfig(Section):
    """What is written down on this machine."""

    events: Path | None = Field(default=None, description="file of events, one JSON object a line")
    events_max_bytes: Annotated[Count, Field(ge=100_000)] = Field(
        default=10_000_000, description="a file that is full becomes NAME.1, NAME.1 becomes NAME.2"
    )
    events_keep: Annotated[Count, Field(ge=0, le=1000)] = Field(
        default=4, description="how many of those stay"
    )
    events_max_age_days: Annotated[float, Field(strict=True, gt=0, le=3650)] = Field(
        default=30.0, description="of those: how long after their last line"
    )
    level: Level = "info"
    levels: Mapping[Part, Level] = Field(
        default={}, description="of single parts", examples=["{capture: debug}"]
    )
    format: Literal["auto", "json", "terminal"] = Field(
        default="auto", description="auto: lines for people on a terminal, else JSON"
    )

    @property
    def json_lines(self) -> bool | None:
        """None where the stream decides."""
        return None if self.format == "auto" else self.format == "json"


class MediaConfig(Section):
    """The folder of snapshots and clips. The oldest go first, those of alerts last."""

    dir: Path
    max_age_days: Annotated[float, Field(strict=True, gt=0, le=3650)] = 30.0
    max_bytes: Annotated[Count, Field(ge=10_000_000)] = Field(
        default=2_000_000_000,
        description="beyond this files of severity info go, then of warning, then of alert",
    )


class StoreConfig(Section):
    """What is remembered: events, answers and words, bounded by age and size."""

    path: Path | None = Field(
        default=None,
        description="left out: smolwatch.db in the service's state directory; without one, none",
    )
    max_age_days: Annotated[float, Field(strict=True, gt=0, le=3650)] = 30.0
    max_bytes: Annotated[Count, Field(ge=10_000_000)] = Field(
        default=1_000_000_000, description="beyond this the oldest goes, events last"
    )


class ControlConfig(Section):
    """Where commands such as `smolwatch why` ask the running daemon."""

    path: Path | None = Field(
        default=None, description="a socket; left out: control.sock in the service's run directory"
    )
