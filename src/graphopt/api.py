"""The verbs as Python calls, with the command line's words; results are plain dataclasses.

>>> from graphopt import api
>>> steps = api.parse_steps("remove_pad:expect=1")
>>> steps[0].name
'remove_pad'

``api.apply(source, output, steps)`` rewrites and proves, ``api.validate_stages([a, b])`` compares,
``api.load_plugin(Path("my_pass.py"))`` makes a pass or recipe of your own known by its name;
``api.run_pipeline(api.find_recipe("deepmar"), api.PipelineOptions(...))`` does all of it.
"""

from graphopt.core.plugins import load_plugin
from graphopt.recipes.catalogue import find_recipe, recipe_names
from graphopt.recipes.compilation import CompileOptions, compile_into
from graphopt.recipes.evaluation import evaluate
from graphopt.recipes.export import export_recipe
from graphopt.recipes.inference import bench, read_images
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.rewrite import rewrite as apply
from graphopt.recipes.validation import validate_stages
from graphopt.surgery import PassStep, Verify, parse_steps

__all__ = [
    "CompileOptions",
    "PassStep",
    "PipelineOptions",
    "Verify",
    "apply",
    "bench",
    "compile_into",
    "evaluate",
    "export_recipe",
    "find_recipe",
    "load_plugin",
    "parse_steps",
    "read_images",
    "recipe_names",
    "run_pipeline",
    "validate_stages",
]
