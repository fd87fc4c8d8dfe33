"""``graphopt diff``: what changed between two models."""

from pathlib import Path

import click

from graphopt.cli.options import force_option, json_option


@click.command("diff", short_help="Show what changed between two models.")
@click.argument("before", metavar="A", type=click.Path(path_type=Path))
@click.argument("after", metavar="B", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Also write a page with pictures of the changed regions.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Kinds of regions to print; 0 prints all.",
)
@force_option
@json_option
def command(before: Path, after: Path, html: Path | None, limit: int, force: bool, as_json: bool) -> int:
    """Compare two ONNX models node by node, and say which pass made each change.

    Nodes are lined up by names that survive, by lineage, then by structure. Exits with 0 when both
    compute the same from the same inputs (names inside do not count), with 1 when they differ.

    graphopt diff deepmar.onnx deepmar.opt.onnx --html diff.html
    """
    from graphopt.cli.render import print_json, print_line
    from graphopt.cli.show_diff import show_diff
    from graphopt.recipes.comparing import diff_files
    from graphopt.surgery.differences.describe import diff_facts

    if html is not None:
        from graphopt.recipes.diff_page import check_page, write_page

        check_page(html, force=force, inputs=(before, after))
    diff = diff_files(before, after)
    if html is not None:
        write_page(diff, before, after, html, force=force)
    if as_json:
        print_json("diff", {"ok": diff.equal, "before": before, "after": after, **diff_facts(diff)})
    else:
        show_diff(diff, before, after, limit=limit)
        if html is not None:
            print_line(f"\n{html}: pictures of every kind of region")
    return 0 if diff.equal else 1
