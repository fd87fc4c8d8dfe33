"""Show a verdict on the files that were fed to a device."""

from pathlib import Path

from graphopt.cli.options import Progress
from graphopt.core.errors import UsageError


def compare_fed_files(
    names: tuple[str, ...],
    folder: Path,
    *,
    data: Path | None,
    annotations: Path | None,
    limit: int,
    as_json: bool,
) -> int:
    """Compare a folder of inputs with a recipe's preprocessing, print the verdict, return the exit code.

    Args:
        names: of the recipe, exactly one.
        folder: of the files.
        data: data set folder, or a folder of images.
        annotations: of the data set, where they are elsewhere.
        limit: images, at most.
        as_json: print JSON.

    Raises:
        UsageError: no recipe, several, or no data.
    """
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.recipes.catalogue import find_recipe
    from graphopt.recipes.drift_stages import open_images
    from graphopt.recipes.fed_files import fed_files
    from graphopt.recipes.input_comparison import compare_inputs
    from graphopt.recipes.run_sources import RunSources

    if len(names) != 1 or data is None:
        raise UsageError(
            "--inputs compares files with what one recipe makes of images: "
            "graphopt validate RECIPE --inputs DIR --data IMAGES"
        )
    recipe = find_recipe(names[0])
    progress = Progress()
    progress.say("comparing inputs")
    try:
        dataset = open_images(recipe, RunSources(data=data, annotations=annotations))
        verdict = compare_inputs(recipe, dataset, folder, limit=limit)
        files = len(fed_files(folder, dataset))
    finally:
        progress.clear()
    if as_json:
        print_json(
            "validate", {"recipe": recipe.name, "inputs": str(folder), "files": files, **verdict.to_json()}
        )
        return 0 if verdict.ok else 1
    print_line(verdict.sentence)
    if len(verdict.causes) > 1:
        print_table("", ("cause", "what was done"), [(each.name, each.sentence) for each in verdict.causes])
    if verdict.images < files:
        print_line(f"note: {verdict.images} of {files} files were compared; --samples {files} compares all")
    print_line(f"verdict: {verdict.cause if verdict.ok else f'DIFFERENT ({verdict.cause})'}")
    return 0 if verdict.ok else 1
