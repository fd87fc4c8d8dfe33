"""``graphopt recipes``: list the models graphopt knows."""

import click

from graphopt.cli.options import json_option


@click.command("recipes", short_help="List the models graphopt knows.")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the recipes, or show the one called NAME (or in NAME.py, or mmdet:CONFIG:HxW)."""
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.recipes.catalogue import find_recipe, recipe_families, recipe_names
    from graphopt.recipes.describe import describe

    if name is None:
        known = [describe(find_recipe(item)) for item in recipe_names()]
        own = any(item["plugin"] for item in known)
        if as_json:
            print_json("recipes", {"ok": True, "recipes": known})
        else:
            heads = ["recipe", "what", *(["from"] if own else [])]
            rows = [[item["name"], item["title"], item["plugin"]][: len(heads)] for item in known]
            print_table("", heads, rows)
            print_line(f"\nmade on the fly: {', '.join(recipe_families())}")
        return
    content = describe(find_recipe(name))
    if as_json:
        print_json("recipes", {"ok": True, "recipe": content})
        return
    print_line(content["title"])
    for key in ("inputs", "outputs"):
        rows = [[item["name"], item["shape"], item["dtype"], item["unit"]] for item in content[key]]
        print_table(key, ["name", "shape", "dtype", "unit"], rows)
    print_table("preprocessing", ["step", "options"], content["preprocessing"])
    if content["lacks"]:
        print_line(f"not in this recipe: {', '.join(content['lacks'])}\n")
    print_table("passes", ["pass", "options", "expect"], content["passes"])
    rows = [[item["what"], item["value"], item["source"]] for item in content["published"]]
    print_table("published figures (not ours)", ["what", ">value", "source"], rows)
