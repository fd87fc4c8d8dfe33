"""``graphopt run``: what a model says about images."""

from pathlib import Path

import click

from graphopt.cli.options import force_option, json_option, recipe_option


@click.command("run", short_help="What a model says about images.")
@click.argument("what")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--pictures", type=click.Path(path_type=Path), default=None, help="Folder for drawn predictions."
)
@force_option
@recipe_option
@json_option
def command(
    what: str, images: tuple[Path, ...], pictures: Path | None, force: bool, recipe_name: str, as_json: bool
) -> None:
    """Run WHAT (a model or another stage) on image files and say what it sees.

    graphopt run out/deepmar#compiled photo.png --pictures seen
    """
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.recipes.half_estimate import estimate_note
    from graphopt.recipes.inference import read_images
    from graphopt.runtime.pictures import percent

    results = read_images(what, images, recipe_name=recipe_name, pictures=pictures, force=force)
    if as_json:
        print_json(
            "run",
            {
                "ok": True,
                "estimate": bool(estimate_note(what)),
                "images": [item.to_json() for item in results],
            },
        )
        return
    for item in results:
        rows = [[r.label, percent(r.value, digits=1)] for r in item.readings if r.positive]
        measure = item.readings[0].measure if item.readings else "value"
        print_table(str(item.image), ["label", f">{measure}"], rows)
    if note := estimate_note(what):
        print_line(f"note: {note}")
