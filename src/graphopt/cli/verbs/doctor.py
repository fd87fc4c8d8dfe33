"""``graphopt doctor``: what is installed, what is missing, how to get it."""

from pathlib import Path

import click

from graphopt.cli.options import json_option

# distribution, extra that installs it ("" = core), what needs it
PACKAGES = (
    ("onnx", "", "everything"),
    ("onnx-ir", "", "everything"),
    ("onnx-graphsurgeon", "", "passes written on a graphsurgeon graph"),
    ("onnxsim", "", "pass simplify"),
    ("onnxruntime", "", "verification, validate, run, bench"),
    ("numpy", "", "everything"),
    ("pillow", "", "reading images"),
    ("torch", "torch", "export, --demo, torch: stages"),
    ("openvino", "openvino", "compile --target openvino"),
    ("opencv-python", "vision", "preprocessing and masks of segmentation models"),
    ("jinja2", "report", "report.html"),
    ("onnxslim", "simplifiers", "simplify:engine=onnxslim"),
    ("onnxscript", "simplifiers", "simplify:engine=onnxscript"),
    ("mmdet", "mmdet", "detector checkpoints"),
    ("mmcv-lite", "mmdet", "detector checkpoints"),
    ("ultrafast-pycocotools", "coco", "COCO metric, in a fortieth of the time"),
    ("pycocotools", "coco", "COCO metric"),
    ("ray", "ray", "evaluation on many devices"),
)
PROGRAMS = (
    ("atc", "compile --target atc: install CANN and source its set_env.sh"),
    ("npu-smi", "--soc auto: comes with the Ascend driver"),
)
_OPERATORS = {
    "compiled": "the compiled ones",
    "PyTorch": "graphopt's own in PyTorch (nms, roi_align, deform_conv, modulated_deform_conv)",
}


@click.command("doctor", short_help="What is installed, what is missing.")
@json_option
def command(as_json: bool) -> int:
    """Print what is installed and one remedy for each thing that is not.

    Exits 3 when a package of the core is missing; optional ones are only listed.
    """
    import platform
    import shutil
    from importlib import metadata

    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.core.project_file import find_project_file, read_project_file
    from graphopt.exporters.mmdet.mmcv_ops import mmcv_operators

    rows: list[list[str]] = []
    broken = False
    for name, extra, purpose in PACKAGES:
        try:
            rows.append([name, metadata.version(name), purpose, ""])
        except metadata.PackageNotFoundError:
            broken = broken or not extra
            wanted = f"graphopt[{extra}]" if extra else "graphopt"
            rows.append([name, "missing", purpose, f"pip install '{wanted}'"])
    for program, purpose in PROGRAMS:
        found = shutil.which(program)
        rows.append([program, found or "missing", purpose.partition(":")[0], "" if found else purpose])
    operators = mmcv_operators()
    project = find_project_file(Path.cwd())
    listed = read_project_file(project).plugins if project else ()
    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    try:
        version = metadata.version("graphopt")
    except metadata.PackageNotFoundError:  # run from its sources
        version = "not installed"
    if as_json:
        keys = ("name", "version", "needed_for", "remedy")
        items = [dict(zip(keys, row, strict=True)) for row in rows]
        own = {"project_file": project, "plugins": list(listed), "mmcv_operators": operators}
        print_json("doctor", {"ok": not broken, "system": system, "items": items, **own})
    else:
        print_line(f"graphopt {version}, {system}")
        print_table("", ["what", "version", "needed for", "remedy"], rows)
        if operators:
            print_line(f"operators of mmcv: {_OPERATORS[operators]}")
        if project:
            print_line(f"{project}: plugins {', '.join(item.name for item in listed) or 'none'}")
    return 3 if broken else 0
