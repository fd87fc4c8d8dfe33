"""Compare two model files, with what their sidecars know about the passes between them."""

from pathlib import Path

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import InvalidModelError
from graphopt.core.files import sha256_of
from graphopt.core.lineage import MODEL_PARENT
from graphopt.core.onnx_files import load_model
from graphopt.surgery.differences.model_diff import ModelDiff, diff_models


def diff_files(before: Path, after: Path) -> ModelDiff:
    """Compare two ONNX files; weights may be stripped.

    Args:
        before: the first.
        after: the second; where it was made from the first by passes, its sidecar says where each of
            them was applied.

    Raises:
        InvalidModelError: a file cannot be read.
    """
    old, new = load_model(before, allow_stripped=True), load_model(after, allow_stripped=True)
    related = new.metadata_props.get(MODEL_PARENT, "") == sha256_of(before)
    return diff_models(old, new, sites=_sites(after) if related else None, related=related)


def _sites(path: Path) -> dict[str, str]:
    """Return node name -> the first pass that was applied there."""
    try:
        artefact = Artefact.load(path)
    except InvalidModelError:
        return {}  # a damaged sidecar is no reason not to compare the models
    sites: dict[str, str] = {}
    passes = artefact.settings.get("passes", []) if artefact is not None else []
    for item in passes if isinstance(passes, list) else []:
        if isinstance(item, dict) and isinstance(item.get("nodes"), list):
            for node in item["nodes"]:
                sites.setdefault(str(node), str(item.get("name", "")))
    return sites
