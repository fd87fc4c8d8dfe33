"""What an export wrote, as a table or JSON."""

from typing import TYPE_CHECKING

from graphopt.cli.render import print_json, print_line, print_table, size_text

if TYPE_CHECKING:
    from graphopt.core.artefacts import Artefact


def show_export(artefact: "Artefact", *, as_json: bool) -> None:
    """Print the file, its inputs and its outputs."""
    if as_json:
        print_json(
            "export", {"ok": True, "path": artefact.path, "sha256": artefact.sha256, **artefact.settings}
        )
        return
    size = size_text(artefact.path.stat().st_size)
    print_line(f"{artefact.path}: {size}, sha256 {artefact.sha256[:12]}")
    rows = [
        [spec.name, spec.shape_text, spec.dtype, spec.role] for spec in (*artefact.inputs, *artefact.outputs)
    ]
    print_table("", ["tensor", "shape", "dtype", "role"], rows)
