"""Is the number format chosen by what the processor can do?"""

from __future__ import annotations

import pytest
import torch

from pipelines.errors import ModelError
from pipelines.smolvlm2.device import choose_device, choose_dtype, cpu_multiplies_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16 sha_ni\n", True),
        ("flags\t\t: fpu avx2 amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd i8mm bf16\n", True),  # Arm
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", False),
        ("model name\t: bf16\n", False),
        ("", False),
    ],
)
def test_bf16_is_read_from_the_processor_flags(cpuinfo, expected):
    assert cpu_multiplies_bf16(cpuinfo) is expected


def test_a_named_precision_is_given_as_asked():
    assert choose_dtype("f32", CPU) == torch.float32
    assert choose_dtype("bf16", CPU) == torch.bfloat16
    assert choose_dtype("auto", CPU) in (torch.float32, torch.bfloat16)


def test_unknown_names_say_what_is_known():
    with pytest.raises(ModelError, match="use auto, f32 or bf16"):
        choose_dtype("int4", CPU)
    with pytest.raises(ModelError, match="use auto, cpu or cuda"):
        choose_device("gpu0")


def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(ModelError, match="no GPU for device 'cuda:99'"):
        choose_device("cuda:99")
