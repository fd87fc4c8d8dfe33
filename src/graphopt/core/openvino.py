"""Import OpenVINO without its telemetry.

``import openvino`` alone sends an event over the network and writes a client id into the home
folder when the package ``openvino_telemetry`` is there. OpenVINO falls back to a stub when that
package cannot be imported, so it is hidden for the length of the import.
"""

import sys
from types import ModuleType

from graphopt.core.optional import require

_TELEMETRY = "openvino_telemetry"


def load_openvino(*, purpose: str) -> ModuleType:
    """Return the module ``openvino``; the first import happens with telemetry hidden.

    Args:
        purpose: what needs it, as the start of a sentence.

    Raises:
        MissingBackendError: OpenVINO is not installed.
    """
    if "openvino" in sys.modules or _TELEMETRY in sys.modules:
        return require("openvino", extra="openvino", purpose=purpose)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # documented way to make an import fail
    try:
        return require("openvino", extra="openvino", purpose=purpose)
    finally:
        del sys.modules[_TELEMETRY]
