"""What a user imports is there, documented, and cheap to import."""

import inspect
import subprocess
import sys

import pytest

from graphopt import api


@pytest.mark.parametrize("name", api.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(api, name)), name


def test_importing_the_api_needs_no_heavy_package() -> None:
    heavy = "torch,openvino,onnxruntime,onnxsim,onnx_graphsurgeon,jinja2,rich"
    code = (
        f"import sys\nfor name in {heavy.split(',')!r}: sys.modules[name] = None\n"
        "from graphopt import api\nassert api.parse_steps('remove_pad')[0].name == 'remove_pad'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
