"""``graphopt export mmdet``: any detector of the package mmdet."""

from pathlib import Path

import click

from graphopt.cli.options import Progress, data_option, force_option, json_option, output_option


@click.command("mmdet", short_help="A detector of mmdet 3.x, by its configuration.")
@click.option("--config", required=True, metavar="NAME|FILE", help="One of mmdet's own, or a file.")
@click.option("--checkpoint", type=click.Path(path_type=Path), default=None, help="Trained weights.")
@click.option("--shape", required=True, metavar="1,3,H,W", help="Sizes of the input.")
@click.option("--dynamic-batch", is_flag=True, help="Leave the number of images open (one-stage detectors).")
@click.option("--opset", type=click.IntRange(min=11, max=12), default=11, show_default=True)
@click.option("--partial", is_flag=True, help="Load what fits of the checkpoint; the other keys are listed.")
@click.option(
    "--exec-config", is_flag=True, help="Run the configuration's file, as mmdet does: its code is run."
)
@data_option("Golden inputs: .npz with one array input [N,3,H,W], or a COCO folder; else seeded.")
@output_option("Folder of the bundle; default: ./NAME of the configuration.")
@force_option
@json_option
def command(
    config: str,
    checkpoint: Path | None,
    shape: str,
    dynamic_batch: bool,
    opset: int,
    partial: bool,
    exec_config: bool,
    data: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export a detector with its decoding and suppression, from preprocessed image to detections.

    Needs no compiled mmcv. The configuration is read, not run. Checkpoints of mmdet 1.x and 2.x load, too.
    The graph has standard operators, and is what the passes replace_nms, replace_roi_extractor and
    replace_dcn rewrite for a target: graphopt apply MODEL --recipe mmdet:CONFIG:HxW, or all the way at once:
    graphopt pipeline mmdet:CONFIG:HxW

    graphopt export mmdet --config retinanet_r50_fpn_1x_coco --checkpoint retinanet.pth --shape 1,3,640,640
    """
    from graphopt.cli.show_export import show_export
    from graphopt.recipes.mmdet_export import DetectorRequest, export_detector

    request = DetectorRequest(
        config=config,
        shape=_sizes(shape),
        checkpoint=checkpoint,
        execute=exec_config,
        batched=dynamic_batch,
        partial=partial,
        opset=opset,
    )
    progress = Progress()
    try:
        artefact = export_detector(
            request, output or Path(Path(config).stem), data=data, force=force, on_progress=progress.say
        )
    finally:
        progress.clear()
    show_export(artefact, as_json=as_json)


def _sizes(text: str) -> tuple[int, int, int, int]:
    from graphopt.core.errors import UsageError

    try:
        batch, channels, height, width = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError as error:
        raise UsageError(f"--shape {text} is not four numbers, e.g. 1,3,800,1333") from error
    return batch, channels, height, width
