"""Recipes made on the fly: a file ``FAMILY.py`` here makes those called ``FAMILY:REST``.

It defines ``recipe_for(rest)``, which returns the recipe, and ``FORM``, how to write such a name.
"""
